"""Scoring: the records of a run's finished conditions -> Results. Pure and torch-free: writes nothing, prints nothing.

Every figure and its bootstrap distribution come from the same code: resample 0 takes each sample once, and is the figure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from robench.baselines import BASELINES, Baseline, load_baseline
from robench.errors import OptionError, RunError, unknown_name
from robench.metrics.errors import ByClass, class_rates, error_rate, mean_error, worst_class_error
from robench.metrics.mce import ce, mce, relative_mce
from robench.metrics.statistics import percentile_interval, wilson_interval
from robench.rundir import PlannedCondition, RunDirectory
from robench.scoring.frames import Curve, Sequences, curves_of, family_rows, oracle_curves, resampled
from robench.scoring.reading import read_cells, read_columns, read_frames
from robench.scoring.rows import DISTRIBUTION, WIDTH, Row, figure, row, takes
from robench.suites import CLEAN, SUITES, Suite, known_suite
from robench.tables import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.types import Floats, Ints, Results

__all__ = ["notes", "score", "score_rows"]

_CELL_METRICS = ("error_rate", "top5_error", "ece", "rms_calibration_error", "worst_class_error")
_RATES = ("error_rate", "top5_error")
"""Metrics of cells that are a single rate."""
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
    groups = _groups(run)
    baselines = {group: _baseline(run, group, normalize_by) for group in groups}
    finished = run.finished()
    if not finished:
        raise RunError(f"{run.path} has no finished condition to score: give its `robench evaluate` again")
    suites = None if wanted is None else {CLEAN, *(suite for suite, _ in wanted)}
    finished = [condition for condition in finished if suites is None or condition.suite in suites]
    images = [condition for condition in finished if _of_images(condition)]
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
    for suite in dict.fromkeys(_suite(condition) for condition in run.conditions):
        if suite.family != "corruptions":
            rows += _frame_rows(
                run, suite, [c for c in finished if c.suite == suite.name], measured, normalize_by, seed
            )
        for group in groups:
            if group.suite == suite and measured is not None:
                rows += _group_rows(group, measured, baselines[group])
    return [common | one for one in rows]


def notes(run: RunDirectory, normalize_by: str | None = None) -> list[str]:
    """Say in one line each what a reader of the run's results must know. Raises as `score` does for its baseline."""
    lines = []
    planned, finished = run.conditions, run.finished()
    if len(finished) < len(planned):
        lines.append(f"{len(finished)} of {len(planned)} conditions are finished: the figures are of these alone")
    names = {condition.name for condition in finished}
    for suite in dict.fromkeys(_suite(condition) for condition in planned):
        if suite.family == "sequences":
            lines += _sequence_notes(run, suite, [c for c in planned if c.suite == suite.name], normalize_by)
    for group in _groups(run):
        if group.suite.name != CLEAN:
            lines += _group_notes(run, group, names, _baseline(run, group, normalize_by), normalize_by)
    return lines


@dataclass(frozen=True)
class _Group:
    """Conditions whose figures may be averaged: one suite, side, protocol and source; each clean condition is its own."""

    suite: Suite
    resolution: int
    protocol: str
    source: str
    conditions: tuple[PlannedCondition, ...]

    def averaged(self, done: Iterable[str]) -> list[PlannedCondition]:
        """Those of the conditions named in `done` that aggregates are over: the suite's own, or else the extra ones."""
        names = set(done)
        present = [condition for condition in self.conditions if condition.name in names]
        return [condition for condition in present if condition.corruption in self.suite.corruptions] or present

    def series(self, corruption: str, done: Iterable[str]) -> list[PlannedCondition]:
        """Conditions of a corruption in order of severity; none unless all severities are named in `done`."""
        names = set(done)
        by_severity = {c.severity: c for c in self.conditions if c.corruption == corruption and c.name in names}
        if not all(severity in by_severity for severity in self.suite.severities):
            return []
        return [by_severity[severity] for severity in self.suite.severities]

    @property
    def whole(self) -> int:
        """Number of cells that mCE is over."""
        return len(self.suite.corruptions) * len(self.suite.severities)


def _groups(run: RunDirectory) -> list[_Group]:
    found: dict[tuple[object, ...], list[PlannedCondition]] = {}
    for condition in filter(_of_images, run.conditions):
        own = condition.name if condition.suite == CLEAN else None
        key = (condition.suite, condition.resolution, condition.protocol, condition.source, own)
        found.setdefault(key, []).append(condition)
    return [_Group(_suite(c[0]), c[0].resolution, c[0].protocol, c[0].source, tuple(c)) for c in found.values()]


