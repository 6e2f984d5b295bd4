"""Error rates of predictions, over all images, cells or classes.

Every `counts` (..., n) is the number of times that each of n samples is taken. None takes each once, for the value itself. Rows of
`intervals.resample_counts` give its bootstrap distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats, Ints

__all__ = [
    "ByClass",
    "accuracy",
    "balanced_accuracy",
    "class_error",
    "class_rates",
    "error_rate",
    "mean_error",
    "nonfinite_rate",
    "top5_error",
    "top5_wrong",
    "worst_class_error",
]


def error_rate(pred: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples whose `pred` (..., n) is not the `label` (n,). A pred of -1 is wrong."""
    return _rate(np.not_equal(pred, label), counts)


def accuracy(pred: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples whose `pred` (..., n) is the `label` (n,)."""
    return _rate(np.equal(pred, label), counts)


def top5_error(top5: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples whose `label` (n,) is not in `top5` (..., n, k). k < 5 if there are fewer classes."""
    return _rate(top5_wrong(top5, label), counts)


def top5_wrong(top5: ArrayLike, label: ArrayLike) -> NDArray[np.bool_]:
    """Return whether the `label` (n,) of each sample is missing from its `top5` (..., n, k)."""
    missing: NDArray[np.bool_] = np.not_equal(top5, np.asarray(label)[:, None]).all(axis=-1)
    return missing


def nonfinite_rate(pred: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples without a prediction, `pred` (..., n) of -1, because a logit is NaN or infinite."""
    return _rate(np.less(pred, 0), counts)


def mean_error(errors: ArrayLike) -> Floats:
    """Return the unnormalised mean of `errors` (..., cells)."""
    return np.asarray(np.asarray(errors, np.float64).mean(axis=-1))


def class_error(pred: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> tuple[Ints, Floats]:
    """Return the classes that have samples, (k,), and the error rate of each, (..., k).

    The rate is NaN if `counts` take no sample of the class.

    Args:
        pred: Predicted classes, (n,).
        label: True classes, (n,).
        counts: Number of times that each sample is taken, (..., n); None for once.
    """
    pred, label = np.asarray(pred), np.asarray(label)
    classes = ByClass.of(label)
    taken = np.ones(len(label), np.int64) if counts is None else np.asarray(counts)
    taken = np.moveaxis(taken[..., classes.order], -1, 0)
    wrong = classes.sums(taken, (pred != label)[classes.order])
    return classes.classes, np.moveaxis(class_rates(wrong, classes.sums(taken)), 0, -1)


def worst_class_error(errors: ArrayLike) -> Floats:
    """Return the largest class error (..., k). Classes without samples (NaN) do not count."""
    return np.asarray(np.fmax.reduce(np.asarray(errors, np.float64), axis=-1))


def balanced_accuracy(errors: ArrayLike) -> Floats:
    """Return 1 minus the mean of the class errors (..., k). Classes without samples (NaN) do not count."""
    return np.asarray(1 - np.nanmean(np.asarray(errors, np.float64), axis=-1))


@dataclass(frozen=True)
class ByClass:
    """Samples in the order of their class, so that sums over classes are sums over slices.

    Attributes:
        classes: Classes that have samples, (k,).
        order: Positions of the samples by class, (n,).
        starts: First index in `order` of each class, (k,).
    """

    classes: Ints
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, label: NDArray[Any]) -> ByClass:
        """Group samples by `label` (n,)."""
        order = np.argsort(label, kind="stable")
        classes, starts = np.unique(label[order], return_index=True)
        return cls(classes.astype(np.int64), order, starts)

    @property
    def sizes(self) -> Ints:
        """Number of samples of each class, (k,)."""
        return np.diff(self.starts, append=len(self.order)).astype(np.int64)

    def sums(self, counts: NDArray[Any], chosen: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Sum `counts` (n, ...) over each class, (k, ...), of the `chosen` (n,) samples only. Both are in `order`."""
        if chosen is None:
            return np.asarray(np.add.reduceat(counts, self.starts, axis=0, dtype=counts.dtype))
        positions = np.flatnonzero(chosen)
        starts = np.searchsorted(positions, self.starts)
        # For an empty slice, reduceat returns an element, not 0. Only classes with a chosen sample are summed.
        filled = np.diff(starts, append=len(positions)) > 0
        sums = np.zeros((len(self.classes), *counts.shape[1:]), counts.dtype)
        if len(positions):
            sums[filled] = np.add.reduceat(counts[positions], starts[filled], axis=0, dtype=counts.dtype)
        return sums


def class_rates(wrong: NDArray[Any], totals: NDArray[Any]) -> Floats:
    """Divide `wrong` by `totals`, with NaN for a total of 0."""
    rates = np.full(np.broadcast_shapes(wrong.shape, totals.shape), np.nan)
    np.divide(wrong, totals, out=rates, where=totals > 0)
    return rates


def _rate(hit: NDArray[np.bool_], counts: ArrayLike | None) -> Floats:
    if counts is None:
        return np.asarray(np.count_nonzero(hit, axis=-1) / hit.shape[-1])
    taken = np.asarray(counts)
    return np.asarray((taken * hit).sum(axis=-1) / taken.sum(axis=-1))
