"""Comparison of runs with the first run: differences, cost, and images with changed predictions."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd

from robench.analysis.comparison.consistency import (
    METRIC,
    Consistency,
    consistency_rows,
    of_decisions,
    of_runs,
    shared_cells,
)
from robench.analysis.comparison.decisions import read_decisions
from robench.analysis.comparison.difference import PairedDifference, compare_pairs
from robench.analysis.comparison.matching import check_comparable, match_results
from robench.analysis.comparison.results_set import HEADLINE_METRICS, Key, ResultRow, ResultsSet, load_results
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.intervals import QUANTILE, percentile_interval
from robench.analysis.metrics.paired_tests import holm
from robench.analysis.variants import differing, run_settings
from robench.errors import OptionError, RunError, unknown_name
from robench.runs.csv import has_header
from robench.runs.files import atomic_write, check_replaceable, translate_os_errors
from robench.runs.find import find_runs
from robench.suites import CLEAN, WORST, display_family, families

__all__ = [
    "CELL",
    "CORRUPTION",
    "HEADLINE",
    "OTHER",
    "Cost",
    "Difference",
    "compare",
    "compare_all",
    "compare_sets",
    "consistencies",
    "costs",
    "difference_rows",
    "flips",
    "model_names",
    "warnings",
    "write_flips",
]

HEADLINE, CORRUPTION, CELL, OTHER = "headline", "corruption", "cell", "other"
"""Levels of differences. The p-values of a level are corrected together, those of `OTHER` metric by metric."""

_CELL = ["suite", "corruption", "severity", "resolution"]


@dataclass(frozen=True)
class Difference:
    """A tested difference of a metric between two runs.

    Attributes:
        base: Path of the first run.
        run: Path of the other run.
        base_model: Name of the first run's model, different from that of each other run.
        run_model: Name of the other run's model.
        level: One of `HEADLINE`, `CORRUPTION`, `CELL` and `OTHER`.
        paired: Both rows and their change.
        method: The test; empty without one.
        p: Two-sided p-value of no change; None without a test.
        p_holm: The p-value corrected for all differences of the level and of the two runs (Holm).
    """

    base: str
    run: str
    base_model: str
    run_model: str
    level: str
    paired: PairedDifference
    method: str
    p: float | None
    p_holm: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is at most 0.05."""
        return self.p_holm is not None and self.p_holm <= 0.05

    @property
    def gain(self) -> float:
        """The change for the better."""
        return -self.paired.sign * self.paired.change


@dataclass(frozen=True)
class Cost:
    """Throughput of two runs in the conditions that both have, measured on each run's own machine.

    Attributes:
        base: Name of the first run's model.
        run: Name of the other run's model.
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

    A suite of corruptions also has a difference of `mean_error` for each corruption, over its shared severities. A p-value does
    not depend on `metrics`.

    Args:
        runs: Run directories of the same samples and seed, or folders of them. A results CSV has intervals only, and its tests
            are not paired.
        metrics: The metrics to return; None for headlines, corruptions and cells.

    Raises:
        OptionError: The runs are not comparable or share no value, a metric is unknown, or there is only one run.
    """
    for metric in metrics or ():
        if metric not in METRICS:
            raise OptionError(*unknown_name("metric", metric, METRICS))
    return compare_sets(_load(runs), metrics)


def compare_sets(
    sets: Sequence[ResultsSet], metrics: Sequence[str] | None = None, *, paired: bool = True
) -> list[Difference]:
    """Compare each of the results with the first ones, as `compare` does.

    Args:
        sets: Results of two or more runs.
        metrics: As in `compare`.
        paired: Whether samples and seed must be equal, so that tests can be paired.

    Raises:
        OptionError: The results are not comparable, or share no value.
    """
    base, *others = sets
    names = model_names(sets)
    found: list[Difference] = []
    for other, name in zip(others, names[1:], strict=True):
        pair = [
            Difference(base.name, other.name, names[0], name, level, difference, method, p, None)
            for level, difference in _pair(other, base, metrics, paired)
            for p, method in [difference.two_sided() if difference.testable else (None, "")]
        ]
        shown = [one for one in _corrected(pair) if _is_shown(one, metrics)]
        if not shown:
            raise OptionError(f"{other.name} and {base.name} have no metric in common", "evaluate the same suites")
        found += shown
    return found


def _load(runs: Sequence[Path | str]) -> list[ResultsSet]:
    paths = find_runs(runs)
    if len(paths) < 2:
        raise OptionError("one run cannot be compared", "give two or more")
    return [load_results(path) for path in paths]


