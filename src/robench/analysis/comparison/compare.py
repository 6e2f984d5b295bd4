"""Comparison of runs with the first run: differences, cost, and images with changed predictions."""

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

__all__ = [
    "Cost",
    "Difference",
    "compare",
    "costs",
    "difference_rows",
    "disagreement",
    "flips",
    "warnings",
    "write_flips",
]

_CELL_METRICS = ("error_rate", "accuracy", "flip_rate")
_CELL = ["suite", "corruption", "severity", "resolution"]


@dataclass(frozen=True)
class Difference:
    """A tested difference of a metric between two runs.

    Attributes:
        base: Name of the first run.
        run: Name of the other run.
        paired: Both rows and their change.
        method: The test; empty without one.
        p: Two-sided p-value of no change; None without a test.
        p_holm: The p-value corrected for all differences of the comparison (Holm).
    """

    base: str
    run: str
    paired: PairedDifference
    method: str
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Cost:
    """Throughput of two runs in the conditions that both have, measured on each run's own machine.

    Attributes:
        base: Name of the first run.
        run: Name of the other run.
        conditions: Number of shared conditions.
        base_rate: Images/s of the first run.
        run_rate: Images/s of the other run.
    """

    base: str
    run: str
    conditions: int
    base_rate: float
    run_rate: float


def compare(runs: Sequence[Path | str], metrics: Sequence[str] | None = None) -> list[Difference]:
    """Compare each of the runs with the first one.

    Args:
        runs: Run directories of the same samples and seed. A results CSV has intervals only, and its tests are not paired.
        metrics: The metrics to compare; None for errors of cells and aggregates of suites.

    Raises:
        OptionError: The runs are not comparable or share no value, a metric is unknown, or there is only one run.
    """
    if len(runs) < 2:
        raise OptionError("one run cannot be compared", "give two or more")
    for metric in metrics or ():
        if metric not in METRICS:
            raise OptionError(*unknown_name("metric", metric, METRICS))
    base, *others = [load_results(run) for run in runs]
    differences: list[tuple[str, PairedDifference]] = []
    for other in others:
        check_comparable(other, base, paired=True)
        pairs = match_results(other, base, lambda row: _is_selected(row, metrics))
        if not pairs:
            raise OptionError(f"{other.name} and {base.name} have no metric in common", "evaluate the same suites")
        differences += [(other.name, paired) for paired in compare_pairs(other, base, pairs, paired=True)]
    tests = [paired.two_sided() if paired.testable else (None, "") for _, paired in differences]
    p_values = {index: p for index, (p, _) in enumerate(tests) if p is not None}
    corrected = dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
    return [
        Difference(base.name, run, paired, method, p, corrected.get(index))
        for index, ((run, paired), (p, method)) in enumerate(zip(differences, tests, strict=True))
    ]


def _is_selected(row: ResultRow, metrics: Sequence[str] | None) -> bool:
    if metrics is not None:
        return row.key.metric in metrics
    if row.key.suite == CLEAN:
        return row.key.metric == "accuracy"
    return row.key.metric in (*HEADLINE_METRICS, *_CELL_METRICS) and row.key.axis != "frame"


def difference_rows(differences: Sequence[Difference]) -> pd.DataFrame:
    """Return a table with a row for each difference: columns of `Key`, both values, the change, its interval and p-values."""
    return pd.DataFrame(
        [
            {
                "base": difference.base,
                "run": difference.run,
                **difference.paired.run.key._asdict(),
                "unit": difference.paired.run.row["unit"],
                "base_value": difference.paired.base.value,
                "run_value": difference.paired.run.value,
                "change": difference.paired.change,
                "ci_low": difference.paired.ci_low,
                "ci_high": difference.paired.ci_high,
                "p": difference.p,
                "p_holm": difference.p_holm,
                "test": difference.method,
            }
            for difference in differences
        ]
    ).astype({"severity": "Int64", "resolution": "Int64"})


def warnings(runs: Sequence[Path | str]) -> list[str]:
    """Return the warnings of the runs about likely mistakes; each begins with the path of its run."""
    return [warning for run in runs for warning in load_results(run).warnings]


def costs(runs: Sequence[Path | str]) -> list[Cost]:
    """Return the throughput of each run and of the first run, if both are run directories with timings."""
    base, *others = [load_results(run) for run in runs]
    return [cost for other in others if (cost := _cost(base, other)) is not None]


