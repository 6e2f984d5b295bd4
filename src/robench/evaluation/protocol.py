"""Protocols of conditions."""

from __future__ import annotations

from robench.evaluation.provenance import packages_of_suite
from robench.suites import CLEAN, SHAPE_CATEGORIES, Condition, Suite, epsilon_text, families, find_suite
from robench.suites.geometry import RGB, PixelFormat, size_text
from robench.suites.protocol import Protocol
from robench.transforms.corruptions import find_corruption
from robench.transforms.draws import DRAWS_VERSION
from robench.transforms.perturbations import find_perturbation
from robench.transforms.reference import reference_version

__all__ = ["CROP_RATIO", "protocol"]

CROP_RATIO = 0.875
"""Side of a crop as a fraction of the side of the image that it is cut from."""


def protocol(condition: Condition, precision: str, pixels: PixelFormat = RGB) -> Protocol:
    """Return the protocol of a condition. It depends neither on the model nor on the evaluated part of the suite.

    Args:
        condition: The condition.
        precision: A key of `device_scopes.PRECISIONS`.
        pixels: Bands and range of values of the images.
    """
    suite = find_suite(condition.suite)
    geometry, backend = [str(condition.geometry)], []
    facts: dict[str, object] = {"geometry": repr(condition.geometry)}
    if condition.files is not None:
        geometry = ["as-released"]
        facts = {"released": condition.resolution, "frames": condition.files.frames}
    elif condition.native:
        # The input sizes are an axis of the values, so that all of them have one protocol.
        squeezed = condition.geometry.crop is None
        ratio = "x".join(map(str, condition.aspect))
        squared = "1" if condition.aspect == (1, 1) else ratio
        geometry = [f"resize{ratio}" if squeezed else f"resize{squared}/{CROP_RATIO:g}-crop"]
        facts = {"crop": None if squeezed else CROP_RATIO, "levels": _levels(suite, condition.constants)}
        facts |= {} if condition.aspect == (1, 1) else {"aspect": condition.aspect}
    elif suite.family is families.EXITS:
        if condition.corruption != CLEAN:  # The clean images are those of the suite clean.
            facts |= {"release_jpeg": condition.release_jpeg, "draws": DRAWS_VERSION, "constants": condition.constants}
            facts["levels"] = {
                name: [dict(level) for level in find_corruption(name, condition.constants).levels[condition.constants]]
                for name in suite.names
                if name != CLEAN
            }
        geometry += [] if condition.release_jpeg is None else [f"jpeg{condition.release_jpeg}"]
    elif condition.attack is not None:
        attack = condition.attack
        radii = ",".join(map(epsilon_text, attack.epsilons))
        geometry += [
            f"{attack.norm}:{radii}",
            ",".join(attack.names),
            f"{attack.steps}steps",
            f"{attack.restarts}starts",
        ]
        facts |= {"attack": [str(fact) for fact in vars(attack).values()], "draws": DRAWS_VERSION, "algorithm": 1}
    elif suite.family.has_frames:
        geometry.append(f"frames{size_text(condition.shape)}")
        levels = _levels(suite, condition.constants)
        side = condition.size if isinstance(condition.size, tuple) else condition.resolution
        facts |= {"side": side, "draws": DRAWS_VERSION, "levels": levels}
    elif suite.family is families.CUE_CONFLICT:
        facts["categories"] = SHAPE_CATEGORIES
    elif not condition.is_clean:
        facts |= {"release_jpeg": condition.release_jpeg, "draws": DRAWS_VERSION}
        facts["levels"] = {
            name: [dict(level) for level in find_corruption(name, suite.constants).levels[suite.constants]]
            for name in suite.names
        }
        if condition.release_jpeg is not None:
            geometry.append(f"jpeg{condition.release_jpeg}")
        if condition.backend == "reference":
            backend = [condition.backend]
            facts["backend"] = reference_version()
    packages = packages_of_suite(suite)
    if packages:
        facts["packages"] = packages
    facts |= {"pixels": pixels.parts} if pixels.parts else {}
    parts = [*geometry, *pixels.parts, precision, *backend, *packages]
    return Protocol.compose(parts, facts | {"precision": precision})


def _levels(suite: Suite, constants: str) -> dict[str, list[dict[str, object]]]:
    """Return the constants of a suite's perturbations by name and difficulty."""
    found = {name: find_perturbation(name, constants).levels[constants] for name in suite.names}
    return {name: [dict(level) for level in levels] for name, levels in found.items()}
