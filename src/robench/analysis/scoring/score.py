"""Scoring of a run: the records of its finished conditions to results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.baselines import Baseline
from robench.analysis.field import Field, field_fit, field_of
from robench.analysis.metrics.classification import (
    ByClass,
    balanced_accuracy,
    class_rates,
    mean_error,
    worst_class_error,
)
from robench.analysis.metrics.effective_robustness import effective_robustness
from robench.analysis.metrics.intervals import bootstrap_interval, wilson_interval
from robench.analysis.metrics.mce import ce, mce, relative_mce
from robench.analysis.scoring.curves import Curve, FrameRecords, curves_of, family_rows, resampled
from robench.analysis.scoring.exits import exit_curves, exit_rows
from robench.analysis.scoring.groups import Group, groups_of, has_samples, suite_of
from robench.analysis.scoring.image_groups import GROUP_METRICS, group_rows
from robench.analysis.scoring.normalization import baseline_errors, difficulties_of, group_baseline, sequence_baseline
from robench.analysis.scoring.ood import ood_rows
from robench.analysis.scoring.records import Outcomes, read_cells, read_frames, read_label
from robench.analysis.scoring.rows import DISTRIBUTION, DISTRIBUTION_SIZE, Row, means, resample_weights, result_row, row
from robench.analysis.scoring.shape_bias import shape_bias_rows
from robench.analysis.scoring.size_selection import choice_curves, choice_rows, has_cost
from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN, OOD, Suite, families
from robench.types import Floats, Ints, Results

__all__ = ["score", "score_rows"]

_TOGETHER = 32
"""Cells that share one draw of the resamples: about 60 MB of ImageNet's samples."""

_RATES = ("error_rate", "top5_error")
"""Metrics of cells that are a single rate."""

_SCORES = ("nll", "brier")
"""Metrics of cells that are the mean of a score of each sample. They do not exist where a sample has no prediction."""

_SELECTIVE = ("aurc", "augrc", "risk_at_coverage_80", "coverage_at_risk_5")

_MEANS = (
    *("ece", "rms_calibration_error", "top5_error"),
    *("adaptive_ece", *_SCORES, *_SELECTIVE, "balanced_accuracy"),
)
"""Metrics of cells whose aggregate is the mean over the cells."""

_CLASS_METRICS = {"class_error", "worst_class_error", "balanced_accuracy"}


def score(
    run: RunDirectory | Path | str, normalize_by: str | None = None, groups: pd.DataFrame | None = None
) -> Results:
    """Compute the results of a run's finished conditions. The same records give the same bytes.

    Intervals are 95 % percentile bootstraps over images: 1,000 keyed resamples, the same in every cell. A single rate of exactly 0
    or 1 has Wilson's interval, because all resamples agree and the bootstrap has no width. Single rates are error_rate,
    top5_error, accuracy, class_error of the clean images, and metrics of frames that are 0 or 1 for each image. A resample
    without an image of a class leaves that class out. Biased metrics (`Metric.is_biased`) have basic intervals. Every interval
    holds its value.

    Suites have the order of the manifest. The rows of a suite are the cells, then ce, then the aggregates, then class_error.

    Args:
        run: A run with at least one finished condition, or its directory.
        normalize_by: Baseline of CE, mCE, FR, mFR and mT5D: a published baseline, the directory of another run, or "none". None
            selects that of the manifest, or else each suite's own published baseline. Intervals treat it as a constant.
        groups: The table GROUPS; None for that of the run, if it has one.

    Raises:
        RunError: If nothing is finished, or records do not fit together.
        OptionError: If the baseline does not fit the run.
    """
    rows = score_rows(
        run if isinstance(run, RunDirectory) else RunDirectory.open(run), normalize_by, image_groups=groups
    )
    return rows_to_frame(RESULTS, ({name: row.get(name) for name in RESULTS.names} for row in rows))


