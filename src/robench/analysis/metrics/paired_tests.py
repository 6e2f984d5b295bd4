"""Tests of a change between two models on the same images, exact and by bootstrap, and Holm's correction.

A larger change is worse. A p-value is the probability of a change at least as large if the true change is at its limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from robench.analysis.metrics.intervals import QUANTILE
from robench.types import Floats

__all__ = ["bootstrap_error", "holm", "interval_error", "mcnemar", "normal_tail", "paired_score"]

_NORMAL = NormalDist()


def mcnemar(worse: int, better: int, *, two_sided: bool = False) -> float:
    """Return McNemar's exact p-value, the tail of Binomial(worse + better, 1/2); 1 if nothing changed.

    Under the null hypothesis, a changed image is lost or gained with equal probability. The one-sided value is small if more are
    lost. Source: McNemar 1947, Psychometrika 12:153.

    Args:
        worse: Number of images that only the first model classifies correctly.
        better: Number of images that only the second model classifies correctly.
        two_sided: Whether to test a change in either direction.
    """
    if two_sided:
        return min(1.0, 2 * _upper_tail(max(worse, better), worse + better))
    return _upper_tail(worse, worse + better)


def _upper_tail(k: int, n: int) -> float:
    """Return P(X >= k) of X ~ Binomial(n, 1/2)."""
    if k <= 0:
        return 1.0
    if 2 * k <= n:  # Sum the tail whose terms shrink.
        return 1.0 - _upper_tail(n - k + 1, n)
    counts = np.arange(k, n, dtype=np.float64)
    first = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    return first * (1 + float(np.cumprod((n - counts) / (counts + 1)).sum()))


def paired_score(worse: int, better: int, n: int, limit: float) -> float:
    """Return Tango's score z of the change (worse - better) / n of paired rates against `limit`, a fraction in (-1, 1).

    It is finite even if no image changed, unlike the bootstrap, whose width is then 0.
    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    linear = (2 * n - worse + better) * limit - worse - better
    shared = (math.sqrt(linear**2 + 8 * n * better * limit * (1 - limit)) - linear) / (4 * n)
    variance = n * (2 * shared + limit * (1 - limit))
    return (worse - better - n * limit) / math.sqrt(variance) if variance > 0 else 0.0


def bootstrap_error(resamples: ArrayLike) -> float:
    """Return the standard error of a value from its `resamples`. Those in which it does not exist (NaN) do not count."""
    values = np.asarray(resamples, np.float64)
    values = values[np.isfinite(values)]
    return float(values.std()) if len(values) else math.nan


def interval_error(low: float, high: float) -> float:
    """Return the standard error of a normal 95 % interval: half its width, divided by 1.96."""
    return (high - low) / (2 * QUANTILE)


def normal_tail(excess: float, error: float, least: float = 0.0) -> float:
    """Return the p-value of an `excess` over a limit with a standard error: the normal tail, but at least `least`.

    The share of 1,000 resamples beyond the limit is never between 0 and 1/1000. Holm's correction over many comparisons needs
    such p-values.
    """
    if error > 0:
        return max(least, _NORMAL.cdf(-excess / error))
    return max(least, 0.0) if excess > 0 else 1.0


def holm(p: Sequence[float]) -> Floats:
    """Return p-values corrected for multiple tests, in the given order. Source: Holm 1979, Scand. J. Statist. 6:65."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return corrected
