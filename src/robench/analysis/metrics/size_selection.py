"""Selection of an input size for every image: an oracle, random selection, and a cascade that exits when it is confident."""

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
    """Return accuracy and cost by sample, (k, n) each, of the cheapest correct size among the first 1..k.

    A sample that no size classifies correctly has the cheapest one. Source: arXiv:1703.09844, anytime prediction.

    Args:
        right: Whether each of k ascending sizes is right, (k, n).
        cost: Cost of a sample at each size, (k,).
    """
    is_right = np.asarray(right, bool)
    costs = np.asarray(cost, np.float64)
    reached = np.logical_or.accumulate(is_right, axis=0)
    first = is_right.argmax(axis=0)
    paid = np.where(reached, costs[first][None], costs[0])
    return reached.astype(np.float64), paid


def random_accuracy(reached: ArrayLike, accuracy: ArrayLike) -> Floats:
    """Return the accuracy (..., k) of randomly assigned sizes, each with the share of samples that an oracle gives it.

    Its costs equal those of the oracle, because the shares are the same.

    Args:
        reached: Accuracy of the oracle with the first 1..k sizes, (..., k).
        accuracy: Accuracy of each size alone, (..., k).
    """
    right, alone = np.asarray(reached, np.float64), np.asarray(accuracy, np.float64)
    share = np.diff(right, axis=-1, prepend=right[..., :1])  # The first size takes the rest.
    return np.asarray(alone[..., :1] + (share * (alone - alone[..., :1])).cumsum(axis=-1))


def exit_shares(ratio: float, sizes: int) -> Floats:
    """Return the shares of the samples that exit at each size, (sizes,): a geometric series, as in arXiv:1703.09844.

    Args:
        ratio: 0 for all at the first size, 1/2 for equal shares, 1 for all at the last size.
        sizes: Number of sizes.
    """
    rank = np.arange(sizes, dtype=np.float64)
    shares = ratio**rank * (1 - ratio) ** rank[::-1]
    return np.asarray(shares / shares.sum())


def exit_thresholds(confidence: ArrayLike, shares: ArrayLike) -> Floats:
    """Return the confidence at which a sample exits, for all sizes but the last, (k-1,). No label is used.

    The threshold is 0 if all remaining samples exit or none remain, and infinity if none exits. Samples of equal confidence exit
    together, and the next size compensates.

    Args:
        confidence: Confidences of the calibration samples, (k, n).
        shares: Approximate shares of the samples that exit at each size, (k,).
    """
    confidences, target = np.asarray(confidence, np.float64), np.asarray(shares, np.float64)
    samples = confidences.shape[1]
    remaining = np.arange(samples)
    thresholds = np.empty(len(confidences) - 1)
    for size in range(len(thresholds)):
        exits = len(remaining) - round(samples * float(target[size + 1 :].sum()))
        if exits >= len(remaining):
            thresholds[size] = 0.0
        elif exits <= 0:
            thresholds[size] = np.inf
        else:
            thresholds[size] = np.sort(confidences[size, remaining])[-exits]
        remaining = remaining[confidences[size, remaining] < thresholds[size]]
    return thresholds


def cascade(confidence: ArrayLike, thresholds: ArrayLike) -> Ints:
    """Return the rank of the first size whose confidence reaches its threshold, by sample, (n,).

    Args:
        confidence: Confidences at k ascending sizes, (k, n).
        thresholds: Thresholds, (k-1,). The last size takes all remaining samples.
    """
    confident = np.asarray(confidence, np.float64)[:-1] >= np.asarray(thresholds, np.float64)[:, None]
    last = np.ones((1, confident.shape[1]), bool)
    return np.asarray(np.concatenate([confident, last]).argmax(axis=0), np.int64)


def accuracy_at_cost(cost: ArrayLike, accuracy: ArrayLike, budget: float) -> float:
    """Return the accuracy of a curve of points (k,) at a mean cost, linear between them.

    A random mixture of two neighbouring points lies between them. A curve that ends below the budget keeps its last accuracy.
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
    rank = int(enough.argmax())
    if rank == 0:
        return float(paid[0])
    share = (level - reached[rank - 1]) / (reached[rank] - reached[rank - 1])
    return float(paid[rank - 1] + share * (paid[rank] - paid[rank - 1]))
