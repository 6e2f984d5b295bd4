"""Corruption error, mCE and relative mCE: errors divided by a baseline's, in percent (arXiv:1903.12261, section 4).

Errors may have leading axes, for example of resamples. The baseline is a constant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats

__all__ = ["ce", "mce", "relative_mce"]


def ce(errors: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return 100 times the mean of `errors` (..., severities), divided by the mean of `baseline` (severities,), which is not 0.

    `baseline` is (1,) if only its mean was published.
    """
    return np.asarray(100 * (_mean(errors) / _mean(baseline)))


def mce(errors: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return the mean of ce over `errors` (..., corruptions, severities), with the `baseline` (corruptions, severities)."""
    return np.asarray(np.mean(ce(errors, baseline), axis=-1))


def relative_mce(errors: ArrayLike, clean: ArrayLike, baseline: ArrayLike, baseline_clean: float) -> Floats:
    """Return 100 times the mean over the corruptions of the increase over the clean error, divided by the baseline's increase.

    Args:
        errors: Errors, (..., corruptions, severities).
        clean: Clean error, (...).
        baseline: Errors of the baseline, (corruptions, severities). The mean of each corruption exceeds `baseline_clean`.
        baseline_clean: Clean error of the baseline.
    """
    increase = _mean(errors) - np.asarray(clean)[..., None]
    return np.asarray(100 * np.mean(increase / (_mean(baseline) - baseline_clean), axis=-1))


def _mean(values: ArrayLike) -> Floats:
    return np.asarray(np.asarray(values, np.float64).mean(axis=-1))