def _suite(condition: PlannedCondition) -> Suite:
    found = known_suite(condition.suite)
    if found is None:
        raise RunError(
            f"there is no suite {condition.suite!r} here: install the package that its protocol names, {condition.protocol}, or "
            "the robench that made the run"
        )
    return found


def _of_images(condition: PlannedCondition) -> bool:
    """Whether a condition has one image a sample, and not the frames of a perturbation."""
    return _suite(condition).family == "corruptions"


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
    class_error: dict[_Group, Floats] = field(default_factory=dict)

    def over(self, metric: str, conditions: Iterable[PlannedCondition]) -> Floats:
        """Return a metric of several conditions, (1 + resamples, conditions)."""
        return np.stack([self.cells[condition.name][metric] for condition in conditions], axis=-1)


_CALIBRATION = {"ece", "rms_calibration_error"}
_BY_CLASS = {"class_error", "worst_class_error"}


def _measure(
    run: RunDirectory, images: Sequence[PlannedCondition], groups: Sequence[_Group], metrics: set[str], seed: int
) -> _Measured:
    """Measure the error rate of every condition, and what else of `metrics` costs something."""
    also = {"top5": {"top5_error"}, "confidence": _CALIBRATION}
    outcomes = read_cells(run, images, [column for column, needed in also.items() if needed & metrics])
    n, by_class = len(outcomes.label), ByClass.of(outcomes.label)
    done = [cell.name for cell in outcomes.cells]
    averaged = {group: group.averaged(done) for group in groups}
    groups_of: dict[str, list[_Group]] = {name: [] for name in done}
    for group, conditions in averaged.items():
        for condition in conditions:
            groups_of[condition.name].append(group)

    calibrated, classified = bool(_CALIBRATION & metrics), bool(_BY_CLASS & metrics)
    measured = [
        metric
        for metric in _CELL_METRICS
        if metric == "error_rate" or metric in metrics or (metric in _CALIBRATION and calibrated)
    ]
    cells = {name: {metric: np.empty(WIDTH) for metric in measured} for name in done}
    wrong_by_class = {
        group: np.zeros((len(by_class.classes), WIDTH), np.int64)
        for group, conditions in averaged.items()
        if conditions and classified
    }
    totals = np.zeros((len(by_class.classes), WIDTH), np.int64)
    wrong_in_order = [cell.wrong[by_class.order] for cell in outcomes.cells]
    exact = np.float32 if n < 2**24 else np.float64
    wrong_at = np.stack([cell.wrong for cell in outcomes.cells], axis=1).astype(exact)
    top5 = [cell.top5_wrong for cell in outcomes.cells if cell.top5_wrong is not None]
    top5_at = np.stack(top5, axis=1).astype(exact) if top5 else None
    for part, counts in takes(n, seed):
        # Sums of whole numbers that the type holds are exact, in whatever order the matrix product adds them.
        taken = counts.astype(wrong_at.dtype)
        errors = (taken @ wrong_at).astype(np.float64) / n
        top5_errors = (taken @ top5_at).astype(np.float64) / n if top5_at is not None else None
        in_order = np.ascontiguousarray(counts.T[by_class.order]) if classified else counts
        totals[:, part] = by_class.sums(in_order) if classified else 0
        for number, cell in enumerate(outcomes.cells):
            figures = cells[cell.name]
            figures["error_rate"][part] = errors[:, number]
            if top5_errors is not None:
                figures["top5_error"][part] = top5_errors[:, number]
            if cell.reliability is not None:
                figures["ece"][part], figures["rms_calibration_error"][part] = cell.reliability.errors(counts)
            if not classified:
                continue
            wrong = by_class.sums(in_order, wrong_in_order[number])
            if "worst_class_error" in figures:
                figures["worst_class_error"][part] = worst_class_error(class_rates(wrong, totals[:, part]).T)
            for group in groups_of[cell.name]:
                wrong_by_class[group][:, part] += wrong
    class_error = {group: class_rates(wrong, totals * len(averaged[group])) for group, wrong in wrong_by_class.items()}
    nonfinite = {cell.name: cell.nonfinite_rate for cell in outcomes.cells}
    images_of = np.diff(by_class.starts, append=n).astype(np.int64)
    return _Measured(by_class.classes, images_of, cells, nonfinite, class_error)


