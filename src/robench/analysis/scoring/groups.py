"""Conditions whose figures may be averaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, Suite, lookup_suite

__all__ = ["Group", "groups_of", "of_images", "suite_of"]


@dataclass(frozen=True)
class Group:
    """Conditions whose figures may be averaged: one suite, side, protocol and source; each clean condition is its own."""

    suite: Suite
    resolution: int
    protocol: str
    source: str
    conditions: tuple[ConditionEntry, ...]

    def aggregated(self, done: Iterable[str]) -> list[ConditionEntry]:
        """Those of the conditions named in `done` that aggregates are over: the suite's own, or else the extra ones."""
        names = set(done)
        present = [condition for condition in self.conditions if condition.name in names]
        return [condition for condition in present if condition.corruption in self.suite.corruptions] or present

    def by_severity(self, corruption: str, done: Iterable[str]) -> list[ConditionEntry]:
        """Conditions of a corruption in order of severity; none unless all severities are named in `done`."""
        names = set(done)
        by_severity = {c.severity: c for c in self.conditions if c.corruption == corruption and c.name in names}
        if not all(severity in by_severity for severity in self.suite.severities):
            return []
        return [by_severity[severity] for severity in self.suite.severities]

    @property
    def n_cells(self) -> int:
        """Number of cells that mCE is over."""
        return len(self.suite.corruptions) * len(self.suite.severities)


def groups_of(run: RunDirectory) -> list[Group]:
    """Return the groups of a run, finished or not, in the order of its conditions."""
    found: dict[tuple[object, ...], list[ConditionEntry]] = {}
    for condition in filter(of_images, run.conditions):
        own = condition.name if condition.suite == CLEAN else None
        key = (condition.suite, condition.resolution, condition.protocol, condition.source, own)
        found.setdefault(key, []).append(condition)
    return [Group(suite_of(c[0]), c[0].resolution, c[0].protocol, c[0].source, tuple(c)) for c in found.values()]


def suite_of(condition: ConditionEntry) -> Suite:
    """Return a condition's suite; RunError where no robench or package here has it."""
    found = lookup_suite(condition.suite)
    if found is None:
        raise RunError(
            f"there is no suite {condition.suite!r} here: install the package that its protocol names, {condition.protocol}, or "
            "the robench that made the run"
        )
    return found


def of_images(condition: ConditionEntry) -> bool:
    """Whether a condition has one image a sample, and not the frames of a perturbation."""
    return suite_of(condition).family == "corruptions"
