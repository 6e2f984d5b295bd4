"""Rows of the results: a value with its interval, from its bootstrap distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics import METRICS
from robench.analysis.metrics.intervals import RESAMPLES, bootstrap_interval, resample_counts, wilson_interval
from robench.types import Floats

__all__ = [
    "DISTRIBUTION",
    "DISTRIBUTION_SIZE",
    "KEY",
    "Row",
    "means",
    "resample_weights",
    "result_row",
    "row",
    "threshold_row",
]

Row = dict[str, Any]

KEY = (
    *("suite", "metric", "method", "subset", "corruption", "severity"),
    *("axis", "axis_value", "dx", "dy", "resolution"),
)
"""Columns that identify a value. Values of two runs are compared or averaged if they are equal in these."""

DISTRIBUTION = "distribution"
"""Key of a row, besides the columns of the results, for its value and resamples (1 + resamples,)."""

DISTRIBUTION_SIZE = 1 + RESAMPLES
"""Length of a distribution: the value, then its resamples."""


def resample_weights(n: int, seed: int) -> Iterator[tuple[slice, NDArray[np.int32]]]:
    """Yield slices of a distribution, and the number of times that each of its entries takes each of `n` samples (r, n).

    The first entry, which is the value, takes every sample once.
    """
    yield slice(0, 1), np.ones((1, n), np.int32)
    start = 1
    for counts in resample_counts(n, seed):
        yield slice(start, start + len(counts)), counts
        start += len(counts)


def means(values: Floats, counts: NDArray[np.int32]) -> Floats:
    """Return the mean of each column of `values` (n, k), below 128, over samples that are taken `counts` (r, n) times, (r, k).

    Resamples take values that are rounded to a grid on which every sum is exact. The order in which a matrix product adds them
    therefore changes nothing.
    """
    if (counts == 1).all():
        # Contiguous columns are added in an order that does not depend on their number.
        return np.repeat(np.ascontiguousarray(values.T).mean(axis=1)[None], len(counts), axis=0)
    grid = 2.0 ** (53 - 7 - math.ceil(math.log2(len(values))))
    return np.asarray(counts.astype(np.float64) @ (np.round(values * grid) / grid) / len(values))


def result_row(metric: str, distribution: Floats, images: int | None = None) -> Row:
    """Return the cells of a value with its percentile interval, or its basic interval from 0 to 1 if the metric is biased.

    Args:
        metric: A key of `METRICS`.
        distribution: Value and resamples, (1 + resamples,).
        images: Number of images of a single rate, which has Wilson's interval if it is 0 or 1. None for other values.
    """
    value = float(distribution[0])
    if images is not None and value in (0.0, 1.0):
        ends = wilson_interval(round(value * images), images)
    else:
        low, high = bootstrap_interval(distribution, basic=METRICS[metric].is_biased)
        ends = float(low), float(high)
        if METRICS[metric].is_biased:
            ends = max(ends[0], 0.0), min(ends[1], 1.0)
    return {**row(metric, value, ends), DISTRIBUTION: distribution}


def threshold_row(metric: str, distribution: Floats) -> Row:
    """Return the cells of a position on an axis at which something is reached.

    Args:
        metric: A key of `METRICS`.
        distribution: Value and resamples, (1 + resamples,). NaN, for never, sorts after all positions.
    """
    ends = np.sort(np.where(np.isfinite(distribution[1:]), distribution[1:], np.inf))
    value = float(distribution[0])
    low, high = (float(ends[round(q * (len(ends) - 1))]) for q in (0.025, 0.975))
    return row(metric, value, (min(low, value), max(high, value)))


def row(metric: str, value: float, ends: tuple[float, float] = (math.nan, math.nan)) -> Row:
    """Return the cells of a value with its unit and interval. An end that is not finite is empty."""
    low, high = (end if math.isfinite(end) else None for end in ends)
    return {"metric": metric, "value": value, "unit": METRICS[metric].unit, "ci_low": low, "ci_high": high}
