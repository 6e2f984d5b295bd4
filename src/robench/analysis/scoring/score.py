"""Scoring: the records of a run's finished conditions -> Results. Pure and torch-free: writes nothing, prints nothing.

Every figure and its bootstrap distribution come from the same code: resample 0 takes each sample once, and is the figure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from robench.analysis.baselines import Baseline
from robench.analysis.metrics.classification import ByClass, class_rates, mean_error, worst_class_error
from robench.analysis.metrics.intervals import percentile_interval, wilson_interval
from robench.analysis.metrics.mce import ce, mce, relative_mce
from robench.analysis.scoring.curves import Curve, FrameRecords, curves_of, family_rows, resampled
from robench.analysis.scoring.groups import Group, groups_of, of_images, suite_of
from robench.analysis.scoring.normalization import baseline_errors, difficulties_of, group_baseline, sequence_baseline
from robench.analysis.scoring.records import Outcomes, read_cells, read_frames, read_label
from robench.analysis.scoring.rows import DISTRIBUTION, DISTRIBUTION_SIZE, Row, resample_weights, result_row, row
from robench.analysis.scoring.size_selection import choice_curves, choice_rows, has_cost
from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN, Suite
from robench.types import Floats, Ints, Results

__all__ = ["score", "score_rows"]

_CELL_METRICS = ("error_rate", "top5_error", "ece", "rms_calibration_error", "worst_class_error")
_RATES = ("error_rate", "top5_error")
"""Metrics of cells that are a single rate."""
_TOGETHER = 32
"""Cells that are resampled together: of ImageNet's images some 60 MB, and their resamples are drawn and sorted once for all."""
_MEANS = ("ece", "rms_calibration_error", "top5_error")
"""Metrics of cells whose aggregate is the mean over the cells."""


def score(run: RunDirectory, normalize_by: str | None = None) -> Results:
    """Compute the results of a run's finished conditions; the same records give the same bytes.

    normalize_by: what CE, mCE, FR, mFR and mT5D divide by: a published baseline, the directory of another run, or "none"; None takes the
    manifest's choice, and where that is None too, each suite's own published baseline. A baseline is a constant: the
    intervals are those of this run's errors.

    Intervals are 95 % percentile bootstraps over images, 1,000 keyed resamples, the same one in every cell. Where a single
    rate (error_rate, top5_error, accuracy, class_error of the clean images, and of frames whatever is 0 or 1 for each image) is
    exactly 0 or 1 it is Wilson's, because there all resamples agree and the bootstrap has no width. A class of which a resample
    has no image is left out of that resample.
    worst_class_error is a maximum, so its resamples lie above it on average, and its interval with them.

    Rows: suites in the order of the manifest; in each first the cells, then ce, then the aggregates, then class_error.
    Raises RunError if nothing is finished or records do not fit together, OptionError if the baseline cannot be used.
    """
    return rows_to_frame(
        RESULTS, ({name: row.get(name) for name in RESULTS.names} for row in score_rows(run, normalize_by))
    )


def score_rows(
    run: RunDirectory,
    normalize_by: str | None = None,
    wanted: Collection[tuple[str, str]] | None = None,
    *,
    seed: int | None = None,
) -> list[Row]:
    """Return the rows of the results, each with its bootstrap distribution as `distribution` where it has one.

    The same seed and number of samples give two runs the same resamples, so that distributions can be subtracted.
    wanted: (suite, metric) whose rows the caller needs; others are then left out where computing them costs something.
    seed: of the resamples, the run's own where it is None.
    """
    seed = run.manifest["seed"] if seed is None else seed
    groups = groups_of(run)
    baselines = {group: group_baseline(run, group, normalize_by) for group in groups}
    finished = run.finished()
    if not finished:
        raise RunError(f"{run.path} has no finished condition to score: give its `robench evaluate` again")
    suites = None if wanted is None else {CLEAN, *(suite for suite, _ in wanted)}
    finished = [condition for condition in finished if suites is None or condition.suite in suites]
    images = [condition for condition in finished if of_images(condition)]
    metrics = set(_CELL_METRICS) if wanted is None else {metric for _, metric in wanted}
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
        if suite.family != "corruptions":
            rows += _frame_rows(
                run, suite, [c for c in finished if c.suite == suite.name], measured, normalize_by, seed
            )
        for group in groups:
            if group.suite == suite and measured is not None:
                rows += _group_rows(group, measured, baselines[group])
    return [common | one for one in rows]


@dataclass(frozen=True)
class _Measured:
    """Figures with their distributions: the last axis is 1 + resamples, its first element the figure.

    cells: by condition and metric, (1 + resamples,).  class_error: by group, (classes, 1 + resamples).
    images: (classes,) how many samples each class has.  nonfinite_rate: by condition.
    """

    classes: Ints
    images: Ints
    cells: dict[str, dict[str, Floats]]
    nonfinite_rate: dict[str, float]
    class_error: dict[Group, Floats] = field(default_factory=dict)

    def over(self, metric: str, conditions: Iterable[ConditionEntry]) -> Floats:
        """Return a metric of several conditions, (1 + resamples, conditions)."""
        return np.stack([self.cells[condition.name][metric] for condition in conditions], axis=-1)


