"""Which installed packages a run's suites, model and treatments are of: its figures depend on their code and its version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from robench.errors import OptionError
from robench.models import ARCHITECTURES, Classifier
from robench.plugins import Plugin, find_plugin
from robench.suites import SUITES, Suite
from robench.transforms.corruptions import CORRUPTIONS, find_corruption
from robench.transforms.perturbations import find_perturbation

__all__ = ["check_suite", "code_of_run", "packages_of_run", "packages_of_suite", "version_here"]


def check_suite(suite: Suite, backend: str) -> None:
    """Raise OptionError, before any work, where a package's suite names what is not there."""
    offer = None if suite.name in SUITES else find_plugin("suite", suite.name)
    if offer is None:
        return
    for name in (*suite.corruptions, *suite.extra):
        if not suite.family.has_frames and name not in CORRUPTIONS and backend == "reference":
            raise OptionError(f"the imagecorruptions package has no {name}: leave --backend reference out")
        try:
            if suite.family.has_frames:
                find_perturbation(name, suite.constants)
                continue
            for severity in suite.severities:
                find_corruption(name, suite.constants).params(suite.constants, severity)
        except OptionError as error:
            raise OptionError(f"the suite {suite.name} of {offer.origin} cannot be: {error}") from error


def packages_of_suite(suite: Suite) -> list[str]:
    """Name and version, NAME-VERSION, of each package that the suite or one of its corruptions is of; none where all is built in."""
    return _named(_offers_of_suite(suite))


def packages_of_run(arch: str, treatments: Sequence[str] = ()) -> list[str]:
    """The same of the family of an architecture, and of treatments, by names that are not built in."""
    return _named(_offers_of_run(arch, treatments))


def code_of_run(
    classifier: Classifier, treatments: Sequence[str], suites: Iterable[Suite], backend: str
) -> dict[str, str]:
    """Return the version of each installed package whose code makes a run's records, by name.

    Those of the model are the packages that the classes of its layers are of.  treatments: by names that are not built in.
    """
    offers = [
        *_offers_of_run(classifier.arch, treatments),
        *(one for suite in suites for one in _offers_of_suite(suite)),
    ]
    names = {offer.package for offer in offers}
    names |= {type(layer).__module__.partition(".")[0] for layer in classifier.module.modules()}
    names |= set() if classifier.torch_runs else {"onnxruntime"}
    names |= set(_REFERENCE) if backend == "reference" else set()
    return {name: there for name in sorted(names) if (there := version_here(name)) is not None}


_REFERENCE = ("imagecorruptions", "opencv-python", "scikit-image", "scipy")
"""What the reference backend computes with."""


def version_here(package: str) -> str | None:
    """Return the version of an installed package, None where there is none of that name."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _offers_of_suite(suite: Suite) -> list[Plugin]:
    found = [] if suite.name in SUITES else [find_plugin("suite", suite.name)]
    if not suite.family.has_frames:
        others = (name for name in (*suite.corruptions, *suite.extra) if name not in CORRUPTIONS)
        found += [find_plugin("corruption", name) for name in others]
    return [offer for offer in found if offer is not None]


def _offers_of_run(arch: str, treatments: Sequence[str]) -> list[Plugin]:
    family, colon, _ = arch.partition(":")
    found = [find_plugin("family", family)] if colon and family not in ARCHITECTURES else []
    found += [find_plugin("treatment", name) for name in treatments]
    return [offer for offer in found if offer is not None]


def _named(found: Iterable[Plugin]) -> list[str]:
    return sorted({f"{offer.package}-{offer.version}" for offer in found})