def score_rows(
    run: RunDirectory,
    normalize_by: str | None = None,
    only: Collection[tuple[str, str]] | None = None,
    *,
    seed: int | None = None,
    image_groups: pd.DataFrame | None = None,
) -> list[Row]:
    """Return the rows of the results with their bootstrap distributions under the key `DISTRIBUTION`.

    Two runs with the same seed and number of samples have the same resamples, so that distributions can be subtracted.

    Args:
        run: A run with at least one finished condition.
        normalize_by: As in `score`.
        only: Pairs of suite and metric that the caller needs. Rows of other pairs are omitted if their computation is costly.
        seed: Seed of the resamples; None for that of the run.
        image_groups: The table GROUPS; None for that of the run, if it has one.

    Raises:
        RunError: As `score`.
        OptionError: As `score`.
    """
    seed = run.manifest["seed"] if seed is None else seed
    groups = groups_of(run)
    baselines = {group: group_baseline(run, group, normalize_by) for group in groups}
    finished = run.finished()
    if not finished:
        raise RunError(f"{run.path} has no finished condition to score", "run its `robench evaluate` again")
    metrics = None
    if only is not None:
        suites, metrics = {CLEAN, *(suite for suite, _ in only)}, {metric for _, metric in only}
        finished = [condition for condition in finished if condition.suite in suites]
    images = [one for one in finished if has_samples(one)]
    measured = _measure(run, images, groups, metrics, seed) if images else None
    common = {
        "schema": SCHEMA_VERSION,
        "model": run.manifest["model"]["label"],
        "treatment": run.manifest.get("treatment"),
        "dataset": run.manifest["data"]["name"],
        "data_sha": run.manifest["data"]["sha256"],
        "seed": str(run.manifest["seed"]),
        "robench_version": version("robench"),
    }
    rows: list[Row] = []
    for suite in dict.fromkeys(suite_of(condition) for condition in run.conditions):
        conditions = [condition for condition in finished if condition.suite == suite.name]
        if suite.family.has_frames and conditions:
            rows += _frame_rows(run, suite, conditions, measured, normalize_by, seed)
        if suite.family is families.CUE_CONFLICT:
            rows += shape_bias_rows(run, conditions, seed)
        for group in groups:
            if group.suite == suite and measured is not None:
                rows += _group_rows(group, measured, baselines[group], _field(run, group))
    if only is None or any(metric in GROUP_METRICS for _, metric in only):
        rows += group_rows(run, seed, image_groups)
    if only is None or any(suite == OOD for suite, _ in only):
        rows += ood_rows(run, seed)
    return [common | row for row in rows]


# Cells: conditions with one image a sample.


@dataclass(frozen=True)
class _Statistic:
    """Metrics of cells that are computed together.

    Attributes:
        metrics: Names of the metrics.
        columns: Columns of the records that they need besides `label` and `pred`.
        compute: Returns each metric, (r, cells), of samples that are taken (r, n) times.
    """

    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    compute: Callable[[Outcomes, NDArray[np.int32]], Sequence[Floats]]


def _rates(hits: NDArray[Any], counts: NDArray[np.int32]) -> Floats:
    """Return the share of `hits` (n, cells) among samples that are taken `counts` (r, n) times."""
    return np.asarray((counts.astype(hits.dtype) @ hits).astype(np.float64) / len(hits))


def _calibration_errors(outcomes: Outcomes, counts: NDArray[np.int32]) -> Sequence[Floats]:
    errors = [cell.reliability.errors(counts) for cell in outcomes.cells if cell.reliability is not None]
    return [np.stack(values, axis=1) for values in zip(*errors, strict=True)]


def _score_means(outcomes: Outcomes, counts: NDArray[np.int32]) -> Sequence[Floats]:
    """Return the means of the proper scores; NaN for cells without them."""
    absent = np.full(len(outcomes.label), np.nan)
    columns = [cell.scores.get(name, absent) for name in _SCORES for cell in outcomes.cells]
    return np.split(means(np.stack(columns, axis=1), counts), len(_SCORES), axis=1)


def _selective(outcomes: Outcomes, counts: NDArray[np.int32]) -> Sequence[Floats]:
    measures = [cell.ranking.measures(counts) for cell in outcomes.cells if cell.ranking is not None]
    return [np.stack(values, axis=1) for values in zip(*measures, strict=True)]


