"""Runs beside each other: every cell and headline with its paired difference, where predictions differ, which images flipped."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from robench.analysis.comparison.difference import PairedDifference, compare_pairs
from robench.analysis.comparison.matching import check_comparable, match_results
from robench.analysis.comparison.results_set import HEADLINE_METRICS, ResultRow, ResultsSet, load_results
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.paired_tests import holm
from robench.analysis.scoring.records import read_columns
from robench.errors import OptionError, RunError, unknown_name
from robench.runs.csv import has_header
from robench.runs.files import atomic_write, check_replaceable, translate_os_errors
from robench.suites import CLEAN

__all__ = ["Cost", "Difference", "compare", "costs", "difference_rows", "disagreement", "flips", "write_flips"]

_CELLS = ("error_rate", "accuracy", "flip_rate")


@dataclass(frozen=True)
class Difference:
    """A figure of two runs. p: two-sided, of no change.  p_holm: corrected for all differences of the comparison."""

    base: str
    run: str
    paired: PairedDifference
    method: str
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Cost:
    """What two runs took for the conditions that both have, by the clocks of their machines; nothing is tested.

    base, run: names.  conditions: so many.  base_rate, run_rate: images/s.
    """

    base: str
    run: str
    conditions: int
    base_rate: float
    run_rate: float


def compare(runs: Sequence[Path | str], metrics: Sequence[str] | None = None) -> list[Difference]:
    """Compare each of the runs with the first, in the figures that both have; OptionError if there is none.

    metrics: default the errors of cells and what suites are summed up by. Runs must be of the same samples and seed; a results
    CSV in place of a run has intervals only.
    """
    if len(runs) < 2:
        raise OptionError("one run has nothing to be compared with: give two or more")
    for metric in metrics or ():
        if metric not in METRICS:
            raise OptionError(unknown_name("metric", metric, METRICS))
    base, *others = [load_results(run) for run in runs]
    found: list[tuple[str, PairedDifference]] = []
    for other in others:
        check_comparable(other, base, paired=True)
        pairs = match_results(other, base, lambda figure: _chosen(figure, metrics))
        if not pairs:
            raise OptionError(
                f"{other.name} and {base.name} have no figure in common to compare: evaluate the same suites"
            )
        found += [(other.name, one) for one in compare_pairs(other, base, pairs, paired=True)]
    tests = [one.two_sided() if one.testable else (None, "") for _, one in found]
    tested = [number for number, (p, _) in enumerate(tests) if p is not None]
    corrected = dict(zip(tested, holm([tests[number][0] or 0.0 for number in tested]).tolist(), strict=True))
    return [
        Difference(base.name, run, one, method, p, corrected.get(number))
        for number, ((run, one), (p, method)) in enumerate(zip(found, tests, strict=True))
    ]


def _chosen(figure: ResultRow, metrics: Sequence[str] | None) -> bool:
    if metrics is not None:
        return figure.key.metric in metrics
    if figure.key.suite == CLEAN:
        return bool(figure.key.metric == "accuracy")
    return figure.key.metric in (*HEADLINE_METRICS, *_CELLS) and figure.key.axis != "frame"


def difference_rows(differences: Sequence[Difference]) -> pd.DataFrame:
    """One row a difference: the columns of `Key`, both values, the change with its interval and p-values."""
    return pd.DataFrame(
        [
            {
                "base": one.base,
                "run": one.run,
                **one.paired.run.key._asdict(),
                "unit": one.paired.run.row["unit"],
                "base_value": one.paired.base.value,
                "run_value": one.paired.run.value,
                "change": one.paired.change,
                "ci_low": one.paired.ci_low,
                "ci_high": one.paired.ci_high,
                "p": one.p,
                "p_holm": one.p_holm,
                "test": one.method,
            }
            for one in differences
        ]
    ).astype({"severity": "Int64", "resolution": "Int64"})


def costs(runs: Sequence[Path | str]) -> list[Cost]:
    """Return what each of the runs took beside the first, where both are run directories that were timed."""
    base, *others = [load_results(run) for run in runs]
    return [cost for other in others if (cost := _cost(base, other)) is not None]


def _cost(base: ResultsSet, other: ResultsSet) -> Cost | None:
    if not base.runs or not other.runs:
        return None
    of = ["suite", "corruption", "severity", "resolution"]
    before, after = (side.runs[0].read_timings().groupby(of)[["images", "seconds"]].sum() for side in (base, other))
    both = before.index.intersection(after.index)
    if not len(both):
        return None
    rates = [float(one["images"] / one["seconds"]) for one in (before.loc[both].sum(), after.loc[both].sum())]
    return Cost(base.name, other.name, len(both), rates[0], rates[1])


def flips(runs: Sequence[Path | str]) -> pd.DataFrame:
    """Return the images whose prediction differs from the first run's, in every cell of one image a sample that both have.

    Columns: base, run, suite, corruption, severity, resolution, index, path, label, base_pred, run_pred, change: `lost` where
    the first run was right, `gained` where the other is, `moved` where both are wrong. RunError without records.
    """
    base, *others = [load_results(run) for run in runs]
    found = [_flips(base, other) for other in others]
    return pd.concat(found, ignore_index=True)


def _flips(base: ResultsSet, other: ResultsSet) -> pd.DataFrame:
    if not base.runs or not other.runs:
        missing = base if not base.runs else other
        raise RunError(f"{missing.name} has no records of images: name the run directory")
    check_comparable(other, base, paired=True)
    samples = base.runs[0].read_samples()
    theirs = {condition.name: condition for condition in base.runs[0].finished()}
    parts = []
    for condition in other.runs[0].finished():
        known = theirs.get(condition.name)
        if known is None or known.protocol != condition.protocol or known.source != condition.source:
            continue
        if condition.frames != 1:
            continue
        before, after = (read_columns(side.runs[0], condition, ("sample", "label", "pred")) for side in (base, other))
        if not before["sample"].equals(after["sample"]) or not before["label"].equals(after["label"]):
            raise RunError(f"{other.name}: {condition.name} has other samples than in {base.name}: evaluate again")
        label, was, now = before["label"].to_numpy(), before["pred"].to_numpy(), after["pred"].to_numpy()
        at = np.flatnonzero(was != now)
        change = np.where(was[at] == label[at], "lost", np.where(now[at] == label[at], "gained", "moved"))
        parts.append(
            pd.DataFrame(
                {
                    "base": base.name,
                    "run": other.name,
                    "suite": condition.suite,
                    "corruption": condition.corruption,
                    "severity": condition.severity,
                    "resolution": condition.resolution,
                    "index": samples["index"].to_numpy()[at],
                    "path": [_text(path) for path in samples["path"].to_numpy()[at]],
                    "label": label[at],
                    "base_pred": was[at],
                    "run_pred": now[at],
                    "change": change,
                }
            )
        )
    if not parts:
        raise OptionError(f"{other.name} and {base.name} have no cell in common to compare: evaluate the same suites")
    return pd.concat(parts, ignore_index=True)


def _text(path: str) -> str:
    """The same path, written so that a spreadsheet does not take it for a formula."""
    return f"./{path}" if path[:1] in ("=", "+", "-", "@", "\t", "\r") else path


def disagreement(flipped: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """Count flips by run and cell, the cells with the most of them first: columns lost, gained, moved, all."""
    cells = ["run", "suite", "corruption", "severity", "resolution"]
    counts = flipped.groupby([*cells, "change"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["lost", "gained", "moved"], fill_value=0)
    counts["all"] = counts.sum(axis=1)
    return counts.sort_values("all", ascending=False, kind="stable").head(most).reset_index()


def write_flips(flipped: pd.DataFrame, path: Path, force: bool = False) -> None:
    """Write flips as CSV, whole or not at all."""
    text = io.StringIO()
    flipped.to_csv(text, index=False, lineterminator="\n")
    check_replaceable(path, has_header(list(flipped.columns)), "--flips", force)
    with translate_os_errors(path):
        atomic_write(path, lambda file: file.write(text.getvalue().encode()))
