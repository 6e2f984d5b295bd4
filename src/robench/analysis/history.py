"""Headline metrics of a model over its runs, with tests of their changes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import pandas as pd

from robench.analysis.comparison import Key, ResultRow, ResultsSet, compare_pairs, load_results
from robench.analysis.comparison.compare import HEADLINE, Difference
from robench.analysis.comparison.matching import averaged_cells
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.paired_tests import holm
from robench.analysis.run_summary import Headline, headlines
from robench.errors import OptionError, unknown_name
from robench.runs.directory import RunDirectory
from robench.runs.find import find_runs
from robench.runs.progress import read_progress
from robench.suites import CLEAN, display_family
from robench.suites.protocol import Protocol

__all__ = ["Entry", "History", "Order", "Point", "Series", "history", "history_rows"]

Order: TypeAlias = Literal["date", "version", "given"]
"""Order of the runs of a history."""


@dataclass(frozen=True)
class Entry:
    """A run of a history.

    Attributes:
        label: Short name, different from that of each other run.
        date: End of the evaluation (UTC, ISO 8601); empty if unknown.
        results: Its results.
    """

    label: str
    date: str
    results: ResultsSet


@dataclass(frozen=True)
class Point:
    """A value in a history.

    Attributes:
        entry: The run.
        row: The row of its results.
        change: The change since the previous point; None for the first one.
    """

    entry: Entry
    row: ResultRow
    change: Difference | None = None


@dataclass(frozen=True)
class Series:
    """Comparable values of a metric, in order.

    Attributes:
        suite: Name of the suite.
        label: The metric in words, such as `mean error`.
        metric: A key of `METRICS`.
        detail: Condition of the values, such as `baseline alexnet`; may be empty.
        only: Facts that tell the values from those of other series of the metric; empty if there is no other.
        points: The values.
        since_first: The change from the first value to the last one; None for fewer than two values.
    """

    suite: str
    label: str
    metric: str
    detail: str
    only: str
    points: tuple[Point, ...]
    since_first: Difference | None = None

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return METRICS[self.metric].unit


@dataclass(frozen=True)
class History:
    """The runs in order, and their comparable values.

    Attributes:
        entries: The runs.
        series: The values, those of one metric together.
        notes: Remarks for the reader.
    """

    entries: tuple[Entry, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...]


class _Line(NamedTuple):
    """The facts that comparable values share."""

    suite: str
    label: str
    metric: str
    key: Key
    dataset: str
    images: int
    data_sha: str
    protocol: str
    source: str
    baseline: str | None
    cells: frozenset[tuple[str, int]]


def history(
    runs: Sequence[Path | str],
    metrics: Sequence[str] | None = None,
    suites: Sequence[str] | None = None,
    by: Order | None = None,
    on_skip: Callable[[str], None] = lambda _: None,
) -> History:
    """Return the headline metrics of runs in order, with a test of each change.

    A change is tested with the records if both runs have some of the same samples and seed, else with the intervals. Holm's
    correction covers the changes of one series.

    Args:
        runs: Run directories, folders of them, and CSV files of results.
        metrics: The metrics to return; None for the headlines of each suite.
        suites: The suites to return; None for all.
        by: The order of the runs; None for their dates if all have one, else the given order.
        on_skip: Receives a note on runs of a folder that are left out.

    Raises:
        OptionError: A metric or a suite is unknown, or a run has no date to order it by.
        RunError: A run cannot be read.
        TableError: A file is not a table of results.
    """
    for metric in metrics or ():
        if metric not in METRICS:
            raise OptionError(*unknown_name("metric", metric, METRICS))
    entries = _ordered(_entries(find_runs(runs, on_skip=on_skip)), by)
    present = list(dict.fromkeys(key.suite for entry in entries for key in entry.results.rows))
    for suite in suites or ():
        if suite not in present:
            raise OptionError(*unknown_name("suite of these runs", suite, present))
    lines: dict[_Line, list[tuple[int, ResultRow, Headline]]] = {}
    for index, entry in enumerate(entries):
        for headline in _values(entry.results, metrics):
            key = _key(headline.row)
            row = entry.results.rows[key]
            if suites is None or key.suite in suites:
                lines.setdefault(_line(entry.results, row, headline), []).append((index, row, headline))
    if not lines:
        raise OptionError(
            f"these runs have no {', '.join(metrics or ('headline',))}", "`robench show RUN --verbose` lists metrics"
        )
    pairs = {
        (line, first, second)
        for line, points in lines.items()
        for first, second in {*zip(range(len(points)), range(1, len(points)), strict=False), (0, len(points) - 1)}
        if first < second
    }
    changes = _changes(entries, lines, pairs)
    series = [_series(entries, line, points, changes) for line, points in lines.items()]
    named = [
        replace(one, only=_only(line, [other for other in lines if other[:3] == line[:3]], one))
        for line, one in zip(lines, series, strict=True)
    ]
    order = {name: number for number, name in reversed(list(enumerate(line[:3] for line in lines)))}
    named.sort(key=lambda one: order[one.suite, one.label, one.metric])
    return History(tuple(entries), tuple(named), tuple(_notes(named)))


def history_rows(history: History) -> pd.DataFrame:
    """Return a table with a row for each value: run, date, metric, interval, and the change since the previous value."""
    return pd.DataFrame(
        [
            {
                "series": number,
                "run": point.entry.results.name,
                "date": point.entry.date or None,
                "model": point.entry.results.model,
                "treatment": point.entry.results.treatment or None,
                **{name: point.row.row[name] for name in ("dataset", "data_sha", "seed", "suite", "metric")},
                **{name: point.row.row[name] for name in ("corruption", "resolution", "unit", "value")},
                **{name: point.row.row[name] for name in ("ci_low", "ci_high", "n", "protocol", "source", "baseline")},
                **_change_cells(point.change),
            }
            for number, series in enumerate(history.series, 1)
            for point in series.points
        ]
    ).astype({"resolution": "Int64", "n": "Int64"})


def _change_cells(change: Difference | None) -> dict[str, Any]:
    names = ("previous", "change", "change_ci_low", "change_ci_high", "p", "p_holm", "test")
    if change is None:
        return dict.fromkeys(names)
    paired = change.paired
    cells = (change.base, paired.change, paired.ci_low, paired.ci_high, change.p, change.p_holm, change.method)
    return dict(zip(names, cells, strict=True))


# Runs and their order.


def _entries(paths: Sequence[Path]) -> list[Entry]:
    sets = [load_results(path) for path in paths]
    dates = []
    for path, results in zip(paths, sets, strict=True):
        run = results.runs[0] if results.runs else RunDirectory.around(path)
        progress = None if run is None else read_progress(run.path)
        dates.append("" if progress is None else progress.updated)
    return [Entry(*facts) for facts in zip(_labels(paths), dates, sets, strict=True)]


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the names of files without their ending and of folders, or the ends of paths where names are equal."""
    labels = [path.stem if path.suffix == ".csv" else path.name for path in (path.absolute() for path in paths)]
    if len(set(labels)) == len(labels):
        return labels
    parts = [path.absolute().parts for path in paths]
    shared = next(
        (
            number
            for number, level in enumerate(zip(*(part[:-1] for part in parts), strict=False))
            if len(set(level)) > 1
        ),
        min(map(len, parts)) - 1,
    )
    return [str(Path(*part[shared:])) for part in parts]