_CALIBRATION = _Statistic(("ece", "rms_calibration_error", "adaptive_ece"), ("confidence",), _calibration_errors)

_STATISTICS = (
    _Statistic(("error_rate",), (), lambda outcomes, counts: [_rates(outcomes.wrong, counts)]),
    _Statistic(("top5_error",), ("top5",), lambda outcomes, counts: [_rates(outcomes.top5_wrong, counts)]),
    _CALIBRATION,
    _Statistic(_SCORES, ("prob_label", "sum_p2"), _score_means),
    _Statistic(_SELECTIVE, ("confidence",), _selective),
)


@dataclass(frozen=True)
class _Measured:
    """Values with their distributions; the last axis is 1 + resamples.

    Attributes:
        by_class: Samples by class.
        cells: Distributions (1 + resamples,) by condition and metric.
        nonfinite_rate: Fraction of samples without a prediction by condition.
        class_error: Class errors (classes, 1 + resamples) by group.
    """

    by_class: ByClass
    cells: dict[str, dict[str, Floats]]
    nonfinite_rate: dict[str, float]
    class_error: dict[Group, Floats]

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.by_class.order)

    def over(self, metric: str, conditions: Iterable[ConditionEntry]) -> Floats:
        """Return a metric of several conditions, (1 + resamples, conditions)."""
        return np.stack([self.cells[condition.name][metric] for condition in conditions], axis=-1)


def _measure(
    run: RunDirectory, images: Sequence[ConditionEntry], groups: Sequence[Group], only: set[str] | None, seed: int
) -> _Measured:
    """Measure conditions with one image a sample: the error rate always, other metrics if `only` is None or names them."""
    statistics = [one for one in _STATISTICS if only is None or not one.columns or only.intersection(one.metrics)]
    columns = list(dict.fromkeys(column for statistic in statistics for column in statistic.columns))
    cells: dict[str, dict[str, Floats]] = {one.name: defaultdict(lambda: np.empty(DISTRIBUTION_SIZE)) for one in images}
    nonfinite: dict[str, float] = {}
    by_class = not run.is_multi_label and (only is None or not only.isdisjoint(_CLASS_METRICS))
    classes = _ClassErrors(read_label(run, images[0]), groups if by_class else (), cells)
    for outcomes in read_cells(run, images, columns, _TOGETHER):
        nonfinite |= {cell.name: cell.nonfinite_rate for cell in outcomes.cells}
        for part, counts in resample_weights(len(outcomes.label), seed):
            for statistic in statistics:
                for metric, values in zip(statistic.metrics, statistic.compute(outcomes, counts), strict=True):
                    for cell, distribution in zip(outcomes.cells, values.T, strict=True):
                        cells[cell.name][metric][part] = distribution
            if by_class:
                for cell, (worst, balanced) in zip(outcomes.cells, classes.add(outcomes, part, counts), strict=True):
                    cells[cell.name]["worst_class_error"][part] = worst
                    cells[cell.name]["balanced_accuracy"][part] = balanced
    for name, rate in nonfinite.items():
        # Without any prediction, no confidence can be right. Without that of a sample, the scores have no mean.
        for metric in (*(_CALIBRATION.metrics if rate == 1 else ()), *(_SCORES if rate else ())):
            cells[name].pop(metric, None)
        if run.is_multi_label:
            cells[name].pop("brier", None)
    measured = {name: dict(distributions) for name, distributions in cells.items()}
    return _Measured(classes.by_class, measured, nonfinite, classes.errors())


