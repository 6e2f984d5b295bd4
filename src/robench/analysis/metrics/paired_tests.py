"""Two models on the same images: exact and bootstrap tests of a change for the worse, and Holm's correction.

A change is counted so that more is worse. Every p-value is of a chance as large if the true change were at its limit.
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
    """Return McNemar's exact p-value of `worse` images lost and `better` gained; one-sided, small where more are lost.

    Under the null hypothesis a changed image is lost or gained with equal chance: the tail of Binomial(worse + better, 1/2).
    1 where nothing changed. Source: McNemar 1947, Psychometrika 12:153.
    """
    if two_sided:
        return min(1.0, 2 * _upper_tail(max(worse, better), worse + better))
    return _upper_tail(worse, worse + better)


def _upper_tail(k: int, n: int) -> float:
    """P(X >= k) of X ~ Binomial(n, 1/2)."""
    if k <= 0:
        return 1.0
    if 2 * k <= n:  # Sum where the terms shrink.
        return 1.0 - _upper_tail(n - k + 1, n)
    places = np.arange(k, n, dtype=np.float64)
    first = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    return first * (1 + float(np.cumprod((n - places) / (places + 1)).sum()))


def paired_score(worse: int, better: int, n: int, limit: float) -> float:
    """Return z of the change (worse - better) / n against `limit`, a fraction in (-1, 1): Tango's score for paired rates.

    It has a finite value where no image changed, unlike the bootstrap, whose width is then 0.
    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    linear = (2 * n - worse + better) * limit - worse - better
    shared = (math.sqrt(linear**2 + 8 * n * better * limit * (1 - limit)) - linear) / (4 * n)
    variance = n * (2 * shared + limit * (1 - limit))
    return (worse - better - n * limit) / math.sqrt(variance) if variance > 0 else 0.0


def bootstrap_error(resamples: ArrayLike) -> float:
    """Return the standard error of a figure from its `resamples`, leaving out those in which it does not exist (NaN)."""
    values = np.asarray(resamples, np.float64)
    values = values[np.isfinite(values)]
    return float(values.std()) if len(values) else math.nan


def interval_error(low: float, high: float) -> float:
    """Return the standard error that a 95 % interval was made of: half its width by 1.96."""
    return (high - low) / (2 * QUANTILE)


def normal_tail(excess: float, error: float, least: float = 0.0) -> float:
    """Return the p-value of an `excess` over a limit with that standard error: the normal tail, not below `least`.

    The tail and not the share of resamples beyond the limit: a share of 1,000 is never below 1/1000, which Holm's
    correction over many comparisons needs.
    """
    if error > 0:
        return max(least, _NORMAL.cdf(-excess / error))
    return max(least, 0.0) if excess > 0 else 1.0


def holm(p: Sequence[float]) -> Floats:
    """Return p-values corrected for being several, in the given order. Source: Holm 1979, Scand. J. Statist. 6:65."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return corrected