_CALIBRATION = {"ece", "rms_calibration_error"}
_BY_CLASS = {"class_error", "worst_class_error"}


def _measure(
    run: RunDirectory, images: Sequence[ConditionEntry], groups: Sequence[Group], metrics: set[str], seed: int
) -> _Measured:
    """Measure the error rate of every condition, and what else of `metrics` costs something."""
    also = {"top5": {"top5_error"}, "confidence": _CALIBRATION}
    needed = [column for column, of in also.items() if of & metrics]
    by_class = ByClass.of(read_label(run, images[0]))
    done = [condition.name for condition in images]
    averaged = {group: group.aggregated(done) for group in groups}
    measured = [
        metric
        for metric in _CELL_METRICS
        if metric == "error_rate" or metric in metrics or (metric in _CALIBRATION and _CALIBRATION & metrics)
    ]
    cells = {name: {metric: np.empty(DISTRIBUTION_SIZE) for metric in measured} for name in done}
    wrong_by_class = {
        group: np.zeros((len(by_class.classes), DISTRIBUTION_SIZE), np.int64)
        for group, conditions in averaged.items()
        if conditions and _BY_CLASS & metrics
    }
    sums_of: dict[str, list[Ints]] = {name: [] for name in done}
    for group, sums in wrong_by_class.items():
        for condition in averaged[group]:
            sums_of[condition.name].append(sums)
    totals = np.zeros((len(by_class.classes), DISTRIBUTION_SIZE), np.int64) if _BY_CLASS & metrics else None
    nonfinite: dict[str, float] = {}
    for outcomes in read_cells(run, images, needed, _TOGETHER):
        _resample(outcomes, by_class, seed, cells, sums_of, totals)
        nonfinite |= {cell.name: cell.nonfinite_rate for cell in outcomes.cells}
    class_error = {
        group: class_rates(wrong, totals * len(averaged[group]))
        for group, wrong in wrong_by_class.items()
        if totals is not None
    }
    for name in (name for name, rate in nonfinite.items() if rate == 1):
        for metric in _CALIBRATION:  # Where there is no prediction there is no confidence that could be right.
            cells[name].pop(metric, None)
    images_of = np.diff(by_class.starts, append=len(by_class.order)).astype(np.int64)
    return _Measured(by_class.classes, images_of, cells, nonfinite, class_error)


def _resample(
    outcomes: Outcomes,
    by_class: ByClass,
    seed: int,
    cells: Mapping[str, Mapping[str, Floats]],
    sums_of: Mapping[str, Sequence[Ints]],
    totals: Ints | None,
) -> None:
    """Fill in the distributions of some cells.

    cells: by condition and metric, (1 + resamples,).
    sums_of: by condition, the sums (classes, 1 + resamples) of wrong predictions that its own are added to.
    totals: (classes, 1 + resamples) how many samples are taken; None where nothing is needed by class.
    """
    n = len(outcomes.label)
    wrong_in_order = [cell.wrong[by_class.order] for cell in outcomes.cells]
    exact = np.float32 if n < 2**24 else np.float64
    wrong_at = np.stack([cell.wrong for cell in outcomes.cells], axis=1).astype(exact)
    top5 = [cell.top5_wrong for cell in outcomes.cells if cell.top5_wrong is not None]
    top5_at = np.stack(top5, axis=1).astype(exact) if top5 else None
    for part, counts in resample_weights(n, seed):
        # Sums of whole numbers that the type holds are exact, in whatever order the matrix product adds them.
        taken = counts.astype(wrong_at.dtype)
        errors = (taken @ wrong_at).astype(np.float64) / n
        top5_errors = (taken @ top5_at).astype(np.float64) / n if top5_at is not None else None
        if totals is not None:
            in_order = np.ascontiguousarray(counts.T[by_class.order])
            totals[:, part] = by_class.sums(in_order)
        for number, cell in enumerate(outcomes.cells):
            figures = cells[cell.name]
            figures["error_rate"][part] = errors[:, number]
            if top5_errors is not None:
                figures["top5_error"][part] = top5_errors[:, number]
            if cell.reliability is not None:
                figures["ece"][part], figures["rms_calibration_error"][part] = cell.reliability.errors(counts)
            if totals is None:
                continue
            wrong = by_class.sums(in_order, wrong_in_order[number])
            if "worst_class_error" in figures:
                figures["worst_class_error"][part] = worst_class_error(class_rates(wrong, totals[:, part]).T)
            for sums in sums_of[cell.name]:
                sums[:, part] += wrong


