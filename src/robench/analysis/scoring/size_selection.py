"""Selection of an input size for every image, from the records of the network at each size (docs/decisions/019)."""

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
from robench.suites.protocol import Protocol
from robench.types import Floats, Ints

__all__ = ["EXIT_RATIOS", "choice_curves", "choice_rows", "has_cost"]

EXIT_RATIOS = tuple(step / 20 for step in range(21))
"""Operating points of the cascade, as `metrics.size_selection.exit_shares` takes them."""


def has_cost(condition: ConditionEntry) -> bool:
    """Return whether the operations of a condition were counted, so that its input size can be selected."""
    return condition.gflops is not None


def choice_curves(sized: Sequence[FrameRecords], index: Ints, own: int | None, seed: int) -> list[Curve]:
    """Return the accuracy and the cost of an oracle and of a cascade by sample.

    Args:
        sized: Records of the network at each size.
        index: Positions of the samples in the dataset, (n,).
        own: The network's own input size in pixels; None if unknown.
        seed: Seed of the split into halves.
    """
    if not sized:
        return []
    sizes = sorted(sized, key=lambda records: records.condition.resolution)
    conditions = [records.condition for records in sizes]
    cost = np.array([condition.gflops for condition in conditions], np.float64)
    right = np.stack([records.right[0] for records in sizes])
    reached, paid = oracle(right > 0, cost)
    curves = [
        Curve(condition, metric, "", np.zeros(1), values[rank][None], is_rate)
        for rank, condition in enumerate(conditions)
        for metric, values, is_rate in (("oracle_accuracy", reached, True), ("oracle_gflops", paid, False))
    ]
    first = split_half(index, seed)
    if not first.any():
        return curves
    confidence, ratios = (
        np.stack([records.confidence[0] for records in sizes]).astype(np.float64),
        np.array(EXIT_RATIOS),
    )
    for smallest in _ranges(conditions, own):
        last, exits = _of_sizes(smallest), _exits(confidence[: len(smallest)], first)
        curves += [
            Curve(last, "cascade_accuracy", "exit_ratio", ratios, np.take_along_axis(right, exits, axis=0), True),
            Curve(last, "cascade_gflops", "exit_ratio", ratios, cost.cumsum()[exits]),
        ]
    return curves


def _ranges(conditions: Sequence[ConditionEntry], own: int | None) -> list[Sequence[ConditionEntry]]:
    """Return the sizes up to the network's own input, and all sizes, as far as these are at least two."""
    ends = [rank for rank, condition in enumerate(conditions, start=1) if condition.resolution == own]
    return [conditions[:end] for end in dict.fromkeys([*ends, len(conditions)]) if end > 1]


def _exits(confidence: Floats, first: NDArray[np.bool_]) -> Ints:
    """Return the rank of the size at which each sample exits, (operating points, n). Thresholds are of the other half."""
    exits = np.empty((len(EXIT_RATIOS), confidence.shape[1]), np.int64)
    for point, ratio in enumerate(EXIT_RATIOS):
        shares = exit_shares(ratio, len(confidence))
        for half in (first, ~first):
            exits[point, half] = cascade(confidence[:, half], exit_thresholds(confidence[:, ~half], shares))
    return exits


def _of_sizes(conditions: Sequence[ConditionEntry]) -> ConditionEntry:
    """Return the last condition, with all sizes in its protocol: values compare only if all sizes are the same."""
    protocol = Protocol.parse(conditions[-1].protocol).with_sizes(one.resolution for one in conditions)
    return replace(conditions[-1], protocol=str(protocol))


def choice_rows(curves: Sequence[BootstrappedCurve], own: int | None, n: int) -> Iterator[Row]:
    """Yield random_accuracy, and the comparison of all selections with the network at its own input size.

    Args:
        curves: All curves of the suite.
        own: The network's own input size in pixels; None if unknown.
        n: Number of samples.
    """
    conditions = [curve.condition for curve in curves if curve.metric == "oracle_accuracy"]
    if not conditions:
        return
    distributions = {(curve.condition.name, curve.metric, curve.axis): curve.distribution for curve in curves}

    def over(metric: str) -> Floats:
        return np.column_stack([distributions[condition.name, metric, ""][:, 0] for condition in conditions])

    alone, reached, paid = over("accuracy"), over("oracle_accuracy"), over("oracle_gflops")
    random = random_accuracy(reached, alone)
    for condition, distribution in zip(conditions, random.T, strict=True):
        yield {**of_condition(condition), **result_row("random_accuracy", distribution, n), "n": n}
    static = next((rank for rank, condition in enumerate(conditions) if condition.resolution == own), None)
    if static is None:
        return
    budget = conditions[static].gflops
    assert budget is not None
    for smallest in _ranges(conditions, own):
        last, k = _of_sizes(smallest), len(smallest)
        selections = {"oracle": (paid[:, :k], reached[:, :k]), "random": (paid[:, :k], random[:, :k])}
        if (cost := distributions.get((last.name, "cascade_gflops", "exit_ratio"))) is not None:
            selections["cascade"] = cost, distributions[last.name, "cascade_accuracy", "exit_ratio"]
        common = {**of_condition(last), "n": n}
        for name, (cost, accuracy) in selections.items():
            pairs = list(zip(cost, accuracy, strict=True))
            at_cost = np.array([accuracy_at_cost(*pair, budget) for pair in pairs])
            yield {**common, **result_row(f"{name}_accuracy_at_static", at_cost, n)}
            levels = alone[:, static].tolist()
            at_accuracy = np.array([cost_at_accuracy(*pair, level) for pair, level in zip(pairs, levels, strict=True)])
            if np.isfinite(at_accuracy[0]):
                yield {**common, **threshold_row(f"{name}_gflops_at_static", at_accuracy)}
