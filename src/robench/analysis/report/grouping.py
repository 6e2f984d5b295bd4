"""Runs of a report, in groups that are comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, display_family
from robench.types import Results

__all__ = ["ReportedRun", "comparable_groups", "incomparable_notes", "suite_frame"]


@dataclass(frozen=True, eq=False)
class ReportedRun:
    """One run on the page.

    Attributes:
        label: Unique label of the model.
        results: The results.
        run: The run directory; None for a results CSV, which has no records.
        warnings: Messages about likely mistakes.
        groups: Results of groups of images; None without any.
    """

    label: str
    results: Results
    run: RunDirectory | None
    warnings: Sequence[str] = ()
    groups: Results | None = None

    @cached_property
    def sources(self) -> dict[str, SuiteSource]:
        """The origin of the results of each suite."""
        return {str(suite): _source(rows) for suite, rows in self.results.groupby("suite", sort=False)}


class SuiteSource(NamedTuple):
    """Origin of a run's results of a suite: runs are comparable where these agree.

    Attributes:
        datasets: Names of the datasets.
        samples: Hashes of the lists of samples.
        origins: Protocol and source of the values by corruption and resolution.
    """

    datasets: set[str]
    samples: set[str]
    origins: dict[str, set[tuple[str, str]]]


def _source(rows: Results) -> SuiteSource:
    origins: dict[str, set[tuple[str, str]]] = {}
    columns = rows[["corruption", "resolution", "protocol", "source"]].drop_duplicates().astype(str)
    for corruption, resolution, protocol, source in columns.itertuples(index=False):
        origins.setdefault(f"{corruption} {resolution}", set()).add((protocol, source))
    return SuiteSource(set(rows["dataset"]), set(rows["data_sha"]), origins)


def comparable_groups(suite: str, subjects: Sequence[ReportedRun]) -> list[list[ReportedRun]]:
    """Return the runs that have a suite, in groups with comparable results."""
    groups: list[list[ReportedRun]] = []
    for subject in subjects:
        if suite not in subject.sources:
            continue
        match = next(
            (group for group in groups if not any(_difference(suite, subject, other) for other in group)), None
        )
        if match is None:
            groups.append([subject])
        else:
            match.append(subject)
    return groups


def suite_frame(suite: str, subjects: Sequence[ReportedRun]) -> Results:
    """Return the results of a suite with a column `model`, the label, and the clean images of its geometry as severity 0."""
    parts = []
    for subject in subjects:
        rows = subject.results
        if subject.groups is not None and not display_family(suite).has_clean:
            rows = subject.groups
        conditions = [] if subject.run is None else subject.run.conditions
        clean = {condition.clean for condition in conditions if condition.suite == suite}
        protocols = {condition.protocol for condition in conditions if condition.name in clean}
        is_clean = (rows["suite"] == CLEAN) & rows["protocol"].isin(protocols)
        parts.append(rows[(rows["suite"] == suite) | is_clean].assign(model=subject.label))
    return pd.concat(parts, ignore_index=True)


def incomparable_notes(subjects: Sequence[ReportedRun]) -> list[str]:
    """Return a note for each group of runs that is not comparable with the first group of a suite."""
    notes = []
    for suite in dict.fromkeys(name for subject in subjects for name in subject.results["suite"]):
        first, *others = comparable_groups(suite, subjects)
        for group in others:
            reason = next(reason for other in first if (reason := _difference(suite, group[0], other)))
            ours, theirs = (", ".join(subject.label for subject in runs) for runs in (group, first))
            notes.append(f"{suite}: {ours} and {theirs} are not comparable and have separate charts, because {reason}")
    return notes


def _difference(suite: str, one: ReportedRun, other: ReportedRun) -> str:
    """Return the reason why the results of a suite are not comparable; empty if they are."""
    ours, theirs = one.sources[suite], other.sources[suite]
    if ours.datasets != theirs.datasets:
        return "their datasets differ"
    if ours.samples != theirs.samples:
        return "their samples differ"
    # Only shared cells count. Clean images have one protocol for each geometry of the run's suites.
    if any(origin.isdisjoint(theirs.origins.get(cell, origin)) for cell, origin in ours.origins.items()):
        return "their protocols or sources differ"
    return ""