def _group_rows(group: _Group, measured: _Measured, baseline: Baseline | None) -> Iterator[Row]:
    done = measured.cells
    averaged = group.averaged(done)
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
                yield common | cell | figure(metric, distribution, images if metric in _RATES else None)
            if group.suite.name == CLEAN:
                yield common | cell | figure("accuracy", 1 - done[condition.name]["error_rate"], images)
            if rate := measured.nonfinite_rate[condition.name]:
                yield common | cell | row("nonfinite_rate", rate, wilson_interval(round(rate * images), images))
    if group.suite.name != CLEAN:
        if baseline is not None:
            for scaled in _normalised(group, measured, baseline):
                yield common | scaled | {"baseline": baseline.name}
        cells = {"n": len(averaged)}
        yield common | cells | figure("mean_error", mean_error(measured.over("error_rate", averaged)))
        for metric in (metric for metric in _MEANS if metric in done[averaged[0].name]):
            yield common | cells | figure(metric, measured.over(metric, averaged).mean(axis=-1))
        if group in measured.class_error:
            yield common | cells | figure("worst_class_error", worst_class_error(measured.class_error[group].T))
    if group in measured.class_error:
        yield from (common | one for one in _class_rows(group, measured, len(averaged)))


def _frame_rows(
    run: RunDirectory,
    suite: Suite,
    finished: Sequence[PlannedCondition],
    measured: _Measured | None,
    normalize_by: str | None,
    seed: int,
) -> Iterator[Row]:
    if not finished:
        return
    curves = _curves(run, suite, finished)
    n = run.manifest["data"]["samples"]
    found = resampled(curves, n, seed)
    clean = measured.cells.get(finished[0].clean) if measured else None
    baseline = _sequence_baseline(run, suite, finished, normalize_by)
    for one in family_rows(suite, curves, found, 1 - clean["error_rate"] if clean else None, baseline, n):
        yield {"suite": suite.name, **one}


def _curves(run: RunDirectory, suite: Suite, finished: Sequence[PlannedCondition]) -> list[Curve]:
    difficulties = _difficulties(run)
    curves = [
        curve for condition in finished for curve in curves_of(suite.family, read_frames(run, condition), difficulties)
    ]
    return [*curves, *oracle_curves(curves)] if suite.family == "resolution" else curves


def _sequence_baseline(
    run: RunDirectory, suite: Suite, conditions: Sequence[PlannedCondition], normalize_by: str | None
) -> Sequences | None:
    """What a suite of sequences is normalised by, None for nothing; OptionError if what was asked for cannot."""
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if suite.family != "sequences" or choice == "none" or (choice is None and suite.baseline is None):
        return None
    difficulties = _difficulties(run)
    if choice is None or choice in BASELINES:
        if suite.baseline is None or choice not in (None, suite.baseline):
            raise OptionError(f"{choice} has no flip rates for {suite.name}: give --normalize-by RUN, or none")
        if choice is not None and 1 not in difficulties:
            raise OptionError(
                f"{choice}'s flip rates are of difficulty 1: give --difficulty 1 as well, --normalize-by RUN, or none"
            )
        published = load_baseline(suite.baseline)
        rates = {(name, 1): rate for name, rate in published.flip_rates.items()}
        return Sequences(published.name, rates, {}, published.published)
    other = _open_baseline(choice)
    theirs = {condition.name: condition for condition in other.finished() if condition.suite == suite.name}
    for condition in conditions:
        found = theirs.get(condition.name)
        if found is None or found.protocol != condition.protocol:
            lacking = condition.corruption + (f" at difficulty {condition.severity}" if condition.independent else "")
            reason = "was made in another way" if found else f"lacks {lacking}"
            raise OptionError(
                f"{other.path} cannot normalise {suite.name}: it {reason}; evaluate the baseline model with the same options"
            )
    cells: dict[str, dict[tuple[str, int], float]] = {"flip_rate": {}, "t5d": {}}
    for condition in conditions:
        for curve in curves_of("sequences", read_frames(other, theirs[condition.name]), difficulties):
            if curve.axis == "difficulty":
                means = curve.values.mean(axis=1).tolist()
                for place, mean in zip(curve.places.tolist(), means, strict=True):
                    cells[curve.metric][condition.corruption, int(place)] = mean
    return Sequences(other.manifest["model"]["label"], cells["flip_rate"], cells["t5d"])


def _difficulties(run: RunDirectory) -> list[int]:
    return list(run.manifest["options"].get("difficulties", [1]))


def _open_baseline(choice: str) -> RunDirectory:
    """The run that is to be the baseline; OptionError with a suggestion where it is none, nor a published one."""
    if not Path(choice).is_dir():
        raise OptionError(f"{unknown_name('baseline', choice, (*BASELINES, 'none'))}, nor is it the directory of a run")
    return RunDirectory.open(choice)


def _class_rows(group: _Group, measured: _Measured, cells: int) -> Iterator[Row]:
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


