"""Curves of networks with several exits or settings: accuracy by operations, budgeted batches, the best setting for a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from robench.analysis.metrics.budgeted import BUDGETS, budgeted_exits
from robench.analysis.metrics.intervals import split_half
from robench.analysis.scoring.curves import BootstrappedCurve, Curve, FrameRecords, of_condition
from robench.analysis.scoring.rows import Row, result_row, row
from robench.runs.conditions import ConditionEntry
from robench.types import Floats, Ints

__all__ = ["exit_curves", "exit_rows"]

_EXIT = "exit"
"""Axis of the accuracy by exit, whose rows name the exit as their `method`."""


def exit_curves(records: FrameRecords, index: Ints, seed: int) -> Iterator[Curve]:
    """Yield the accuracy of each exit, and accuracy and operations of budgeted batches.

    Args:
        records: Records of a condition, a frame for each exit.
        index: Positions of the samples in the dataset, (n,).
        seed: Seed of the split into halves.
    """
    condition, right = records.condition, records.right
    ranks = np.arange(len(right), dtype=np.float64)
    yield Curve(condition, "accuracy", _EXIT, ranks, right, True)
    order, cost = _by_cost(condition)
    first = split_half(index, seed)
    if len(order) < 2 or not first.any() or first.all():
        return
    exits = budgeted_exits(records.confidence[order], first)
    paid = cost[order].cumsum() if _runs_again(condition) else cost[order]
    points = np.array(BUDGETS)
    yield Curve(
        condition, "budgeted_accuracy", "budget_p", points, np.take_along_axis(right[order], exits, axis=0), True
    )
    yield Curve(condition, "budgeted_gflops", "budget_p", points, paid[exits])


def _by_cost(condition: ConditionEntry) -> tuple[Ints, Floats]:
    """Return the ranks of the exits by ascending operations, none if these are not counted, and the operations."""
    costs = [cost for _, cost in condition.exits]
    if any(cost is None for cost in costs):
        return np.zeros(0, np.int64), np.zeros(0)
    cost = np.array(costs, np.float64)
    return np.argsort(cost, kind="stable"), cost


def _runs_again(condition: ConditionEntry) -> bool:
    """Return whether each rank is a pass of its own, as for settings. Exits are parts of one pass."""
    return not all(name == f"exit {number}" for number, (name, _) in enumerate(condition.exits, 1))


def exit_rows(curves: Sequence[BootstrappedCurve], n: int) -> Iterator[Row]:
    """Yield accuracy and operations by exit, and the best exit for the operations of each.

    Args:
        curves: All curves of the suite.
        n: Number of samples.
    """
    for curve in (curve for curve in curves if curve.axis == _EXIT):
        condition, accuracy = curve.condition, curve.distribution
        here = {**of_condition(condition), "n": n}
        order, cost = _by_cost(condition)
        for rank, (name, gflops) in enumerate(condition.exits):
            yield {**here, **result_row("accuracy", accuracy[:, rank], n), "method": name}
            if gflops is not None:
                yield {**here, **row("gflops", gflops), "method": name, "n": 1}
        for count in range(1, len(order) + 1):
            best = max(order[:count].tolist(), key=lambda rank: (float(accuracy[0, rank]), -cost[rank]))
            yield {
                **here,
                **result_row("best_accuracy", accuracy[:, best], n),
                "method": condition.exits[best][0],
                "axis": "gflops",
                "axis_value": float(cost[order[count - 1]]),
            }
