"""The installed packages whose code and version a run's results depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from robench.errors import OptionError
from robench.models import ARCHITECTURES, Classifier
from robench.plugins import Plugin, find_plugin, is_own
from robench.suites import SUITES, Suite
from robench.transforms.corruptions import BUILT_IN, CORRUPTIONS, find_corruption
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import find_perturbation

__all__ = ["check_suite", "code_of_run", "own_code", "packages_of_run", "packages_of_suite", "version_here"]

_REFERENCE = ("imagecorruptions", "opencv-python", "scikit-image", "scipy")
"""Packages that the reference backend computes with."""


def check_suite(suite: Suite, backend: str) -> None:
    """Raise OptionError, before any work, if a plugin's suite has unknown names or severities, or an own corruption fails."""
    if is_own(suite.name):
        _try_own(suite)
        return
    plugin = None if suite.name in SUITES else find_plugin("suite", suite.name)
    if plugin is None:
        return
    for name in (*suite.corruptions, *suite.extra):
        if not suite.family.has_frames and name not in CORRUPTIONS and backend == "reference":
            raise OptionError(f"the imagecorruptions package has no {name}", "omit --backend reference")
        try:
            if suite.family.has_frames:
                find_perturbation(name, suite.constants)
                continue
            for severity in suite.severities:
                find_corruption(name, suite.constants).params(suite.constants, severity)
        except OptionError as error:
            raise OptionError(
                f"the suite {suite.name} of {plugin.origin} is invalid: {error.problem}", error.hint
            ) from error


def _try_own(suite: Suite) -> None:
    """Apply the corruptions of an own file to two small images, so that an error costs no work and leaves no run."""
    side = max(32, suite.geometry.side if suite.geometry is not None else 32)
    images = (
        torch.arange(2 * 3 * side * side, dtype=torch.int64).reshape(2, 3, side, side).remainder(251).to(torch.uint8)
    )
    for name in suite.names:
        corruption = find_corruption(name, suite.constants)
        draws = KeyedDraws(0, torch.arange(2), name)
        for severity in suite.severities:
            corruption(images, draws, corruption.params(suite.constants, severity))


def packages_of_suite(suite: Suite) -> list[str]:
    """Return NAME-VERSION of each plugin package that provides the suite or one of its corruptions."""
    return _named(_plugins_of_suite(suite))


def packages_of_run(arch: str, treatments: Sequence[str] = ()) -> list[str]:
    """Return NAME-VERSION of each plugin package that provides the architecture family or a treatment.

    Args:
        arch: Architecture with its family.
        treatments: Names of treatments that are not built in.
    """
    return _named(_plugins_of_run(arch, treatments))


def code_of_run(
    classifier: Classifier, treatments: Sequence[str], suites: Iterable[Suite], backend: str
) -> dict[str, str]:
    """Return the version of each installed package whose code computes the records of a run, by name.

    Args:
        classifier: The model; packages that define its layers are included.
        treatments: Names of treatments that are not built in.
        suites: The suites of the run.
        backend: The corruption backend.
    """
    plugins = [
        *_plugins_of_run(classifier.arch, treatments),
        *(plugin for suite in suites for plugin in _plugins_of_suite(suite)),
    ]
    names = {plugin.package for plugin in plugins}
    names |= {type(layer).__module__.partition(".")[0] for layer in classifier.module.modules()}
    names |= set() if classifier.torch_runs else {"onnxruntime"}
    names |= set(_REFERENCE) if backend == "reference" else set()
    return {name: here for name in sorted(names) if (here := version_here(name)) is not None}


def own_code(suites: Iterable[Suite]) -> dict[str, str]:
    """Return the hash of the code of each own file whose suites a run has, by the name of the suite."""
    plugins = [find_plugin("suite", suite.name) for suite in suites if is_own(suite.name)]
    return {plugin.name: plugin.version for plugin in plugins if plugin is not None}


def version_here(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plugins_of_suite(suite: Suite) -> list[Plugin]:
    plugins = [] if suite.name in SUITES else [find_plugin("suite", suite.name)]
    if is_own(suite.name):
        return [plugin for plugin in plugins if plugin is not None]
    if not suite.family.has_frames:
        others = (name for name in (*suite.corruptions, *suite.extra) if name not in BUILT_IN)
        plugins += [find_plugin("corruption", name) for name in others]
    return [plugin for plugin in plugins if plugin is not None]


def _plugins_of_run(arch: str, treatments: Sequence[str]) -> list[Plugin]:
    family, colon, _ = arch.partition(":")
    plugins = [find_plugin("family", family)] if colon and family not in ARCHITECTURES else []
    plugins += [find_plugin("treatment", name) for name in treatments]
    return [plugin for plugin in plugins if plugin is not None]


def _named(plugins: Iterable[Plugin]) -> list[str]:
    return sorted({f"{plugin.package}-{plugin.version}" for plugin in plugins})
