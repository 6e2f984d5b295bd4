"""Compose the protocol string of a condition."""

from __future__ import annotations

import hashlib
import json

from robench.evaluation.provenance import packages_of_suite
from robench.suites import (
    Condition,
    find_suite,
)
from robench.transforms.corruptions import find_corruption
from robench.transforms.draws import DRAWS_VERSION
from robench.transforms.perturbations import find_perturbation
from robench.transforms.reference import reference_version

__all__ = ["CROP_RATIO", "protocol"]

CROP_RATIO = 0.875
"""Side of the crop by the side of what it is cut out of."""


def protocol(condition: Condition, precision: str) -> str:
    """Return a readable string with a hash of everything that moves a suite's numbers, whatever part of it is evaluated.

    Of the constants, all of the suite's go in; of the model, nothing: rows of two models are compared by this string.
    """
    suite = find_suite(condition.suite)
    parts = [str(condition.geometry), precision]
    if condition.release_jpeg is not None:
        parts.insert(1, f"jpeg{condition.release_jpeg}")
    facts: dict[str, object] = {"geometry": repr(condition.geometry), "precision": precision}
    if condition.files is not None:
        parts = ["as-released", precision]
        facts = {"released": condition.resolution, "frames": condition.files.frames, "precision": precision}
    elif condition.native:
        # The sizes are an axis of the figures, and belong together.
        squeezed = condition.geometry.crop is None
        parts = ["resize1x1" if squeezed else f"resize1/{CROP_RATIO:g}-crop", precision]
        facts = {"crop": None if squeezed else CROP_RATIO, "precision": precision}
        if condition.corruption in suite.later:
            level = find_perturbation(condition.corruption, condition.constants).params(condition.constants)
            facts |= {"levels": {condition.corruption: dict(level)}}
    elif suite.family != "corruptions":
        parts.insert(1, f"frames{condition.resolution}")
        levels = {
            name: [dict(level) for level in find_perturbation(name, condition.constants).levels[condition.constants]]
            for name in (*suite.corruptions, *suite.extra)
            if condition.corruption in suite.later or name not in suite.later
        }
        facts |= {"side": condition.resolution, "draws": DRAWS_VERSION, "levels": levels}
    elif not condition.is_clean:
        levels = {
            name: [dict(level) for level in find_corruption(name, suite.constants).levels[suite.constants]]
            for name in (*suite.corruptions, *suite.extra)
        }
        facts |= {"release_jpeg": condition.release_jpeg, "draws": DRAWS_VERSION, "levels": levels}
        if condition.backend == "reference":
            parts.append(condition.backend)
            facts |= {"backend": reference_version()}
    packages = packages_of_suite(suite)
    if packages:
        parts += packages
        facts |= {"packages": packages}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return f"{'+'.join(parts)}#{digest}"
