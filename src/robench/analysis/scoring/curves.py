"""Figures of frames: each is a mean over samples of what one sample does along its frames, or a function of such means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.curves import accuracy_auc, consistency, half_accuracy_strength
from robench.analysis.metrics.flips import flip_rate, fr, mfr, mt5d, t5d
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, Row, resample_weights, result_row, row, threshold_row
from robench.runs.conditions import ConditionEntry
from robench.suites import BEST_OF_K, MAP_AXIS, UNTREATED, Family, Suite
from robench.types import Floats, Ints

__all__ = [
    "BootstrappedCurve",
    "Curve",
    "FlipRateBaseline",
    "FrameRecords",
    "curves_of",
    "family_rows",
    "of_condition",
    "resampled",
]

_TOGETHER = 192
"""Places of curves that are resampled together, and up to twice as many: 77 MB of ImageNet's samples.

What a matrix product adds up in one go: where it ends there anyhow, the last bit of a sum is that of one product of all.
"""


@dataclass(frozen=True)
class FrameRecords:
    """The records of one condition, frame by frame.

    axis: (frames,) its values.  offsets: (frames, 2) dx and dy, px, on the map of offsets; None elsewhere.
    pred, confidence, prob_label: (frames, n).  top5: (frames, n, k).  label: (n,).
    """

    condition: ConditionEntry
    axis: Floats
    offsets: Floats | None
    pred: Ints
    top5: Ints
    confidence: NDArray[np.float32]
    prob_label: NDArray[np.float32]
    label: Ints

    @property
    def right(self) -> Floats:
        """(frames, n) 1 where the prediction is the label, else 0."""
        return np.asarray(self.pred == self.label, np.float64)


@dataclass(frozen=True)
class Curve:
    """A metric of one condition at places of an axis.

    axis: what the places are, empty where there is one figure alone.  places: (k,), or (k, 2) dx and dy on the map of offsets.
    values: (k, n) of each sample, whose mean is the figure.
    rate: whether every value is 0 or 1, so that the figure is a single rate.
    """

    condition: ConditionEntry
    metric: str
    axis: str
    places: Floats
    values: Floats
    rate: bool = False


@dataclass(frozen=True)
class BootstrappedCurve:
    """A curve without its values.  distribution: (1 + resamples, k), the figures of its places, then resamples of them."""

    condition: ConditionEntry
    metric: str
    axis: str
    places: Floats
    rate: bool
    distribution: Floats


@dataclass(frozen=True)
class FlipRateBaseline:
    """What sequences are normalised by: flip rates and T5D by (perturbation, difficulty).

    published: whether a paper's, which has no T5D and nothing but difficulty 1; else a run's.
    """

    name: str
    flip_rates: Mapping[tuple[str, int], float]
    t5d: Mapping[tuple[str, int], float]
    published: bool = False


def curves_of(family: Family, records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    """What a condition of a family is measured by, sample by sample."""
    curves = _CURVES[family](records, difficulties)
    none = records.pred < 0
    if none.any():
        curves.append(
            Curve(records.condition, "nonfinite_rate", "", np.zeros(1), none.mean(axis=0)[None], len(none) == 1)
        )
    return curves


def resampled(curves: Iterable[Curve], n: int, seed: int) -> list[BootstrappedCurve]:
    """Resample every curve, the same resamples for all; the values of few are in memory at once."""
    kept: list[tuple[ConditionEntry, str, str, Floats, bool]] = []
    found: list[Floats] = []
    waiting, filled = np.empty((2 * _TOGETHER, n)), 0
    for curve in curves:
        kept.append((curve.condition, curve.metric, curve.axis, curve.places, curve.rate))
        left = curve.values
        while len(left):
            if filled == len(waiting):
                found.append(_distributions(waiting[:_TOGETHER], seed))
                waiting[:_TOGETHER] = waiting[_TOGETHER:]
                filled = _TOGETHER
            taken = left[: len(waiting) - filled]
            waiting[filled : filled + len(taken)] = taken
            filled, left = filled + len(taken), left[len(taken) :]
    found.append(_distributions(waiting[:filled], seed))
    distributions = np.concatenate(found, axis=1)
    ends = np.cumsum([len(places) for _, _, _, places, _ in kept])
    return [
        BootstrappedCurve(*one, distributions[:, end - len(one[3]) : end])
        for one, end in zip(kept, ends.tolist(), strict=True)
    ]


def _distributions(values: Floats, seed: int) -> Floats:
    """Resample values (k, n): (1 + resamples, k)."""
    places, n = values.shape
    found = np.empty((DISTRIBUTION_SIZE, places))
    for part, counts in resample_weights(n, seed):
        found[part] = counts.astype(np.float64) @ values.T / n
    return found


def family_rows(
    suite: Suite, curves: Sequence[BootstrappedCurve], clean: Floats | None, baseline: FlipRateBaseline | None, n: int
) -> Iterator[Row]:
    """Yield the rows of a suite: the curves' figures, then what is computed from them.

    clean: (1 + resamples,) accuracy on the unperturbed images.
    """
    for curve in curves:
        for at, place in enumerate(curve.places.tolist()):
            yield {
                **of_condition(curve.condition),
                **result_row(curve.metric, curve.distribution[:, at], n if curve.rate else None),
                "axis": curve.axis or None,
                **(_position(place) if curve.axis else {}),
                "n": n,
                # One set of frames may serve several difficulties: the figure is of its own, not of the frames' first.
                **({"severity": int(place)} if curve.axis == "difficulty" else {}),
            }
    conditions = list({curve.condition.name: curve.condition for curve in curves}.values())
    yield from _AGGREGATES[suite.family](suite, conditions, curves, clean, baseline)


def _position(place: float | list[float]) -> Row:
    """The cells of a row that say where on its axis it is."""
    if isinstance(place, list):
        dx, dy = map(int, place)
        return {"dx": dx, "dy": dy}
    return {"axis_value": place}


def of_condition(condition: ConditionEntry) -> Row:
    """The columns of a row that say of which condition it is."""
    return {
        "corruption": condition.corruption,
        "severity": condition.severity,
        "resolution": condition.resolution,
        "protocol": condition.protocol,
        "source": condition.source,
    }


# Sequences of frames: flips.


def _sequence_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    condition, independent = records.condition, records.condition.independent
    at = [condition.severity] if independent else [d for d in difficulties if d < len(records.axis)]
    steps = [1 if independent else difficulty for difficulty in at]
    flips = np.stack([flip_rate(records.pred, independent=independent, step=step) for step in steps])
    moved = np.stack([t5d(records.top5, independent=independent, step=step) for step in steps])
    places = np.array(at, np.float64)
    return [
        Curve(condition, "flip_rate", "difficulty", places, flips),
        Curve(condition, "t5d", "difficulty", places, moved),
        Curve(
            condition, "error_rate", "frame", np.arange(len(records.axis), dtype=np.float64), 1 - records.right, True
        ),
    ]


def _sequence_aggregates(
    suite: Suite,
    conditions: Sequence[ConditionEntry],
    curves: Sequence[BootstrappedCurve],
    clean: Floats | None,
    baseline: FlipRateBaseline | None,
) -> Iterator[Row]:
    by_cell: dict[tuple[str, str, int], Floats] = {}
    for curve in curves:
        if curve.axis == "difficulty":
            for at, place in enumerate(curve.places.tolist()):
                by_cell[curve.metric, curve.condition.corruption, int(place)] = curve.distribution[:, at]
    common = {key: value for key, value in of_condition(conditions[0]).items() if key not in ("corruption", "severity")}
    names = list(dict.fromkeys(condition.corruption for condition in conditions))
    main = [name for name in names if name in suite.corruptions] or names
    for difficulty in sorted({difficulty for _, _, difficulty in by_cell}):
        here: Row = {**common, "axis": "difficulty", "axis_value": float(difficulty)}
        for metric, mean, whole, normalised, published in (
            ("flip_rate", "mean_flip_rate", "mfr", mfr, baseline.flip_rates if baseline else {}),
            ("t5d", "mean_t5d", "mt5d", mt5d, baseline.t5d if baseline else {}),
        ):
            present = [name for name in main if (metric, name, difficulty) in by_cell]
            over = np.stack([by_cell[metric, name, difficulty] for name in present], axis=1)
            yield {**here, **result_row(mean, over.mean(axis=1)), "n": len(present)}
            if baseline is None:
                continue
            divisors = {name: published.get((name, difficulty), 0.0) for name in names}
            for name in names:
                if metric == "flip_rate" and divisors[name] > 0 and (metric, name, difficulty) in by_cell:
                    scaled = result_row("fr", fr(by_cell[metric, name, difficulty], divisors[name]))
                    yield {**here, **scaled, "corruption": name, "baseline": baseline.name, "n": 1}
            if present == list(suite.corruptions) and all(divisors[name] > 0 for name in present):
                scaled = result_row(whole, normalised(over, [divisors[name] for name in present]))
                yield {**here, **scaled, "baseline": baseline.name, "n": len(present)}


# Shift and scale: consistency.


def _shift_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    condition, kind = records.condition, records.condition.corruption
    if kind in ("crop", "circular"):
        same = consistency(records.pred[::2], records.pred[1::2])
        alone = np.zeros(1)
        return [
            Curve(condition, "consistency", "", alone, same[None]),
            Curve(condition, "accuracy", "", alone, records.right.mean(axis=0)[None]),
        ]
    if kind == "diagonal":
        return [
            Curve(condition, "accuracy", "offset", records.axis, records.right, True),
            Curve(condition, "mean_prob_label", "offset", records.axis, records.prob_label.astype(np.float64)),
        ]
    return [
        Curve(
            condition,
            "accuracy",
            MAP_AXIS,
            records.axis if records.offsets is None else records.offsets,
            records.right,
            True,
        )
    ]


def _scale_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    condition, pred = records.condition, records.pred
    same = (pred[:-1] == pred[1:]).astype(np.float64)
    alone = np.zeros(1)
    return [
        Curve(condition, "accuracy", "scale", records.axis, records.right, True),
        Curve(condition, "consistency", "scale", records.axis[1:], same, True),
        Curve(condition, "accuracy", "", alone, records.right.mean(axis=0)[None]),
        Curve(condition, "consistency", "", alone, same.mean(axis=0)[None]),
    ]


def _none(*_: Any) -> Iterator[Row]:
    yield from ()


# Noise and occlusion: strength, area.


_NEUTRAL = {"gain": 1.0}
"""Strength of the clean images, where it is not 0."""


def _strength_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    return [Curve(records.condition, "accuracy", records.condition.axis, records.axis, records.right, True)]


def _strength_aggregates(
    suite: Suite,
    conditions: Sequence[ConditionEntry],
    curves: Sequence[BootstrappedCurve],
    clean: Floats | None,
    baseline: FlipRateBaseline | None,
) -> Iterator[Row]:
    if clean is None:
        return
    areas: dict[str, Floats] = {}
    for curve in (curve for curve in curves if curve.metric == "accuracy"):
        condition = curve.condition
        neutral = _NEUTRAL.get(condition.corruption, 0.0)
        strengths = np.append(curve.places, neutral)
        order = np.argsort(strengths)
        strengths = strengths[order]
        accuracy = np.column_stack([curve.distribution, clean])[:, order]
        area = areas[condition.corruption] = accuracy_auc(strengths, accuracy)
        one = {**of_condition(condition), "n": len(strengths)}
        yield {**one, **result_row("accuracy_auc", area)}
        start = int(np.searchsorted(strengths, neutral))
        for direction, part in ((-1, np.arange(start, -1, -1)), (1, np.arange(start, len(strengths)))):
            if len(part) > 1:
                halves = half_accuracy_strength(strengths[part], accuracy[:, part])
                if np.isfinite(halves[0]):
                    scored = threshold_row("half_accuracy_strength", halves)
                    yield {**one, **scored, "axis": "direction", "axis_value": float(direction)}
    common = {key: value for key, value in of_condition(conditions[0]).items() if key not in ("corruption", "severity")}
    own = [name for name in areas if name in suite.corruptions] or list(areas)
    yield {**common, **result_row("accuracy_auc", np.mean([areas[name] for name in own], axis=0)), "n": len(own)}


# Resolution.


def _resolution_curves(records: FrameRecords, difficulties: Sequence[int]) -> list[Curve]:
    condition, right = records.condition, records.right
    if condition.corruption in ("network", UNTREATED):
        return [Curve(condition, "accuracy", "", np.zeros(1), right, True)]
    if condition.corruption == BEST_OF_K:
        once = np.logical_or.accumulate(right > 0, axis=0).astype(np.float64)
        return [
            Curve(condition, "accuracy", "copy", records.axis, right, True),
            Curve(condition, "best_of_k_accuracy", "copies", records.axis + 1, once, True),
        ]
    return [Curve(condition, "accuracy", "information", records.axis, right, True)]


def _resolution_aggregates(
    suite: Suite,
    conditions: Sequence[ConditionEntry],
    curves: Sequence[BootstrappedCurve],
    clean: Floats | None,
    baseline: FlipRateBaseline | None,
) -> Iterator[Row]:
    for curve in curves:
        if curve.metric == "accuracy" and curve.condition.gflops is not None:
            yield {**of_condition(curve.condition), **row("gflops", curve.condition.gflops), "n": 1}


_CURVES: dict[str, Callable[[FrameRecords, Sequence[int]], list[Curve]]] = {
    "sequences": _sequence_curves,
    "shift": _shift_curves,
    "scale": _scale_curves,
    "noise": _strength_curves,
    "occlusion": _strength_curves,
    "resolution": _resolution_curves,
}

_AGGREGATES: dict[str, Callable[..., Iterator[Row]]] = {
    "sequences": _sequence_aggregates,
    "shift": _none,
    "scale": _none,
    "noise": _strength_aggregates,
    "occlusion": _strength_aggregates,
    "resolution": _resolution_aggregates,
}