def _normalised(group: _Group, measured: _Measured, baseline: Baseline) -> Iterator[Row]:
    """Rows of ce, mce and relative_mce, as far as the cells are complete and the baseline's errors can divide."""
    done = measured.cells
    for corruption in (*group.suite.corruptions, *group.suite.extra):
        series, divisor = group.series(corruption, done), baseline.severities(corruption)
        if series and divisor is not None and divisor.mean() > 0:
            scaled = figure("ce", ce(measured.over("error_rate", series), divisor))
            yield {**scaled, "corruption": corruption, "n": len(series)}
    whole = [group.series(corruption, done) for corruption in group.suite.corruptions]
    divisors = _divisors(group.suite, baseline)
    if not all(whole) or divisors is None:
        return
    errors = np.stack([measured.over("error_rate", series) for series in whole], axis=1)
    if (divisors.mean(axis=-1) > 0).all():
        yield {**figure("mce", mce(errors, divisors)), "n": group.whole}
    clean = done.get(whole[0][0].clean)
    if clean is not None and baseline.clean is not None and (divisors.mean(axis=-1) > baseline.clean).all():
        scaled = figure("relative_mce", relative_mce(errors, clean["error_rate"], divisors, baseline.clean))
        yield {**scaled, "n": group.whole}


def _divisors(suite: Suite, baseline: Baseline) -> Floats | None:
    """The baseline's errors (corruptions, severities) of all that mCE is over, or None."""
    found = [baseline.severities(corruption) for corruption in suite.corruptions]
    whole = [errors for errors in found if errors is not None and len(errors) == len(suite.severities)]
    return np.stack(whole) if len(whole) == len(suite.corruptions) else None


def _baseline(run: RunDirectory, group: _Group, normalize_by: str | None) -> Baseline | None:
    """What the group's errors are divided by, None for nothing; OptionError if what was asked for cannot divide them."""
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if choice == "none" or group.suite.name == CLEAN:
        return None
    suite, side = group.suite, group.suite.geometry.side if group.suite.geometry else None
    if choice is None:
        fits = suite.baseline is not None and group.resolution == side
        return load_baseline(suite.baseline) if fits and suite.baseline is not None else None
    if choice in BASELINES:
        if choice != suite.baseline or group.resolution != side:
            home = next(known for known in SUITES.values() if known.baseline == choice)
            assert home.geometry is not None
            raise OptionError(
                f"{choice}'s errors belong to {home.name} at {home.geometry.side} px and cannot normalise {suite.name} at "
                f"{group.resolution} px: give --normalize-by RUN, a run of the baseline model on {suite.name}, or none"
            )
        return load_baseline(choice)
    return _run_baseline(_open_baseline(choice), group)


def _run_baseline(other: RunDirectory, group: _Group) -> Baseline:
    """Errors of another run in the cells that `group` needs, all of which it must have, made in the same way."""
    planned = [condition.name for condition in group.conditions]
    corruptions = dict.fromkeys(condition.corruption for condition in group.conditions)
    series = {corruption: group.series(corruption, planned) for corruption in corruptions}
    needed = [(c.corruption, c.severity) for conditions in series.values() for c in conditions]
    theirs = {
        (c.corruption, c.severity): c
        for c in other.conditions
        if c.suite == group.suite.name and c.resolution == group.resolution
    }
    for condition in theirs.values():
        if (condition.protocol, condition.source) != (group.protocol, group.source):
            raise OptionError(
                f"{other.path} cannot normalise {group.suite.name}: it is {condition.source} with {condition.protocol}, this "
                f"run {group.source} with {group.protocol}; evaluate the baseline model with the same options"
            )
    finished = {condition.name: condition for condition in other.finished()}
    missing = [cell for cell in needed if cell not in theirs or theirs[cell].name not in finished]
    if missing:
        corruption, severity = missing[0]
        raise OptionError(
            f"{other.path} cannot normalise {group.suite.name}: it lacks {len(missing)} of the {len(needed)} cells needed, "
            f"for example {corruption} at severity {severity}; evaluate the baseline model on them"
        )
    errors = {cell: _error(other, theirs[cell]) for cell in needed}
    means = {
        corruption: float(np.mean([errors[c.corruption, c.severity] for c in conditions]))
        for corruption, conditions in series.items()
        if conditions
    }
    unperturbed = [c for c in finished.values() if c.suite == CLEAN and c.resolution == group.resolution]
    clean = finished.get(theirs[needed[0]].clean) if needed else next(iter(unperturbed), None)
    label = other.manifest["model"]["label"]
    return Baseline(label, errors, means, _error(other, clean) if clean else None)


