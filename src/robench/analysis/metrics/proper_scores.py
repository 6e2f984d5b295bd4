"""Proper scores of probabilities, sample by sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats

__all__ = ["LEAST_PROBABILITY", "brier", "nll"]

LEAST_PROBABILITY = 2.0**-149
"""Smallest positive float32. A probability that float32 rounds to 0 counts as this one, and costs 103.3 nats."""


def nll(prob_label: ArrayLike) -> Floats:
    """Return the negative log-likelihood in nats of each sample, from the probability of its true class (...)."""
    probability = np.asarray(prob_label, np.float64)
    return np.asarray(-np.log(np.maximum(probability, LEAST_PROBABILITY)))


def brier(prob_label: ArrayLike, sum_p2: ArrayLike) -> Floats:
    """Return the Brier score of each sample, 0 to 2: the squared distance of all probabilities to 1 for the true class, else 0.

    Args:
        prob_label: Probability of the true class, (...).
        sum_p2: Sum over the classes of the squared probabilities, (...).
    """
    return np.asarray(1 - 2 * np.asarray(prob_label, np.float64) + np.asarray(sum_p2, np.float64))
