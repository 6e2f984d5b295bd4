"""Rows of the results: a figure with its interval, from its bootstrap distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics import METRICS
from robench.analysis.metrics.intervals import RESAMPLES, percentile_interval, resample_counts, wilson_interval
from robench.types import Floats

__all__ = ["DISTRIBUTION", "DISTRIBUTION_SIZE", "Row", "resample_weights", "result_row", "row", "threshold_row"]

Row = dict[str, Any]

DISTRIBUTION = "distribution"
"""What a row holds beside the columns of the results: its figure and resamples (1 + resamples,), where it has them."""

DISTRIBUTION_SIZE = 1 + RESAMPLES
"""Length of a distribution: the figure itself, then its resamples."""


def resample_weights(n: int, seed: int) -> Iterator[tuple[slice, NDArray[np.int32]]]:
    """Yield which resamples, and how often each takes each of n samples (r, n); the first takes every sample once."""
    yield slice(0, 1), np.ones((1, n), np.int32)
    start = 1
    for counts in resample_counts(n, seed):
        yield slice(start, start + len(counts)), counts
        start += len(counts)


def result_row(metric: str, distribution: Floats, images: int | None = None) -> Row:
    """A row's figure from (1 + resamples,); images: how many a single rate is over, for where it is 0 or 1."""
    value = float(distribution[0])
    if images is not None and value in (0.0, 1.0):
        ends = wilson_interval(round(value * images), images)
    else:
        low, high = percentile_interval(distribution[1:])
        ends = float(low), float(high)
    return {**row(metric, value, ends), DISTRIBUTION: distribution}


def threshold_row(metric: str, distribution: Floats) -> Row:
    """A row's place on an axis where something is reached, from (1 + resamples,); where it never is (NaN) lies beyond all places."""
    ends = np.sort(np.where(np.isfinite(distribution[1:]), distribution[1:], np.inf))
    low, high = ends[round(0.025 * (len(ends) - 1))], ends[round(0.975 * (len(ends) - 1))]
    return row(metric, float(distribution[0]), (float(low), float(high)))


def row(metric: str, value: float, ends: tuple[float, float] = (math.nan, math.nan)) -> Row:
    """A row's metric, value, unit and interval; an end that is not finite is left empty."""
    low, high = (end if math.isfinite(end) else None for end in ends)
    return {"metric": metric, "value": value, "unit": METRICS[metric].unit, "ci_low": low, "ci_high": high}