def _ordered(entries: list[Entry], by: Order | None) -> list[Entry]:
    undated = [entry.label for entry in entries if not entry.date]
    if by == "date" and undated:
        raise OptionError(f"{', '.join(undated[:3])} has no date", "give --by version or --by given")
    if by == "date" or (by is None and not undated):
        return sorted(entries, key=lambda entry: entry.date)
    if by == "version":
        return sorted(entries, key=lambda entry: _version(entry.label))
    return entries


def _version(label: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in a name by value, so that `v9` comes before `v10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", label)]


# Values and the series that they belong to.


def _values(results: ResultsSet, metrics: Sequence[str] | None) -> list[Headline]:
    """Return the headlines, or the values of chosen metrics over all corruptions."""
    frame = results.frame
    found = headlines(frame)
    if metrics is None:
        return found
    kept = {_key(one.row): one for one in found if one.metric in metrics}
    for cells in frame[frame["metric"].isin(metrics)].to_dict("records"):
        key = _key(cells)
        is_whole = key.corruption is None or key.suite == CLEAN or not display_family(key.suite).has_clean
        if is_whole and key.axis in (None, "difficulty") and not (key.method or key.subset):
            ends = (cells["ci_low"], cells["ci_high"])
            kept.setdefault(key, Headline(key.suite, key.metric, key.metric, cells["value"], *ends, row=cells))
    return list(kept.values())


def _key(row: Mapping[Any, Any]) -> Key:
    cells: list[Any] = [None if pd.isna(row[name]) else row[name] for name in Key._fields]
    return Key(*cells)


_BEST = "best accuracy"
"""Label of a headline whose input size follows from the results."""


def _line(results: ResultsSet, row: ResultRow, headline: Headline) -> _Line:
    key = row.key._replace(resolution=None) if headline.label == _BEST else row.key
    return _Line(
        key.suite,
        headline.label,
        key.metric,
        key,
        results.dataset,
        results.images,
        results.data_sha,
        str(row.row["protocol"]),
        str(row.row["source"]),
        row.row["baseline"],
        frozenset(averaged_cells(results, row.key)),
    )


def _series(
    entries: Sequence[Entry],
    line: _Line,
    points: Sequence[tuple[int, ResultRow, Headline]],
    changes: Mapping[tuple[_Line, int, int], Difference],
) -> Series:
    steps = [changes[line, number - 1, number] for number in range(1, len(points))]
    tested = [step.p for step in steps if step.p is not None]
    corrected = iter(holm(tested).tolist() if tested else [])
    steps = [step if step.p is None else replace(step, p_holm=next(corrected)) for step in steps]
    found = [Point(entries[index], row, change) for (index, row, _), change in zip(points, [None, *steps], strict=True)]
    detail = points[-1][2].detail if line.label != _BEST else ""
    whole = changes.get((line, 0, len(points) - 1))
    return Series(line.suite, line.label, line.metric, detail, "", tuple(found), whole)


def _only(line: _Line, alike: Sequence[_Line], series: Series) -> str:
    """Return the facts in which a series differs from the others of its metric."""
    if len(alike) == 1:
        return ""
    texts = {
        "dataset": line.dataset,
        "images": f"{line.images:,} images",
        "data_sha": f"samples {line.data_sha[:8]}",
        "cells": series.detail or f"{len(line.cells)} cells",
        "source": line.source,
        "baseline": f"baseline {line.baseline or 'none'}",
        "key": f"at {line.key.resolution} px",
        "protocol": _protocol(line.protocol, [other.protocol for other in alike]),
    }
    differing = [name for name in texts if len({getattr(other, name) for other in alike}) > 1]
    if {"dataset", "images"}.intersection(differing) and not any(
        other.data_sha != line.data_sha and (other.dataset, other.images) == (line.dataset, line.images)
        for other in alike
    ):
        differing.remove("data_sha")
    return ", ".join(texts[name] for name in differing)


def _protocol(protocol: str, alike: Sequence[str]) -> str:
    """Return the parts of a protocol that differ among several, or its hash if none does."""
    parts = Protocol.parse(protocol).named_parts
    others = [Protocol.parse(other).named_parts for other in alike]
    differing = [name for name in parts if len({other.get(name) for other in others}) > 1]
    return ", ".join(f"{name} {parts[name]}" for name in differing) or f"protocol {protocol}"


def _changes(
    entries: Sequence[Entry],
    lines: Mapping[_Line, Sequence[tuple[int, ResultRow, Headline]]],
    pairs: set[tuple[_Line, int, int]],
) -> dict[tuple[_Line, int, int], Difference]:
    """Return the tested changes between two points of a line; those of two runs are computed together."""
    groups: dict[tuple[int, int, bool], list[tuple[_Line, int, int]]] = {}
    for line, first, second in pairs:
        (base, before, _), (run, after, _) = lines[line][first], lines[line][second]
        # Clean images have no draws. A value at another input size is of other records.
        same_draws = line.suite == CLEAN or entries[base].results.seed == entries[run].results.seed
        paired = same_draws and before.key == after.key
        groups.setdefault((base, run, paired), []).append((line, first, second))
    found: dict[tuple[_Line, int, int], Difference] = {}
    for (base, run, paired), members in groups.items():
        sides = entries[base], entries[run]
        rows = [(lines[line][second][1], lines[line][first][1]) for line, first, second in members]
        differences = compare_pairs(sides[1].results, sides[0].results, rows, paired=paired)
        for member, difference in zip(members, differences, strict=True):
            p, method = difference.two_sided() if difference.testable else (None, "")
            names = (sides[0].results.name, sides[1].results.name, sides[0].label, sides[1].label)
            found[member] = Difference(*names, HEADLINE, difference, method, p, p)
    return found


def _notes(series: Sequence[Series]) -> list[str]:
    changes = [point.change for one in series for point in one.points if point.change is not None]
    unpaired = [change for change in changes if change.method == "intervals"]
    notes = []
    if unpaired:
        example = unpaired[0].paired
        reason = (
            "the seeds differ"
            if example.run.row["seed"] != example.base.row["seed"]
            else "without records of the same values on both sides"
        )
        notes.append(
            f"{len(unpaired)} of {len(changes)} changes are tested with the intervals and are not paired: {reason}"
        )
    if untested := sum(change.p is None or math.isnan(change.p) for change in changes):
        notes.append(f"{untested} of {len(changes)} changes have no interval and are not tested")
    split = list(dict.fromkeys(f"{one.suite} {one.label}" for one in series if one.only))
    if split:
        notes.append(f"{', '.join(split)}: only comparable values share a chart, whose title tells it from the others")
    return notes