def _error(run: RunDirectory, condition: PlannedCondition) -> float:
    records = read_columns(run, condition, ("label", "pred"))
    return float(error_rate(records["pred"].to_numpy(), records["label"].to_numpy()))


def _group_notes(
    run: RunDirectory, group: _Group, done: Iterable[str], baseline: Baseline | None, normalize_by: str | None
) -> Iterator[str]:
    suite, done = group.suite, set(done)
    averaged = group.averaged(done)
    own = [condition for condition in averaged if condition.corruption in suite.corruptions]
    if averaged and not own:
        yield f"{suite.name}: none of the {group.whole} cells evaluated: mean_error is over {len(averaged)} extra ones"
    elif averaged and len(own) < group.whole:
        needs = ", mce needs all" if baseline is not None else ""
        yield f"{suite.name}: {len(own)} of {group.whole} cells evaluated: mean_error is over these{needs}"
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if baseline is None:
        if choice is None:
            published = f"{suite.baseline}'s errors are of another size" if suite.baseline else "no published baseline"
            yield f"{suite.name}: {published}, so no mce; --normalize-by RUN takes a run of a baseline model"
        return
    if baseline.published:
        yield from _published_notes(run, group, baseline)
    elif choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    yield from _undefined(group, baseline)


def _other_images(run: RunDirectory, suite: Suite, baseline: str, choice: str) -> Iterator[str]:
    if RunDirectory.open(choice).manifest["data"]["sha256"] != run.manifest["data"]["sha256"]:
        yield f"{suite.name}: the baseline {baseline} was evaluated on other images than this run"


def _sequence_notes(
    run: RunDirectory, suite: Suite, planned: Sequence[PlannedCondition], normalize_by: str | None
) -> Iterator[str]:
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    baseline = _sequence_baseline(run, suite, planned, normalize_by)
    present = {condition.corruption for condition in planned} & set(suite.corruptions)
    if len(present) < len(suite.corruptions):
        yield f"{suite.name}: {len(present)} of {len(suite.corruptions)} perturbations evaluated: the means are over these"
    if baseline is None:
        if choice is None:
            yield f"{suite.name}: no published baseline, so no mfr; --normalize-by RUN takes a run of a baseline model"
        return
    if baseline.published:
        yield from _published_sequence_notes(run, suite, planned[0], baseline)
        return
    if choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    for figures, values, stays in (
        ("fr and no mfr", baseline.flip_rates, "never flips"),
        ("mt5d", baseline.t5d, "never moves its top five"),
    ):
        still = dict.fromkeys(name for (name, _), value in values.items() if value <= 0)
        if still:
            yield f"{suite.name}: no {figures} where {baseline.name} {stays}: {', '.join(still)}"


def _published_sequence_notes(
    run: RunDirectory, suite: Suite, first: PlannedCondition, baseline: Sequences
) -> Iterator[str]:
    if first.source == "released":
        yield f"{suite.name}: {baseline.name}'s T5D are not published, so no mt5d"
    else:
        yield (
            f"{suite.name}: {baseline.name}'s flip rates were measured on the released videos of 50,000 images; the frames "
            f"here are computed, without loss, from {run.manifest['data']['name']}; its T5D are not published, so no mt5d"
        )
    others = [str(difficulty) for difficulty in _difficulties(run) if difficulty != 1]
    if others:
        yield f"{suite.name}: {baseline.name}'s flip rates are of difficulty 1, so no fr and no mfr at {' and '.join(others)}"


def _published_notes(run: RunDirectory, group: _Group, baseline: Baseline) -> Iterator[str]:
    if group.source != "released":
        yield (
            f"{group.suite.name}: {baseline.name}'s errors were measured on the released files of 50,000 images; the images "
            f"here are {group.source}, from {run.manifest['data']['name']}"
        )


def _undefined(group: _Group, baseline: Baseline) -> Iterator[str]:
    """What the baseline cannot divide: where it makes no error, or where a corruption costs it nothing."""
    known = {
        name: errors.mean() for name in group.suite.corruptions if (errors := baseline.severities(name)) is not None
    }
    zero = [name for name, mean in known.items() if mean <= 0]
    if zero:
        yield f"{group.suite.name}: no ce and no mce where {baseline.name} makes no error: {', '.join(zero)}"
    if baseline.clean is None:
        yield f"{group.suite.name}: no relative_mce, the clean error of {baseline.name} is not known"
        return
    free = [name for name, mean in known.items() if mean <= baseline.clean]
    if free and len(known) == len(group.suite.corruptions):
        yield f"{group.suite.name}: no relative_mce where a corruption costs {baseline.name} nothing: {', '.join(free)}"
