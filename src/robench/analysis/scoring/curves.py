"""Curves of frames: means over samples along an axis, or functions of such means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from robench.analysis.baselines import Baseline
from robench.analysis.metrics.curves import accuracy_auc, consistency, half_accuracy_strength
from robench.analysis.metrics.flips import flip_rate, fr, mfr, mt5d, t5d
from robench.analysis.scoring.groups import suite_of
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, Row, resample_weights, result_row, row, threshold_row
from robench.runs.conditions import ConditionEntry
from robench.suites import MAP_AXIS, WORST, Family, FrameKind, Suite, families
from robench.types import Floats, Ints

__all__ = ["BootstrappedCurve", "Curve", "FrameRecords", "curves_of", "family_rows", "of_condition", "resampled"]

_TOGETHER = 192
"""Positions in one matrix product, and at most twice as many in the last one: 77 MB of ImageNet's samples.

The last bit of a sum depends on the width of the product. It equals that of a single product if a block ends at a multiple of the
kernel's width.
"""


@dataclass(frozen=True)
class FrameRecords:
    """Records of one condition by frame.

    Attributes:
        condition: The condition.
        positions: Positions of the frames on their axis, (frames,), or dx and dy in pixels, (frames, 2), on the map of offsets.
        pred: Predicted classes, (frames, n).
        top5: Most probable classes, best first, (frames, n, k).
        confidence: Probabilities of the predicted classes, (frames, n).
        prob_label: Probabilities of the true classes, (frames, n).
        label: True classes, (n,), or (frames, n) if images have several.
    """

    condition: ConditionEntry
    positions: Floats
    pred: Ints
    top5: Ints
    confidence: NDArray[np.float32]
    prob_label: NDArray[np.float32]
    label: Ints

    @property
    def right(self) -> Floats:
        """Ones where the prediction is the label, else zeros, (frames, n)."""
        return np.asarray(self.pred == self.label, np.float64)


@dataclass(frozen=True)
class Curve:
    """A metric of one condition at positions of an axis.

    Attributes:
        condition: The condition.
        metric: A key of `METRICS`.
        axis: Name of the axis; empty for a single value.
        positions: Positions, (k,), or dx and dy in pixels, (k, 2).
        values: Values of each sample, (k, n). Their mean is the value of the metric.
        is_rate: Whether every value is 0 or 1, so that the mean is a single rate.
        method: Method behind the values, such as an attack; None for none.
    """

    condition: ConditionEntry
    metric: str
    axis: str
    positions: Floats
    values: Floats
    is_rate: bool = False
    method: str | None = None


@dataclass(frozen=True)
class BootstrappedCurve:
    """A curve with distributions instead of values of samples.

    Attributes:
        condition: As in `Curve`.
        metric: As in `Curve`.
        axis: As in `Curve`.
        positions: As in `Curve`.
        is_rate: As in `Curve`.
        method: As in `Curve`.
        distribution: Values at the positions, then their resamples, (1 + resamples, k).
    """

    condition: ConditionEntry
    metric: str
    axis: str
    positions: Floats
    is_rate: bool
    method: str | None
    distribution: Floats


def resampled(curves: Iterable[Curve], n: int, seed: int) -> list[BootstrappedCurve]:
    """Bootstrap curves of `n` samples with the same resamples. Values of few curves are in memory at a time."""
    heads: list[tuple[ConditionEntry, str, str, Floats, bool, str | None]] = []

    def values() -> Iterator[Floats]:
        for curve in curves:
            head = (curve.condition, curve.metric, curve.axis, curve.positions, curve.is_rate, curve.method)
            heads.append(head)
            yield from curve.values

    distributions = np.concatenate([_bootstrap(block, n, seed) for block in _blocks(values())], axis=1)
    widths = [len(positions) for *_, positions, _, _ in heads]
    return [
        BootstrappedCurve(*head, distributions[:, end - width : end])
        for head, width, end in zip(heads, widths, accumulate(widths), strict=True)
    ]


def _blocks(values: Iterator[Floats]) -> Iterator[list[Floats]]:
    """Yield the values in blocks of `_TOGETHER`; only the last block has another size, at most twice as large."""
    block = list(islice(values, 2 * _TOGETHER))
    while following := list(islice(values, _TOGETHER)):
        yield block[:_TOGETHER]
        block = block[_TOGETHER:] + following
    yield block


def _bootstrap(values: Sequence[Floats], n: int, seed: int) -> Floats:
    """Return the means of values (k, n) over the samples and over resamples, (1 + resamples, k)."""
    table = np.reshape(values, (len(values), n))
    distributions = np.empty((DISTRIBUTION_SIZE, len(values)))
    for part, counts in resample_weights(n, seed):
        distributions[part] = counts.astype(np.float64) @ table.T / n
    return distributions


# Curves by the relation between the frames.


def curves_of(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    """Return the curves of a condition.

    Args:
        records: Records of the condition.
        difficulties: Difficulties of sequences.
    """
    condition = records.condition
    curves = _CURVES[suite_of(condition).kind(condition.corruption)](records, difficulties)
    nonfinite = records.pred < 0
    if nonfinite.any():
        curves.append(_single(records, "nonfinite_rate", nonfinite.mean(axis=0), is_rate=len(nonfinite) == 1))
    return curves


def _single(records: FrameRecords, metric: str, values: Floats, is_rate: bool = False) -> Curve:
    """Return the curve of a single value; `values` are (n,)."""
    return Curve(records.condition, metric, "", np.zeros(1), values[None], is_rate)


def _accuracy(records: FrameRecords, axis: str) -> Curve:
    return Curve(records.condition, "accuracy", axis, records.positions, records.right, True)


def _sequence_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    condition, independent = records.condition, records.condition.independent
    frames = np.arange(len(records.pred), dtype=np.float64)
    levels = [condition.severity] if independent else [level for level in difficulties if level < len(frames)]
    steps = [1 if independent else level for level in levels]
    flips = np.stack([flip_rate(records.pred, independent=independent, step=step) for step in steps])
    distances = np.stack([t5d(records.top5, independent=independent, step=step) for step in steps])
    positions = np.array(levels, np.float64)
    return [
        Curve(condition, "flip_rate", "difficulty", positions, flips),
        Curve(condition, "t5d", "difficulty", positions, distances),
        Curve(condition, "error_rate", "frame", frames, 1 - records.right, True),
    ]


def _pair_curves(records: FrameRecords, _: Sequence[int]) -> list[Curve]:
    return [
        _single(records, "consistency", consistency(records.pred[::2], records.pred[1::2])),
        _single(records, "accuracy", records.right.mean(axis=0)),
    ]


def _offset_curves(records: FrameRecords, _: Sequence[int]) -> list[Curve]:
    probabilities = records.prob_label.astype(np.float64)
    return [
        _accuracy(records, "offset"),
        Curve(records.condition, "mean_prob_label", "offset", records.positions, probabilities),
    ]


def _scale_curves(records: FrameRecords, _: Sequence[int]) -> list[Curve]:
    same = (records.pred[:-1] == records.pred[1:]).astype(np.float64)
    return [
        _accuracy(records, "scale"),
        Curve(records.condition, "consistency", "scale", records.positions[1:], same, True),
        _single(records, "accuracy", records.right.mean(axis=0)),
        _single(records, "consistency", same.mean(axis=0)),
    ]


def _copy_curves(records: FrameRecords, _: Sequence[int]) -> list[Curve]:
    reached = np.logical_or.accumulate(records.right > 0, axis=0).astype(np.float64)
    return [
        _accuracy(records, "copy"),
        Curve(records.condition, "best_of_k_accuracy", "copies", records.positions + 1, reached, True),
    ]


def _attack_curves(records: FrameRecords, _: Sequence[int]) -> list[Curve]:
    """Return the accuracy after each attack and those before it at a radius, and that after all attacks up to a radius."""
    names = records.condition.methods.split(",")
    positions, right = records.positions[:: len(names)], records.right
    worst = np.minimum.accumulate(right.reshape(len(positions), len(names), -1).min(axis=1), axis=0)
    after = {name: right[number :: len(names)] for number, name in enumerate(names)} | {WORST: worst}
    return [
        Curve(records.condition, "accuracy", records.condition.axis, positions, values, True, name)
        for name, values in after.items()
    ]


_CURVES: dict[FrameKind, Callable[[FrameRecords, Sequence[int]], list[Curve]]] = {
    FrameKind.SEQUENCE: _sequence_curves,
    FrameKind.PAIRS: _pair_curves,
    FrameKind.MAP: lambda records, _: [_accuracy(records, MAP_AXIS)],
    FrameKind.OFFSETS: _offset_curves,
    FrameKind.SCALES: _scale_curves,
    FrameKind.STRENGTHS: lambda records, _: [_accuracy(records, records.condition.axis)],
    FrameKind.SIZES: lambda records, _: [_accuracy(records, "information")],
    FrameKind.NATIVE: lambda records, _: [_single(records, "accuracy", records.right[0], is_rate=True)],
    FrameKind.COPIES: _copy_curves,
    FrameKind.ATTACKS: _attack_curves,
}


# Rows of a suite.


def family_rows(
    suite: Suite, curves: Sequence[BootstrappedCurve], clean: Floats | None, baseline: Baseline | None, n: int
) -> Iterator[Row]:
    """Yield the rows of a suite: the values of the curves, then what is computed from them.

    Args:
        suite: The suite.
        curves: All curves of the suite.
        clean: Accuracy on the unperturbed images, (1 + resamples,); None if unknown.
        baseline: Baseline of the flip rates.
        n: Number of samples.
    """
    for curve in curves:
        for position, distribution in zip(curve.positions.tolist(), curve.distribution.T, strict=True):
            yield {
                **of_condition(curve.condition),
                **result_row(curve.metric, distribution, n if curve.is_rate else None),
                "axis": curve.axis or None,
                "method": curve.method,
                **(_position_cells(position) if curve.axis else {}),
                "n": n,
                # Several difficulties can share one set of frames. The row has its own difficulty, not that of the frames.
                **({"severity": int(position)} if curve.axis == "difficulty" else {}),
            }
    if suite.family in _AGGREGATES:
        yield from _AGGREGATES[suite.family](suite, curves, clean, baseline)


def _position_cells(position: float | list[float]) -> Row:
    """Return the cells of a row that hold its position on the axis."""
    return (
        dict(zip(("dx", "dy"), map(int, position), strict=True))
        if isinstance(position, list)
        else {"axis_value": position}
    )


def of_condition(condition: ConditionEntry) -> Row:
    """Return the cells of a row that name its condition."""
    return {"corruption": condition.corruption, "severity": condition.severity} | _of_suite(condition)


def _of_suite(condition: ConditionEntry) -> Row:
    """Return the cells of an aggregate over conditions."""
    return {"resolution": condition.resolution, "protocol": condition.protocol, "source": condition.source}


def _sequence_aggregates(
    suite: Suite, curves: Sequence[BootstrappedCurve], clean: Floats | None, baseline: Baseline | None
) -> Iterator[Row]:
    table: dict[tuple[int, str], dict[str, Floats]] = {}
    for curve in curves:
        if curve.axis == "difficulty":
            for level, distribution in zip(curve.positions.astype(int).tolist(), curve.distribution.T, strict=True):
                table.setdefault((level, curve.metric), {})[curve.condition.corruption] = distribution
    covered = suite.own_or_extra(curve.condition.corruption for curve in curves)
    divisors = {"flip_rate": baseline.flip_rates, "t5d": baseline.t5d} if baseline else {}
    metrics = {"flip_rate": ("mean_flip_rate", "fr", "mfr", mfr), "t5d": ("mean_t5d", None, "mt5d", mt5d)}
    for (level, metric), cells in sorted(table.items()):
        mean, single, whole, normalized = metrics[metric]
        here: Row = {**_of_suite(curves[0].condition), "axis": "difficulty", "axis_value": float(level)}
        present = [name for name in cells if name in covered]
        values = np.stack([cells[name] for name in present], axis=1)
        yield {**here, **result_row(mean, values.mean(axis=1)), "n": len(present)}
        if baseline is None:
            continue
        here["baseline"] = baseline.name
        by_name = {name: divisor for name in cells if (divisor := divisors[metric].get((name, level), 0.0)) > 0}
        if single:
            for name, divisor in by_name.items():
                yield {**here, **result_row(single, fr(cells[name], divisor)), "corruption": name, "n": 1}
        if present == list(suite.corruptions) and by_name.keys() >= set(present):
            scaled = normalized(values, [by_name[name] for name in present])
            yield {**here, **result_row(whole, scaled), "n": len(present)}


_NEUTRAL = {"gain": 1.0}
"""Strength of the clean images, for perturbations for which it is not 0."""


def _strength_aggregates(
    suite: Suite, curves: Sequence[BootstrappedCurve], clean: Floats | None, baseline: Baseline | None
) -> Iterator[Row]:
    if clean is None:
        return
    areas: dict[str, Floats] = {}
    for curve in (curve for curve in curves if curve.metric == "accuracy"):
        condition = curve.condition
        neutral = _NEUTRAL.get(condition.corruption, 0.0)
        strengths = np.append(curve.positions, neutral)
        order = np.argsort(strengths)
        strengths = strengths[order]
        accuracy = np.column_stack([curve.distribution, clean])[:, order]
        area = areas[condition.corruption] = accuracy_auc(strengths, accuracy)
        cells = {**of_condition(condition), "n": len(strengths)}
        yield {**cells, **result_row("accuracy_auc", area)}
        start = int(np.searchsorted(strengths, neutral))
        for direction, part in ((-1, np.arange(start, -1, -1)), (1, np.arange(start, len(strengths)))):
            if len(part) > 1:
                halves = half_accuracy_strength(strengths[part], accuracy[:, part])
                if np.isfinite(halves[0]):
                    threshold = threshold_row("half_accuracy_strength", halves)
                    yield {**cells, **threshold, "axis": "direction", "axis_value": float(direction)}
    covered = suite.own_or_extra(areas)
    mean = np.mean([area for name, area in areas.items() if name in covered], axis=0)
    yield {**_of_suite(curves[0].condition), **result_row("accuracy_auc", mean), "n": len(covered)}


def _cost_rows(
    suite: Suite, curves: Sequence[BootstrappedCurve], clean: Floats | None, baseline: Baseline | None
) -> Iterator[Row]:
    for curve in curves:
        if curve.metric == "accuracy" and curve.condition.gflops is not None:
            yield {**of_condition(curve.condition), **row("gflops", curve.condition.gflops), "n": 1}


_AGGREGATES: dict[
    Family, Callable[[Suite, Sequence[BootstrappedCurve], Floats | None, Baseline | None], Iterator[Row]]
] = {
    families.SEQUENCES: _sequence_aggregates,
    families.NOISE: _strength_aggregates,
    families.OCCLUSION: _strength_aggregates,
    families.RESOLUTION: _cost_rows,
}
"""Values that are computed from several curves; families that are not listed have none."""