class _ClassErrors:
    """Sums over the samples of each class, added up over the conditions of each group."""

    def __init__(self, label: Ints, groups: Sequence[Group], done: Collection[str]) -> None:
        self.by_class = ByClass.of(label)
        shape = len(self.by_class.classes), DISTRIBUTION_SIZE
        self._taken = np.zeros(shape, np.int64)
        averaged = {group: [condition.name for condition in group.aggregated(done)] for group in groups}
        self._wrong = {group: (names, np.zeros(shape, np.int64)) for group, names in averaged.items() if names}

    def add(self, outcomes: Outcomes, part: slice, counts: NDArray[np.int32]) -> Iterator[tuple[Floats, Floats]]:
        """Add resamples of cells, and yield the worst class error and the balanced accuracy of each cell, (r,)."""
        in_order = np.ascontiguousarray(counts.T[self.by_class.order])
        taken = self._taken[:, part] = self.by_class.sums(in_order)
        for cell in outcomes.cells:
            wrong = self.by_class.sums(in_order, cell.wrong[self.by_class.order])
            for names, sums in self._wrong.values():
                if cell.name in names:
                    sums[:, part] += wrong
            rates = class_rates(wrong, taken).T
            yield worst_class_error(rates), balanced_accuracy(rates)

    def errors(self) -> dict[Group, Floats]:
        """Return the class errors (classes, 1 + resamples) by group."""
        return {group: class_rates(sums, self._taken * len(names)) for group, (names, sums) in self._wrong.items()}


def _group_rows(group: Group, measured: _Measured, baseline: Baseline | None, field: Field | None) -> Iterator[Row]:
    """Yield the rows of a group's finished conditions and of their aggregates."""
    cells = measured.cells
    averaged = group.aggregated(cells)
    if not averaged:
        return
    common: Row = {
        "suite": group.suite.name,
        "resolution": group.resolution,
        "protocol": group.protocol,
        "source": group.source,
    }
    is_clean, images = group.suite.name == CLEAN, measured.n
    for condition in (one for one in group.conditions if one.name in cells):
        cell = common | {"corruption": condition.corruption, "severity": condition.severity, "n": images}
        for metric, distribution in cells[condition.name].items():
            yield cell | result_row(metric, distribution, images if metric in _RATES else None)
        if is_clean:
            yield cell | result_row("accuracy", 1 - cells[condition.name]["error_rate"], images)
        if rate := measured.nonfinite_rate[condition.name]:
            yield cell | row("nonfinite_rate", rate, wilson_interval(round(rate * images), images))
    class_errors = measured.class_error.get(group)
    if not is_clean:
        if baseline is not None:
            for scaled in _normalized(group, measured, baseline):
                yield common | scaled | {"baseline": baseline.name}
        for corruption in dict.fromkeys(one.corruption for one in group.conditions if one.name in cells):
            series = [one for one in group.conditions if one.corruption == corruption and one.name in cells]
            errors = mean_error(measured.over("error_rate", series))
            yield common | result_row("corruption_error", errors) | {"corruption": corruption, "n": len(series)}
        aggregate = common | {"n": len(averaged)}
        errors = mean_error(measured.over("error_rate", averaged))
        yield aggregate | result_row("mean_error", errors)
        fit = field and field_fit(field.name, frozenset((one.corruption, one.severity) for one in averaged))
        if field and fit and (clean := cells.get(averaged[0].clean)) is not None:
            above = effective_robustness(1 - clean["error_rate"], 1 - errors, fit.slope, fit.intercept)
            yield aggregate | result_row("effective_robustness", above) | {"baseline": field.name}
        for metric in (metric for metric in _MEANS if all(metric in cells[condition.name] for condition in averaged)):
            yield aggregate | result_row(metric, measured.over(metric, averaged).mean(axis=-1))
        if class_errors is not None:
            yield aggregate | result_row("worst_class_error", worst_class_error(class_errors.T))
    if class_errors is not None:
        only_cell = {"corruption": CLEAN, "severity": 0} if is_clean else {"n": len(averaged)}
        yield from (common | one | only_cell for one in _class_rows(class_errors, measured.by_class, is_clean))


def _field(run: RunDirectory, group: Group) -> Field | None:
    """Return the published models among which a group's values stand; None at another size than the suite's, or without any."""
    suite, data = group.suite, run.manifest["data"]
    if suite.geometry is None or suite.geometry.side != group.resolution:
        return None
    return field_of(suite.name, data["name"], data.get("predicted_classes"), data.get("classes", ()))


