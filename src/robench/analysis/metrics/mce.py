"""Corruption error, mCE and relative mCE: errors divided by a baseline's, in percent (arXiv:1903.12261, section 4).

The errors may have leading axes, for example of resamples; the baseline is a constant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats

__all__ = ["ce", "mce", "relative_mce"]


def ce(errors: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return 100 times the mean of `errors` (..., severities) by the mean of `baseline` (severities,), which is not 0.

    Where only the baseline's mean was published, `baseline` is that alone: (1,).
    """
    return np.asarray(100 * (_mean(errors) / _mean(baseline)))


def mce(errors: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return the mean over the corruptions of ce; errors (..., corruptions, severities), baseline without leading axes."""
    return np.asarray(np.mean(ce(errors, baseline), axis=-1))


def relative_mce(errors: ArrayLike, clean: ArrayLike, baseline: ArrayLike, baseline_clean: float) -> Floats:
    """Return 100 times the mean over the corruptions of what each costs over `clean` (...), by what it costs the baseline.

    errors (..., corruptions, severities), baseline (corruptions, severities); no corruption may cost the baseline nothing.
    """
    cost = _mean(errors) - np.asarray(clean)[..., None]
    return np.asarray(100 * np.mean(cost / (_mean(baseline) - baseline_clean), axis=-1))


def _mean(values: ArrayLike) -> Floats:
    return np.asarray(np.asarray(values, np.float64).mean(axis=-1))