def model_names(sets: Sequence[ResultsSet]) -> list[str]:
    """Return the model of each set; where models are equal with its treatment, its other settings or the end of its path."""
    names = [results.model for results in sets]
    treated = [f"{results.model} + {results.treatment}" if results.treatment else results.model for results in sets]
    paths = [Path(results.name).parts for results in sets]
    parents = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, parents))
    placed = [f"{results.model} ({Path(*path[shared:])})" for results, path in zip(sets, paths, strict=True)]
    names = _replaced_equal(names, treated)
    for name in {name for name in names if names.count(name) > 1}:
        same = [index for index, other in enumerate(names) if other == name]
        manifests = [runs[0].manifest if (runs := sets[index].runs) else {} for index in same]
        for index, text in zip(same, differing([run_settings(manifest) for manifest in manifests]), strict=True):
            names[index] = f"{name} ({text})" if text else name
    return _replaced_equal(names, placed)


def _replaced_equal(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Replace names that occur several times by longer ones."""
    return [more if names.count(name) > 1 else name for name, more in zip(names, longer, strict=True)]


def _pair(
    run: ResultsSet, base: ResultsSet, metrics: Sequence[str] | None, paired: bool
) -> list[tuple[str, PairedDifference]]:
    """Return all differences of two runs with their levels: those of the fixed levels, and of other `metrics`."""
    check_comparable(run, base, paired=paired)
    others = {key.metric for key in run.rows}.intersection(metrics or ())

    def is_needed(row: ResultRow) -> bool:
        return _level(row.key) != OTHER or row.key.metric in others

    differences = compare_pairs(run, base, match_results(run, base, is_needed), paired=paired)
    levels = [(_level(difference.run.key), difference) for difference in differences]
    return levels + [(CORRUPTION, mean) for mean in _means_by_corruption(differences)]


def _level(key: Key) -> str:
    family = display_family(key.suite)
    if family == families.EXITS and key.metric == "accuracy" and key.corruption == CLEAN and key.subset is None:
        return HEADLINE
    if family == families.ADVERSARIAL:
        return HEADLINE if (key.metric, key.method) == ("accuracy", WORST) else OTHER
    if key.subset is not None or key.method is not None:
        return OTHER
    if key.suite == CLEAN:
        return HEADLINE if key.metric == "accuracy" else OTHER
    if not family.has_clean:
        return HEADLINE if key.metric in HEADLINE_METRICS else OTHER
    if key.metric in HEADLINE_METRICS and key.axis in (None, "difficulty"):
        return HEADLINE if key.corruption is None else CORRUPTION
    if family.has_frames:
        if key.metric == "flip_rate" or (key.metric == "accuracy" and family.has_resolutions and key.axis is None):
            return CORRUPTION
        return CELL if key.metric == "accuracy" and key.axis != "frame" else OTHER
    return CELL if key.metric == "error_rate" else OTHER


def _means_by_corruption(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the difference of the mean error of each corruption, over the severities that both runs have."""
    groups: dict[Key, list[PairedDifference]] = {}
    for difference in differences:
        key = difference.run.key
        if _level(key) == CELL and key.severity is not None and not display_family(key.suite).has_frames:
            groups.setdefault(key._replace(metric="mean_error", severity=None), []).append(difference)
    return [_mean(key, cells) for key, cells in groups.items()]


def _mean(key: Key, cells: Sequence[PairedDifference]) -> PairedDifference:
    run, base = (
        ResultRow(
            key, {**rows[0].row, **key._asdict(), "value": math.fsum(row.value for row in rows) / len(rows), **rest}
        )
        for rows in ([cell.run for cell in cells], [cell.base for cell in cells])
        for rest in [{"n": len(rows), "ci_low": None, "ci_high": None}]
    )
    mean = replace(cells[0], run=run, base=base, counts=None)
    resamples = [cell.resamples for cell in cells if cell.resamples is not None]
    if len(resamples) == len(cells):
        both = np.mean(resamples, axis=0)
        low, high = percentile_interval(both[0] - both[1])
        return replace(mean, ci_low=float(low), ci_high=float(high), resamples=both)
    # The cells are of the same images. At most, their errors add up as if they were perfectly correlated.
    errors = (float(np.mean([cell.errors[0] for cell in cells])), float(np.mean([cell.errors[1] for cell in cells])))
    half = QUANTILE * math.hypot(*errors)
    return replace(mean, ci_low=mean.change - half, ci_high=mean.change + half, resamples=None, errors=errors)


def _corrected(pair: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values of each level of two runs together, and of `OTHER` those of each metric."""
    families: dict[tuple[str, str], list[int]] = {}
    for index, difference in enumerate(pair):
        if difference.p is not None:
            metric = difference.paired.run.key.metric if difference.level == OTHER else ""
            families.setdefault((difference.level, metric), []).append(index)
    corrected: dict[int, float] = {}
    for indices in families.values():
        corrected |= dict(zip(indices, holm([pair[index].p or 0.0 for index in indices]).tolist(), strict=True))
    return [replace(difference, p_holm=corrected.get(index)) for index, difference in enumerate(pair)]


def _is_shown(difference: Difference, metrics: Sequence[str] | None) -> bool:
    return difference.level != OTHER if metrics is None else difference.paired.run.key.metric in metrics


def difference_rows(differences: Sequence[Difference], consistencies: Sequence[Consistency] = ()) -> pd.DataFrame:
    """Return a table with a row for each difference: columns of `Key`, both values, the change, its interval and p-values.

    Rows of error consistencies follow, with `observed` and `expected` agreement in columns of their own.
    """
    table = _difference_rows(differences)
    if not consistencies:
        return table
    rows = consistency_rows(consistencies)
    return rows if table.empty else pd.concat([table, rows], ignore_index=True)


def _difference_rows(differences: Sequence[Difference]) -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "base": difference.base,
                "run": difference.run,
                "base_model": difference.base_model,
                "run_model": difference.run_model,
                "level": difference.level,
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
    )
    return table if table.empty else table.astype({"severity": "Int64", "resolution": "Int64"})


def warnings(runs: Sequence[Path | str]) -> list[str]:
    """Return the warnings of the runs about likely mistakes; each begins with the path of its run."""
    return [warning for path in find_runs(runs) for warning in load_results(path).warnings]


def costs(runs: Sequence[Path | str]) -> list[Cost]:
    """Return the throughput of each run and of the first run, if both are run directories with timings."""
    sets = _load(runs)
    base, names = sets[0], model_names(sets)
    costs = (_cost(base, other, names[0], name) for other, name in zip(sets[1:], names[1:], strict=True))
    return [cost for cost in costs if cost is not None]


def _cost(base: ResultsSet, other: ResultsSet, base_model: str, run_model: str) -> Cost | None:
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
    return Cost(base_model, run_model, len(both), base_rate, run_rate)


def compare_all(
    runs: Sequence[Path | str],
    metrics: Sequence[str] | None = None,
    decisions: Sequence[Path | str] = (),
    *,
    consistency: bool = False,
) -> tuple[list[Difference], list[Consistency]]:
    """Compare runs as `compare` does, and measure their error consistency.

    Args:
        runs: As in `compare`; one suffices with decisions.
        metrics: As in `compare`; `error_consistency` is one of them.
        decisions: Tables for `read_decisions`.
        consistency: Whether to measure error consistency where neither `metrics` nor `decisions` ask for it.

    Returns:
        The differences, and the error consistencies, without those of runs that have no records unless they are asked for.

    Raises:
        RobenchError: As `compare` and `consistencies`.
    """
    others = None if metrics is None else [metric for metric in metrics if metric != METRIC]
    is_single = bool(decisions) and len(find_runs(runs)) == 1
    differences = [] if is_single or others == [] else compare(runs, others)
    is_asked = bool(decisions) or (metrics is not None and METRIC in metrics)
    try:
        found = consistencies(runs, decisions) if is_asked or (consistency and metrics is None) else []
    except RunError:
        if is_asked:
            raise
        found = []
    return differences, found


def consistencies(runs: Sequence[Path | str], decisions: Sequence[Path | str] = ()) -> list[Consistency]:
    """Return the error consistency of each run with the first one, and of all runs with the decisions of tables.

    Args:
        runs: Run directories of the same samples and seed, or folders of them; one suffices with decisions.
        decisions: Tables for `read_decisions`.

    Raises:
        OptionError: There is nothing to compare, or the runs or decisions are of other images.
        RunError: A run has no records.
        TableError: A table cannot be read.
    """
    makers = [maker for path in decisions for maker in read_decisions(Path(path))]
    paths = find_runs(runs)
    sets = [load_results(path) for path in paths] if makers else _load(paths)
    names = model_names(sets)
    found: list[Consistency] = []
    for other, name in zip(sets[1:], names[1:], strict=True):
        check_comparable(other, sets[0], paired=True)
        found += of_runs(sets[0], other, (names[0], name))
    for results, name in zip(sets, names, strict=True) if makers else ():
        found += of_decisions(results, name, makers)
    return found


def flips(runs: Sequence[Path | str]) -> pd.DataFrame:
    """Return the images with another prediction than in the first run, for all shared cells with one image a sample.

    The columns are base, run, suite, corruption, severity, resolution, index, path, label, base_pred, run_pred and change.
    `change` is `negative_flip` if only the first run is right, `positive_flip` if only the other run is right, and
    `wrong_to_wrong` if both are wrong.

    Raises:
        OptionError: The runs are not comparable or share no cell.
        RunError: A run has no records, or records of other samples.
    """
    base, *others = _load(runs)
    return pd.concat([_flips(base, other) for other in others], ignore_index=True)


def _flips(base: ResultsSet, other: ResultsSet) -> pd.DataFrame:
    check_comparable(other, base, paired=True)
    samples = None
    parts = []
    for condition, before, after in shared_cells(base, other):
        samples = base.runs[0].read_samples() if samples is None else samples
        index = np.flatnonzero(before["pred"] != after["pred"])
        label, base_pred, run_label, run_pred = (
            records[name].to_numpy()[index] for records in (before, after) for name in ("label", "pred")
        )
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
                        np.where(run_pred == run_label, "positive_flip", "wrong_to_wrong"),
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
