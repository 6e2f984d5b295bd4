"""What choosing an input size for every image could reach, from the records of the network at each size (docs/decisions/019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.intervals import split_half
from robench.analysis.metrics.size_selection import (
    accuracy_at_cost,
    cascade,
    cost_at_accuracy,
    exit_shares,
    exit_thresholds,
    oracle,
    random_accuracy,
)
from robench.analysis.scoring.curves import BootstrappedCurve, Curve, FrameRecords, of_condition
from robench.analysis.scoring.rows import Row, result_row, threshold_row
from robench.runs.conditions import ConditionEntry
from robench.types import Floats, Ints

__all__ = ["EXIT_RATIOS", "choice_curves", "choice_rows", "has_cost"]

EXIT_RATIOS = tuple(step / 20 for step in range(21))
"""Operating points of the cascade, as `metrics.choices.exit_shares` takes them."""


def has_cost(condition: ConditionEntry) -> bool:
    """Whether a condition is of a size that may be chosen: its cost was counted."""
    return condition.gflops is not None


def choice_curves(sized: Sequence[FrameRecords], index: Ints, own: int | None, seed: int) -> list[Curve]:
    """Return what an oracle and a cascade reach and cost, sample by sample.

    sized: the records of the network at each size.  index: (n,) positions of the samples.  own: the network's own input size, px.
    seed: of the split into halves.
    """
    if not sized:
        return []
    sizes = sorted(sized, key=lambda one: one.condition.resolution)
    conditions = [one.condition for one in sizes]
    cost = np.array([one.gflops for one in conditions], np.float64)
    right = np.stack([one.right[0] for one in sizes])
    reached, paid = oracle(right > 0, cost)
    alone = np.zeros(1)
    curves = [
        Curve(condition, metric, "", alone, values[at][None], rate)
        for at, condition in enumerate(conditions)
        for metric, values, rate in (("oracle_accuracy", reached, True), ("oracle_gflops", paid, False))
    ]
    first = split_half(index, seed)
    if not first.any():
        return curves
    confidence, places = np.stack([one.confidence[0] for one in sizes]).astype(np.float64), np.array(EXIT_RATIOS)
    for some in _ranges(conditions, own):
        last, taken = _over(some), _stops(confidence[: len(some)], first)
        curves += [
            Curve(last, "cascade_accuracy", "exit_ratio", places, np.take_along_axis(right, taken, axis=0), True),
            Curve(last, "cascade_gflops", "exit_ratio", places, cost.cumsum()[taken]),
        ]
    return curves


def _ranges(conditions: Sequence[ConditionEntry], own: int | None) -> list[Sequence[ConditionEntry]]:
    """The sizes up to the network's own input, as a user would stop there, and all of them; of each at least two."""
    ends = [at + 1 for at, one in enumerate(conditions) if one.resolution == own]
    return [conditions[:end] for end in dict.fromkeys([*ends, len(conditions)]) if end > 1]


def _stops(confidence: Floats, first: NDArray[np.bool_]) -> Ints:
    """(operating points, n): at which size each sample stops, by thresholds of the half that it is not of."""
    taken = np.empty((len(EXIT_RATIOS), confidence.shape[1]), np.int64)
    for at, late in enumerate(EXIT_RATIOS):
        shares = exit_shares(late, len(confidence))
        for half in (first, ~first):
            taken[at, half] = cascade(confidence[:, half], exit_thresholds(confidence[:, ~half], shares))
    return taken


def _over(conditions: Sequence[ConditionEntry]) -> ConditionEntry:
    """The last of them, for figures that compare only where all sizes are the same: they are in its protocol."""
    text, _, digest = conditions[-1].protocol.partition("#")
    sizes = "-".join(str(one.resolution) for one in conditions)
    return replace(conditions[-1], protocol=f"{text}+{sizes}px#{digest}")


def choice_rows(curves: Sequence[BootstrappedCurve], own: int | None, n: int) -> Iterator[Row]:
    """Yield what is computed from the curves: chance in the oracle's shares, and all beside the network at its own input size.

    own: that size, px; None where it is not known.
    """
    conditions = [curve.condition for curve in curves if curve.metric == "oracle_accuracy"]
    if not conditions:
        return
    found = {(curve.condition.name, curve.metric, curve.axis): curve.distribution for curve in curves}

    def over(metric: str) -> Floats:
        return np.column_stack([found[condition.name, metric, ""][:, 0] for condition in conditions])

    alone, reached, paid = over("accuracy"), over("oracle_accuracy"), over("oracle_gflops")
    random = random_accuracy(reached, alone)
    for at, condition in enumerate(conditions):
        yield {**of_condition(condition), **result_row("random_accuracy", random[:, at], n), "n": n}
    static = next((at for at, condition in enumerate(conditions) if condition.resolution == own), None)
    if static is None:
        return
    budget = conditions[static].gflops
    assert budget is not None
    for some in _ranges(conditions, own):
        last, count = _over(some), len(some)
        ways = {"oracle": (paid[:, :count], reached[:, :count]), "random": (paid[:, :count], random[:, :count])}
        if (last.name, "cascade_gflops", "exit_ratio") in found:
            ways["cascade"] = (
                found[last.name, "cascade_gflops", "exit_ratio"],
                found[last.name, "cascade_accuracy", "exit_ratio"],
            )
        for who, (cost, accuracy) in ways.items():
            common = {**of_condition(last), "n": n}
            at_cost = np.array([accuracy_at_cost(*one, budget) for one in zip(cost, accuracy, strict=True)])
            yield {**common, **result_row(f"{who}_accuracy_at_static", at_cost, n)}
            of_one_size = alone[:, static].tolist()
            at_accuracy = np.array([cost_at_accuracy(*one) for one in zip(cost, accuracy, of_one_size, strict=True)])
            if np.isfinite(at_accuracy[0]):
                yield {**common, **threshold_row(f"{who}_gflops_at_static", at_accuracy)}
