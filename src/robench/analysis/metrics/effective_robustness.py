"""Effective robustness: accuracy above what the clean accuracy predicts (Taori et al. 2020, arXiv:2007.00644).

Published models lie near a line if both accuracies are on the logit scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats

__all__ = ["effective_robustness", "logit_fit", "predicted_accuracy"]


def logit_fit(clean: ArrayLike, accuracy: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line of logit(`accuracy`) by logit(`clean`), both (models,).

    Models with an accuracy of exactly 0 or 1 have no finite logit and are left out.
    """
    both = np.stack([np.asarray(clean, np.float64), np.asarray(accuracy, np.float64)])
    x, y = _logit(both[:, ((both > 0) & (both < 1)).all(axis=0)])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def predicted_accuracy(clean: ArrayLike, slope: float, intercept: float) -> Floats:
    """Return the accuracies that a fit predicts for clean accuracies, of any shape; 0 gives 0 and 1 gives 1."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-(slope * _logit(np.asarray(clean, np.float64)) + intercept))))


def effective_robustness(clean: ArrayLike, accuracy: ArrayLike, slope: float, intercept: float) -> Floats:
    """Return the accuracies minus those that a fit predicts for the clean accuracies, as fractions from -1 to 1.

    Args:
        clean: Accuracies on the clean images, of any shape.
        accuracy: Accuracies on the shifted images, of the same shape.
        slope: Slope of `logit_fit`, above 0.
        intercept: Its intercept.
    """
    return np.asarray(np.asarray(accuracy, np.float64) - predicted_accuracy(clean, slope, intercept))


def _logit(rate: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(rate) - np.log1p(-rate))