def _cost(base: ResultsSet, other: ResultsSet) -> Cost | None:
    if not base.runs or not other.runs:
        return None
    before, after = (
        results.runs[0].read_timings().groupby(_CELL)[["images", "seconds"]].sum() for results in (base, other)
    )
    both = before.index.intersection(after.index)
    if not len(both):
        return None
    totals = [timings.loc[both].sum() for timings in (before, after)]
    base_rate, run_rate = (float(total["images"] / total["seconds"]) for total in totals)
    return Cost(base.name, other.name, len(both), base_rate, run_rate)


def flips(runs: Sequence[Path | str]) -> pd.DataFrame:
    """Return the images with another prediction than in the first run, for all shared cells with one image a sample.

    The columns are base, run, suite, corruption, severity, resolution, index, path, label, base_pred, run_pred and change.
    `change` is `negative_flip` if only the first run is right, `positive_flip` if only the other run is right, and
    `wrong_to_wrong` if both are wrong.

    Raises:
        OptionError: The runs are not comparable or share no cell.
        RunError: A run has no records, or records of other samples.
    """
    base, *others = [load_results(run) for run in runs]
    return pd.concat([_flips(base, other) for other in others], ignore_index=True)


def _flips(base: ResultsSet, other: ResultsSet) -> pd.DataFrame:
    for results in (base, other):
        if not results.runs:
            raise RunError(f"{results.name} has no records of images", "name the run directory")
    check_comparable(other, base, paired=True)
    samples = base.runs[0].read_samples()
    base_conditions = {condition.name: condition for condition in base.runs[0].finished()}
    parts = []
    for condition in other.runs[0].finished():
        known = base_conditions.get(condition.name)
        if (
            known is None
            or (known.protocol, known.source) != (condition.protocol, condition.source)
            or condition.frames != 1
        ):
            continue
        before, after = (
            read_columns(results.runs[0], condition, ("sample", "label", "pred")) for results in (base, other)
        )
        if not before["sample"].equals(after["sample"]) or not before["label"].equals(after["label"]):
            raise RunError(f"{other.name}: {condition.name} has other samples than in {base.name}", "evaluate again")
        label, base_pred, run_pred = (column.to_numpy() for column in (before["label"], before["pred"], after["pred"]))
        index = np.flatnonzero(base_pred != run_pred)
        label, base_pred, run_pred = label[index], base_pred[index], run_pred[index]
        parts.append(
            pd.DataFrame(
                {
                    "base": base.name,
                    "run": other.name,
                    **{name: getattr(condition, name) for name in _CELL},
                    "index": samples["index"].to_numpy()[index],
                    "path": [_escape_formula(path) for path in samples["path"].to_numpy()[index]],
                    "label": label,
                    "base_pred": base_pred,
                    "run_pred": run_pred,
                    "change": np.where(
                        base_pred == label,
                        "negative_flip",
                        np.where(run_pred == label, "positive_flip", "wrong_to_wrong"),
                    ),
                }
            )
        )
    if not parts:
        raise OptionError(f"{other.name} and {base.name} have no cell in common", "evaluate the same suites")
    return pd.concat(parts, ignore_index=True)


def _escape_formula(path: str) -> str:
    """Return an equivalent path that a spreadsheet does not read as a formula."""
    return f"./{path}" if path[:1] in ("=", "+", "-", "@", "\t", "\r") else path


def disagreement(flipped: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """Count flips by run and cell, in the columns negative_flip, positive_flip, wrong_to_wrong and all.

    Args:
        flipped: The table of `flips`.
        most: Number of cells to return, those with the most flips first.
    """
    counts = flipped.groupby(["run", *_CELL, "change"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["negative_flip", "positive_flip", "wrong_to_wrong"], fill_value=0)
    counts["all"] = counts.sum(axis=1)
    return counts.sort_values("all", ascending=False, kind="stable").head(most).reset_index()


def write_flips(flipped: pd.DataFrame, path: Path, force: bool = False) -> None:
    """Write the table of `flips` as CSV, atomically.

    Args:
        flipped: The table.
        path: The file; an existing table of flips is replaced.
        force: Whether to replace a file of another kind.
    """
    text = io.StringIO()
    flipped.to_csv(text, index=False, lineterminator="\n")
    check_replaceable(path, has_header(list(flipped.columns)), "--flips", force)
    with translate_os_errors(path):
        atomic_write(path, lambda file: file.write(text.getvalue().encode()))
