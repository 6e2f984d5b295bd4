"""The runs of a page, and which of them compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robench.runs.directory import RunDirectory
from robench.types import Results

__all__ = ["ReportedRun", "comparable_groups", "incomparable_notes"]


@dataclass(frozen=True)
class ReportedRun:
    """One run on the page. label: of the model, unlike the others'.  run: None for a results CSV, which has no records."""

    label: str
    results: Results
    run: RunDirectory | None


def comparable_groups(suite: str, subjects: Sequence[ReportedRun]) -> list[list[ReportedRun]]:
    """The runs that have a suite, in groups whose figures of it compare."""
    groups: list[list[ReportedRun]] = []
    for subject in subjects:
        if not (subject.results["suite"] == suite).any():
            continue
        home = next((group for group in groups if not any(_difference(suite, subject, one) for one in group)), None)
        if home is None:
            groups.append([subject])
        else:
            home.append(subject)
    return groups


def incomparable_notes(subjects: Sequence[ReportedRun]) -> list[str]:
    """Say of every suite which runs do not compare, and why; the page shows them apart."""
    notes = []
    for suite in dict.fromkeys(name for one in subjects for name in one.results["suite"]):
        first, *others = comparable_groups(suite, subjects)
        for group in others:
            why = next(why for one in first if (why := _difference(suite, group[0], one)))
            ours, theirs = (", ".join(one.label for one in side) for side in (group, first))
            notes.append(f"{suite}: {ours} and {theirs} do not compare, {why}: they are shown apart")
    return notes


def _difference(suite: str, one: ReportedRun, other: ReportedRun) -> str:
    """In what two runs' figures of a suite were made otherwise; empty where they compare."""
    rows = [subject.results[subject.results["suite"] == suite] for subject in (one, other)]
    for column, what in (("dataset", "they are of other datasets"), ("data_sha", "they are of different samples")):
        if set(rows[0][column]) != set(rows[1][column]):
            return what
    ways: list[dict[str, set[tuple[str, str]]]] = [{}, {}]
    for way, of in zip(ways, rows, strict=True):
        columns = of[["corruption", "resolution", "protocol", "source"]].drop_duplicates().astype(str)
        for corruption, resolution, protocol, source in columns.itertuples(index=False):
            way.setdefault(f"{corruption} {resolution}", set()).add((protocol, source))
    # What only one of them has does not matter; clean images have a way for every geometry that the run's suites take.
    if any(found.isdisjoint(ways[1].get(place, found)) for place, found in ways[0].items()):
        return "their protocols or sources are others"
    return ""
