"""Budgeted batches of a network with several exits: a share of the images leaves at each exit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats, Ints

__all__ = ["BUDGETS", "budgeted_exits", "budgeted_shares", "budgeted_thresholds"]

BUDGETS = tuple(step / 20 for step in range(1, 40))
"""Operating points p; the shares of the images that leave at the exits are in proportion to p^k for the k-th exit."""


def budgeted_shares(p: float, exits: int) -> Floats:
    """Return the shares of the images that leave at each exit, (exits,). Source: arXiv:1703.09844, budgeted batches."""
    shares = p ** np.arange(1, exits + 1, dtype=np.float64)
    return np.asarray(shares / shares.sum())


def budgeted_thresholds(confidence: ArrayLike, shares: ArrayLike) -> Floats:
    """Return the confidence from which images leave, for all exits but the last, (k-1,). No label is used.

    The images that have not left before are sorted by confidence. The threshold of an exit is that of number floor(n * share);
    infinity if there is none.

    Args:
        confidence: Confidences of the calibration images, (k, n).
        shares: Shares of the images that leave at each exit, (k,).
    """
    confidences, target = np.asarray(confidence, np.float64), np.asarray(shares, np.float64)
    images = confidences.shape[1]
    thresholds = np.full(len(confidences) - 1, np.inf)
    has_left = np.zeros(images, bool)
    for rank in range(len(thresholds)):
        leaving = int(np.floor(images * target[rank]))
        left = np.sort(confidences[rank, ~has_left])[::-1]
        if 0 < leaving <= len(left):
            thresholds[rank] = left[leaving - 1]
        has_left |= confidences[rank] >= thresholds[rank]
    return thresholds


def budgeted_exits(confidence: ArrayLike, first: ArrayLike) -> Ints:
    """Return the rank of the exit of each image at each of `BUDGETS`, (39, n); thresholds are of the other half.

    Args:
        confidence: Confidences at each exit, (k, n).
        first: Whether an image is in the first half, (n,).
    """
    confidences, in_first = np.asarray(confidence, np.float64), np.asarray(first, bool)
    exits = np.empty((len(BUDGETS), confidences.shape[1]), np.int64)
    for point, p in enumerate(BUDGETS):
        shares = budgeted_shares(p, len(confidences))
        for half in (in_first, ~in_first):
            thresholds = budgeted_thresholds(confidences[:, ~half], shares)
            leaves = confidences[:-1, half] >= thresholds[:, None]
            exits[point, half] = np.concatenate([leaves, np.ones((1, leaves.shape[1]), bool)]).argmax(axis=0)
    return exits
