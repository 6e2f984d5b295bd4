"""Groups of conditions whose values may be averaged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, Suite, families, lookup_suite

__all__ = ["Group", "groups_of", "has_frames", "has_samples", "suite_of"]


@dataclass(frozen=True)
class Group:
    """Conditions of one suite, side, protocol and source, whose values may be averaged. Each clean condition is a group.

    Attributes:
        suite: Suite of the conditions.
        resolution: Side of the images in pixels.
        protocol: Protocol of the conditions.
        source: `computed` or `released`.
        conditions: Planned conditions, finished or not.
    """

    suite: Suite
    resolution: int
    protocol: str
    source: str
    conditions: tuple[ConditionEntry, ...]

    def aggregated(self, done: Collection[str]) -> list[ConditionEntry]:
        """Return the conditions named in `done` that aggregates cover."""
        present = [condition for condition in self.conditions if condition.name in done]
        covered = self.suite.own_or_extra(condition.corruption for condition in present)
        return [condition for condition in present if condition.corruption in covered]

    def by_severity(self, corruption: str, done: Collection[str]) -> list[ConditionEntry]:
        """Return the conditions of a corruption by ascending severity; none unless `done` names all severities."""
        conditions = {c.severity: c for c in self.conditions if c.corruption == corruption and c.name in done}
        if not conditions.keys() >= set(self.suite.severities):
            return []
        return [conditions[severity] for severity in self.suite.severities]


def groups_of(run: RunDirectory) -> list[Group]:
    """Return the groups of a run's conditions with one image a sample and clean images, finished or not, in order."""
    groups: dict[tuple[object, ...], list[ConditionEntry]] = {}
    for condition in run.conditions:
        if suite_of(condition).family.has_clean and not has_frames(condition):
            clean = condition.name if condition.suite == CLEAN else None
            key = (condition.suite, condition.resolution, condition.protocol, condition.source, clean)
            groups.setdefault(key, []).append(condition)
    return [Group(suite_of(c[0]), c[0].resolution, c[0].protocol, c[0].source, tuple(c)) for c in groups.values()]


def suite_of(condition: ConditionEntry) -> Suite:
    """Return the suite of a condition.

    Raises:
        RunError: If the suite is not installed.
    """
    suite = lookup_suite(condition.suite)
    if suite is None:
        raise RunError(
            f"the suite {condition.suite!r} is not installed",
            f"install the package that its protocol {condition.protocol} names, or the robench that made the run",
        )
    return suite


def has_samples(condition: ConditionEntry) -> bool:
    """Return whether a condition has one image of each sample: neither frames nor stimuli of its own."""
    return not has_frames(condition) and suite_of(condition).family is not families.CUE_CONFLICT


def has_frames(condition: ConditionEntry) -> bool:
    """Return whether a condition has frames of a perturbation, instead of one image a sample."""
    return suite_of(condition).family.has_frames
