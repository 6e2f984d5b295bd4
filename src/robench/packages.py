"""Which installed packages a run's suites and model are of: its figures depend on their code, and name them with their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robench.corruptions import CORRUPTIONS, find_corruption
from robench.errors import OptionError
from robench.extensions import Offer, find_offer
from robench.models import ARCHITECTURES
from robench.perturbations import find_perturbation
from robench.suites import SUITES, Suite

__all__ = ["check_suite", "packages_of_run", "packages_of_suite"]


def check_suite(suite: Suite, backend: str) -> None:
    """Raise OptionError, before any work, where a package's suite names what is not there."""
    offer = None if suite.name in SUITES else find_offer("suite", suite.name)
    if offer is None:
        return
    for name in (*suite.corruptions, *suite.extra):
        if suite.family == "corruptions" and name not in CORRUPTIONS and backend == "reference":
            raise OptionError(f"the imagecorruptions package has no {name}: leave --backend reference out")
        try:
            if suite.family != "corruptions":
                find_perturbation(name, suite.constants)
                continue
            for severity in suite.severities:
                find_corruption(name, suite.constants).level(suite.constants, severity)
        except OptionError as error:
            raise OptionError(f"the suite {suite.name} of {offer.origin} cannot be: {error}") from error


def packages_of_suite(suite: Suite) -> list[str]:
    """Name and version, NAME-VERSION, of each package that the suite or one of its corruptions is of; none where all is built in."""
    found = [] if suite.name in SUITES else [find_offer("suite", suite.name)]
    if suite.family == "corruptions":
        others = (name for name in (*suite.corruptions, *suite.extra) if name not in CORRUPTIONS)
        found += [find_offer("corruption", name) for name in others]
    return _named(found)


def packages_of_run(arch: str, treatments: Sequence[str] = ()) -> list[str]:
    """The same of the family of an architecture, and of treatments, by names that are not built in."""
    family, colon, _ = arch.partition(":")
    found = [find_offer("family", family)] if colon and family not in ARCHITECTURES else []
    found += [find_offer("treatment", name) for name in treatments]
    return _named(found)


def _named(found: Iterable[Offer | None]) -> list[str]:
    return sorted({f"{offer.package}-{offer.version}" for offer in found if offer is not None})
