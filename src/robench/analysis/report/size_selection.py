"""Which figures say what choosing an input size for every image reaches and costs, and what each way of choosing is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from robench.suites import NETWORK

__all__ = ["ONE_SIZE", "policies", "static_comparison"]

ONE_SIZE = "one size for all"
_FIXED = "\N{NO-BREAK SPACE}"
_BOUND = "a bound, it looks at labels"
_CALLED = {
    "oracle": f"oracle ({_BOUND})",
    "random": "chance, in the oracle's shares",
    "cascade": "cascade, without labels",
}

Results = Sequence[Mapping[str, Any]]


def policies(rows: Results) -> Iterator[tuple[str, str, float, Mapping[str, Any]]]:
    """Yield every point of every way: what the way is called, what the point is of, its cost in GFLOPs, its row of accuracy.

    rows: of the results of a resolution suite.
    """
    alone, paid = _by_size(rows, "gflops"), _by_size(rows, "oracle_gflops")
    spent = {
        (row["resolution"], row["axis_value"]): float(row["value"]) for row in rows if row["metric"] == "cascade_gflops"
    }
    yield from _at_sizes(rows, ONE_SIZE, "accuracy", alone)
    for row in rows:
        if row["metric"] == "cascade_accuracy":
            place = row["resolution"], row["axis_value"]
            yield f"{_CALLED['cascade']}, up to {place[0]} px", f"exit_ratio {place[1]:g}", spent[place], row
    yield from _at_sizes(rows, _CALLED["oracle"], "oracle_accuracy", paid)
    for row in rows:
        if row["metric"] == "best_of_k_accuracy" and row["resolution"] in alone:
            copies = f"{row['axis_value']:g} copies at {row['resolution']} px"
            yield f"best of k: copies of one size ({_BOUND})", copies, alone[row["resolution"]], row
    yield from _at_sizes(rows, _CALLED["random"], "random_accuracy", paid)


def _at_sizes(
    rows: Results, way: str, metric: str, cost: Mapping[int, float]
) -> Iterator[tuple[str, str, float, Mapping[str, Any]]]:
    for row in rows:
        side = row["resolution"]
        if (row["metric"], row["corruption"]) == (metric, NETWORK) and side in cost:
            yield way, f"{side} px" if way == ONE_SIZE else f"sizes up to {side} px", cost[side], row


def _by_size(rows: Results, metric: str) -> dict[int, float]:
    of_network = [row for row in rows if row["metric"] == metric and row["corruption"] == NETWORK]
    return {row["resolution"]: float(row["value"]) for row in of_network}


def static_comparison(rows: Results) -> list[list[str]]:
    """Return by sizes and way the accuracy at the cost of the network at its own input size, and the GFLOPs of its accuracy."""
    found: dict[tuple[int, str], dict[str, str]] = {}
    for row in rows:
        who, _, what = str(row["metric"]).partition("_")
        if what.endswith("_at_static"):
            factor, digits = (100, ".2f") if row["unit"] == "fraction" else (1, ".3g")
            value, low, high = (
                "" if pd.isna(row[name]) else format(factor * float(row[name]), digits)
                for name in ("value", "ci_low", "ci_high")
            )
            found.setdefault((row["resolution"], who), {})[what] = f"{value} [{low},{_FIXED}{high}]"
    return [
        [
            f"up to {side} px".replace(" ", _FIXED),
            _CALLED[who],
            of.get("accuracy_at_static", ""),
            of.get("gflops_at_static", "never"),
        ]
        for (side, who), of in found.items()
    ]
