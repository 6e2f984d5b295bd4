"""Choosing an input size for every image: an oracle, chance in its shares, a cascade that stops where it is sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats, Ints

__all__ = [
    "accuracy_at_cost",
    "cascade",
    "cost_at_accuracy",
    "exit_shares",
    "exit_thresholds",
    "oracle",
    "random_accuracy",
]


def oracle(right: ArrayLike, cost: ArrayLike) -> tuple[Floats, Floats]:
    """Return accuracy and mean cost per sample, (k, n) each, of choosing for every sample the cheapest of the first 1..k.

    right: (k, n) whether each of k ascending sizes is right.  cost: (k,) of one sample at each.
    A sample that none of them gets right is taken at the cheapest. Source: arXiv:1703.09844, anytime prediction.
    """
    found = np.asarray(right, bool)
    costs = np.asarray(cost, np.float64)
    reached = np.logical_or.accumulate(found, axis=0)
    first = found.argmax(axis=0)
    paid = np.where(reached, costs[first][None], costs[0])
    return reached.astype(np.float64), paid


def random_accuracy(reached: ArrayLike, accuracy: ArrayLike) -> Floats:
    """Return the accuracy (..., k) of sizes given out by chance, each in the share of the samples that an oracle gives it.

    reached: (..., k) what the oracle reaches with the first 1..k sizes, accuracy: (..., k) what each size reaches alone.
    The oracle's costs are its own too: the shares are the same.
    """
    right, alone = np.asarray(reached, np.float64), np.asarray(accuracy, np.float64)
    share = np.diff(right, axis=-1, prepend=right[..., :1])  # of the sizes after the first, which takes the rest
    return np.asarray(alone[..., :1] + (share * (alone - alone[..., :1])).cumsum(axis=-1))


def exit_shares(late: float, sizes: int) -> Floats:
    """Return which shares of the samples (sizes,) are to stop at each size: a geometric series, as in arXiv:1703.09844.

    late: 0 stops all at the first size, 1/2 as many at each, 1 all at the last.
    """
    place = np.arange(sizes, dtype=np.float64)
    shares = late**place * (1 - late) ** place[::-1]
    return np.asarray(shares / shares.sum())


def exit_thresholds(confidence: ArrayLike, shares: ArrayLike) -> Floats:
    """Return for all sizes but the last the confidence (k-1,) at which a sample stops, so that about those shares do.

    confidence: (k, n) of the samples that it is calibrated on.  shares: (k,).  No label plays a part.
    0 where all that are left are to stop, or none is left; infinity where none is to. Samples of equal confidence stop
    together; the next size makes up for it.
    """
    sure, wanted = np.asarray(confidence, np.float64), np.asarray(shares, np.float64)
    samples = sure.shape[1]
    left = np.arange(samples)
    thresholds = np.empty(len(sure) - 1)
    for size in range(len(thresholds)):
        stop = len(left) - round(samples * float(wanted[size + 1 :].sum()))
        if stop >= len(left):
            thresholds[size] = 0.0
        elif stop <= 0:
            thresholds[size] = np.inf
        else:
            thresholds[size] = np.sort(sure[size, left])[-stop]
        left = left[sure[size, left] < thresholds[size]]
    return thresholds


def cascade(confidence: ArrayLike, thresholds: ArrayLike) -> Ints:
    """Return at which of k ascending sizes each sample stops (n,): the first whose confidence reaches its threshold.

    confidence: (k, n).  thresholds: (k-1,); the last size takes what is left.
    """
    sure = np.asarray(confidence, np.float64)[:-1] >= np.asarray(thresholds, np.float64)[:, None]
    last = np.ones((1, sure.shape[1]), bool)
    return np.asarray(np.concatenate([sure, last]).argmax(axis=0), np.int64)


def accuracy_at_cost(cost: ArrayLike, accuracy: ArrayLike, budget: float) -> float:
    """Return the accuracy that a curve of points (k,) has at a mean cost, linear between them.

    Two neighbouring points mixed by chance are what lies between them. A curve that ends before the budget keeps its last accuracy.
    """
    order = np.argsort(cost, kind="stable")
    return float(np.interp(budget, np.asarray(cost, np.float64)[order], np.asarray(accuracy, np.float64)[order]))


def cost_at_accuracy(cost: ArrayLike, accuracy: ArrayLike, level: float) -> float:
    """Return the lowest mean cost at which a curve of points (k,) has an accuracy, linear between them; NaN if it never has."""
    order = np.argsort(cost, kind="stable")
    paid, reached = np.asarray(cost, np.float64)[order], np.asarray(accuracy, np.float64)[order]
    enough = reached >= level
    if not enough.any():
        return float("nan")
    at = int(enough.argmax())
    if at == 0:
        return float(paid[0])
    share = (level - reached[at - 1]) / (reached[at] - reached[at - 1])
    return float(paid[at - 1] + share * (paid[at] - paid[at - 1]))
