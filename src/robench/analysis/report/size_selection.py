"""Accuracy and cost of policies that choose an input size for each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from robench.suites import NETWORK

__all__ = ["ONE_SIZE", "policies", "static_comparison"]

ONE_SIZE = "one size for all"
_NBSP = "\N{NO-BREAK SPACE}"
_BOUND = "a bound, it looks at labels"
_LABELS = {
    "oracle": f"oracle ({_BOUND})",
    "random": "chance, in the oracle's shares",
    "cascade": "cascade, without labels",
}

Results = Sequence[Mapping[str, Any]]


def policies(rows: Results) -> Iterator[tuple[str, str, float, Mapping[str, Any]]]:
    """Yield the points of each policy.

    Args:
        rows: Results of a resolution suite.

    Yields:
        Label of the policy, label of the point, its cost in GFLOPs, and the row with its accuracy.
    """
    alone, oracle = _by_size(rows, "gflops"), _by_size(rows, "oracle_gflops")
    cascade = {
        (row["resolution"], row["axis_value"]): float(row["value"]) for row in rows if row["metric"] == "cascade_gflops"
    }
    yield from _at_sizes(rows, ONE_SIZE, "accuracy", alone)
    for row in rows:
        if row["metric"] == "cascade_accuracy":
            point = row["resolution"], row["axis_value"]
            yield f"{_LABELS['cascade']}, up to {point[0]} px", f"exit_ratio {point[1]:g}", cascade[point], row
    yield from _at_sizes(rows, _LABELS["oracle"], "oracle_accuracy", oracle)
    for row in rows:
        if row["metric"] == "best_of_k_accuracy" and row["resolution"] in alone:
            copies = f"{row['axis_value']:g} copies at {row['resolution']} px"
            yield f"best of k: copies of one size ({_BOUND})", copies, alone[row["resolution"]], row
    yield from _at_sizes(rows, _LABELS["random"], "random_accuracy", oracle)


def _at_sizes(
    rows: Results, policy: str, metric: str, cost: Mapping[int, float]
) -> Iterator[tuple[str, str, float, Mapping[str, Any]]]:
    for row in rows:
        size = row["resolution"]
        if (row["metric"], row["corruption"]) == (metric, NETWORK) and size in cost:
            yield policy, f"{size} px" if policy == ONE_SIZE else f"sizes up to {size} px", cost[size], row


def _by_size(rows: Results, metric: str) -> dict[int, float]:
    of_network = [row for row in rows if row["metric"] == metric and row["corruption"] == NETWORK]
    return {row["resolution"]: float(row["value"]) for row in of_network}


def static_comparison(rows: Results) -> list[list[str]]:
    """Compare each policy with the network at its own input size.

    Args:
        rows: Results of a resolution suite.

    Returns:
        Lines of sizes, policy, accuracy at the cost of that network, and GFLOPs for its accuracy.
    """
    cells: dict[tuple[int, str], dict[str, str]] = {}
    for row in rows:
        policy, _, metric = str(row["metric"]).partition("_")
        if metric.endswith("_at_static"):
            factor, digits = (100, ".2f") if row["unit"] == "fraction" else (1, ".3g")
            value, low, high = (
                "" if pd.isna(row[name]) else format(factor * float(row[name]), digits)
                for name in ("value", "ci_low", "ci_high")
            )
            cells.setdefault((row["resolution"], policy), {})[metric] = f"{value} [{low},{_NBSP}{high}]"
    return [
        [
            f"up to {size} px".replace(" ", _NBSP),
            _LABELS[policy],
            values.get("accuracy_at_static", ""),
            values.get("gflops_at_static", "never"),
        ]
        for (size, policy), values in cells.items()
    ]