def _group_rows(group: Group, measured: _Measured, baseline: Baseline | None) -> Iterator[Row]:
    done = measured.cells
    averaged = group.aggregated(done)
    if not averaged:
        return
    common: Row = {
        "suite": group.suite.name,
        "resolution": group.resolution,
        "protocol": group.protocol,
        "source": group.source,
    }
    images = int(measured.images.sum())
    for condition in group.conditions:
        if condition.name in done:
            cell = {"corruption": condition.corruption, "severity": condition.severity, "n": images}
            for metric, distribution in done[condition.name].items():
                yield common | cell | result_row(metric, distribution, images if metric in _RATES else None)
            if group.suite.name == CLEAN:
                yield common | cell | result_row("accuracy", 1 - done[condition.name]["error_rate"], images)
            if rate := measured.nonfinite_rate[condition.name]:
                yield common | cell | row("nonfinite_rate", rate, wilson_interval(round(rate * images), images))
    if group.suite.name != CLEAN:
        if baseline is not None:
            for scaled in _normalised(group, measured, baseline):
                yield common | scaled | {"baseline": baseline.name}
        cells = {"n": len(averaged)}
        yield common | cells | result_row("mean_error", mean_error(measured.over("error_rate", averaged)))
        for metric in (metric for metric in _MEANS if all(metric in done[condition.name] for condition in averaged)):
            yield common | cells | result_row(metric, measured.over(metric, averaged).mean(axis=-1))
        if group in measured.class_error:
            yield common | cells | result_row("worst_class_error", worst_class_error(measured.class_error[group].T))
    if group in measured.class_error:
        yield from (common | one for one in _class_rows(group, measured, len(averaged)))


def _frame_rows(
    run: RunDirectory,
    suite: Suite,
    finished: Sequence[ConditionEntry],
    measured: _Measured | None,
    normalize_by: str | None,
    seed: int,
) -> Iterator[Row]:
    if not finished:
        return
    n = run.manifest["data"]["samples"]
    curves = resampled(_curves(run, suite, finished), n, seed)
    clean = measured.cells.get(finished[0].clean) if measured else None
    baseline = sequence_baseline(run, suite, finished, normalize_by)
    for one in family_rows(suite, curves, 1 - clean["error_rate"] if clean else None, baseline, n):
        yield {"suite": suite.name, **one}
    for one in choice_rows(curves, _own_size(run), n):
        yield {"suite": suite.name, **one}


def _curves(run: RunDirectory, suite: Suite, finished: Sequence[ConditionEntry]) -> Iterator[Curve]:
    difficulties = difficulties_of(run)
    sized: list[FrameRecords] = []
    for condition in finished:
        records = read_frames(run, condition)
        yield from curves_of(suite.family, records, difficulties)
        if has_cost(condition):
            sized.append(records)
    if sized:
        index = run.read_samples()["index"].to_numpy()
        # By the run's own seed, whatever the resamples are keyed by: a figure does not depend on its interval.
        yield from choice_curves(sized, index, _own_size(run), run.manifest["seed"])


def _own_size(run: RunDirectory) -> int | None:
    """Side of the model's own input, px, where the manifest says it."""
    side: int | None = run.manifest["model"].get("preprocessing", {}).get("crop")
    return side


def _class_rows(group: Group, measured: _Measured, cells: int) -> Iterator[Row]:
    """One class_error each: of the clean images with n = images, of a suite's average with n = cells."""
    rates = measured.class_error[group]
    low, high = percentile_interval(rates[:, 1:])
    clean = group.suite.name == CLEAN
    for at, index in enumerate(measured.classes.tolist()):
        images, value = int(measured.images[at]), float(rates[at, 0])
        ends = float(low[at]), float(high[at])
        if clean and value in (0.0, 1.0):
            ends = wilson_interval(round(value * images), images)
        yield {
            **row("class_error", value, ends),
            "corruption": CLEAN if clean else None,
            "severity": 0 if clean else None,
            "axis": "class",
            "axis_value": float(index),
            "n": images if clean else cells,
            DISTRIBUTION: rates[at],
        }


def _normalised(group: Group, measured: _Measured, baseline: Baseline) -> Iterator[Row]:
    """Rows of ce, mce and relative_mce, as far as the cells are complete and the baseline's errors can divide."""
    done = measured.cells
    for corruption in (*group.suite.corruptions, *group.suite.extra):
        series, divisor = group.by_severity(corruption, done), baseline.severities(corruption)
        if series and divisor is not None and divisor.mean() > 0:
            scaled = result_row("ce", ce(measured.over("error_rate", series), divisor))
            yield {**scaled, "corruption": corruption, "n": len(series)}
    whole = [group.by_severity(corruption, done) for corruption in group.suite.corruptions]
    divisors = baseline_errors(group.suite, baseline)
    if not all(whole) or divisors is None:
        return
    errors = np.stack([measured.over("error_rate", series) for series in whole], axis=1)
    if (divisors.mean(axis=-1) > 0).all():
        yield {**result_row("mce", mce(errors, divisors)), "n": group.n_cells}
    clean = done.get(whole[0][0].clean)
    if clean is not None and baseline.clean is not None and (divisors.mean(axis=-1) > baseline.clean).all():
        scaled = result_row("relative_mce", relative_mce(errors, clean["error_rate"], divisors, baseline.clean))
        yield {**scaled, "n": group.n_cells}