def _class_rows(errors: Floats, by_class: ByClass, is_clean: bool) -> Iterator[Row]:
    """Yield the row of each class. Its n is the number of images, which aggregates replace by that of their cells."""
    low, high = bootstrap_interval(errors)
    for index, images, distribution, *ends in zip(
        by_class.classes.tolist(), by_class.sizes.tolist(), errors, low.tolist(), high.tolist(), strict=True
    ):
        value = float(distribution[0])
        if is_clean and value in (0.0, 1.0):
            ends = [*wilson_interval(round(value * images), images)]
        yield {
            **row("class_error", value, (ends[0], ends[1])),
            "axis": "class",
            "axis_value": float(index),
            "n": images,
            DISTRIBUTION: distribution,
        }


def _normalized(group: Group, measured: _Measured, baseline: Baseline) -> Iterator[Row]:
    """Yield ce, mce and relative_mce, as far as the cells are complete and the baseline's errors can divide them."""
    cells, suite = measured.cells, group.suite
    for corruption in suite.names:
        series, divisor = group.by_severity(corruption, cells), baseline.severities(corruption)
        if series and divisor is not None and divisor.mean() > 0:
            scaled = result_row("ce", ce(measured.over("error_rate", series), divisor))
            yield {**scaled, "corruption": corruption, "n": len(series)}
    whole = [group.by_severity(corruption, cells) for corruption in suite.corruptions]
    divisors = baseline_errors(suite, baseline)
    if not all(whole) or divisors is None:
        return
    errors = np.stack([measured.over("error_rate", series) for series in whole], axis=1)
    if (divisors.mean(axis=-1) > 0).all():
        yield {**result_row("mce", mce(errors, divisors)), "n": suite.n_cells}
    clean = cells.get(whole[0][0].clean)
    if clean is not None and baseline.clean is not None and (divisors.mean(axis=-1) > baseline.clean).all():
        scaled = result_row("relative_mce", relative_mce(errors, clean["error_rate"], divisors, baseline.clean))
        yield {**scaled, "n": suite.n_cells}


# Frames of perturbations.


def _frame_rows(
    run: RunDirectory,
    suite: Suite,
    finished: Sequence[ConditionEntry],
    measured: _Measured | None,
    normalize_by: str | None,
    seed: int,
) -> Iterator[Row]:
    """Yield the rows of a suite of perturbations."""
    n, crop = run.manifest["data"]["samples"], _own_size(run)
    curves = resampled(_curves(run, finished), n, seed)
    clean = measured.cells.get(finished[0].clean) if measured else None
    baseline = sequence_baseline(run, suite, finished, normalize_by)
    if suite.family is families.EXITS:
        others = [curve for curve in curves if curve.axis != "exit"]
        for one in (*exit_rows(curves, n), *family_rows(suite, others, None, None, n)):
            yield {"suite": suite.name, **one}
        return
    rows = family_rows(suite, curves, 1 - clean["error_rate"] if clean else None, baseline, n)
    yield from ({"suite": suite.name, **row} for row in (*rows, *choice_rows(curves, crop, n)))


def _curves(run: RunDirectory, finished: Sequence[ConditionEntry]) -> Iterator[Curve]:
    difficulties = difficulties_of(run)
    sized: list[FrameRecords] = []
    for condition in finished:
        records = read_frames(run, condition)
        if suite_of(condition).family is families.EXITS:
            yield from exit_curves(records, run.read_samples()["index"].to_numpy(), run.manifest["seed"])
            continue
        yield from curves_of(records, difficulties)
        if has_cost(condition):
            sized.append(records)
    if sized:
        index = run.read_samples()["index"].to_numpy()
        # The run's own seed splits the samples even if another seed resamples them: values do not depend on intervals.
        yield from choice_curves(sized, index, _own_size(run), run.manifest["seed"])


def _own_size(run: RunDirectory) -> int | None:
    """Return the short side of the model's own input in pixels; None if the manifest does not state it."""
    crop: list[int] | int | None = run.manifest["model"].get("preprocessing", {}).get("crop")
    return min(crop) if isinstance(crop, list) else crop
