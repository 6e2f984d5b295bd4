"""Error rates of predictions, over all images, cells or classes.

`counts` (..., n) says how often each of the n samples is taken: None for once each (the figure itself), the rows of
`statistics.resample_counts` for its bootstrap distribution.
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
    """Return the fraction of samples with another `pred` (..., n) than `label` (n,); a pred of -1 is wrong."""
    return _rate(np.not_equal(pred, label), counts)


def accuracy(pred: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples whose `pred` (..., n) is the `label` (n,)."""
    return _rate(np.equal(pred, label), counts)


def top5_error(top5: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples whose `label` (n,) is not in `top5` (..., n, k); k < 5 where there are fewer classes."""
    return _rate(top5_wrong(top5, label), counts)


def top5_wrong(top5: ArrayLike, label: ArrayLike) -> NDArray[np.bool_]:
    """Return for each sample whether its `label` (n,) is missing from its `top5` (..., n, k)."""
    missing: NDArray[np.bool_] = np.not_equal(top5, np.asarray(label)[:, None]).all(axis=-1)
    return missing


def nonfinite_rate(pred: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Return the fraction of samples without a prediction, `pred` (..., n) of -1, because a logit is NaN or infinite."""
    return _rate(np.less(pred, 0), counts)


def mean_error(errors: ArrayLike) -> Floats:
    """Return the unnormalised mean of `errors` (..., cells)."""
    return np.asarray(np.asarray(errors, np.float64).mean(axis=-1))


def class_error(pred: ArrayLike, label: ArrayLike, counts: ArrayLike | None = None) -> tuple[Ints, Floats]:
    """Return the classes that have samples (k,) and the error rate of each (..., k).

    pred, label: (n,).  NaN where `counts` take no sample of the class.
    """
    pred, label = np.asarray(pred), np.asarray(label)
    classes = ByClass.of(label)
    taken = np.ones(len(label), np.int64) if counts is None else np.asarray(counts)
    taken = np.moveaxis(taken[..., classes.order], -1, 0)
    wrong = classes.sums(taken, (pred != label)[classes.order])
    return classes.classes, np.moveaxis(class_rates(wrong, classes.sums(taken)), 0, -1)


def worst_class_error(errors: ArrayLike) -> Floats:
    """Return the largest of the class errors (..., k), leaving out classes without samples (NaN)."""
    return np.asarray(np.fmax.reduce(np.asarray(errors, np.float64), axis=-1))


@dataclass(frozen=True)
class ByClass:
    """Samples in the order of their class, so that sums over classes are sums over slices.

    classes: (k,) those that have samples.  order: (n,) positions of the samples, by class.  starts: (k,) where each begins.
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
        """Sum `counts` (n, ...) over each class: (k, ...); of the `chosen` (n,) samples only. Both in `order`."""
        if chosen is None:
            return np.asarray(np.add.reduceat(counts, self.starts, axis=0, dtype=counts.dtype))
        kept = np.flatnonzero(chosen)
        starts = np.searchsorted(kept, self.starts)
        # reduceat gives an element, not 0, for an empty slice: only classes with a chosen sample are summed.
        filled = np.diff(starts, append=len(kept)) > 0
        sums = np.zeros((len(self.classes), *counts.shape[1:]), counts.dtype)
        if len(kept):
            sums[filled] = np.add.reduceat(counts[kept], starts[filled], axis=0, dtype=counts.dtype)
        return sums


def class_rates(wrong: NDArray[Any], totals: NDArray[Any]) -> Floats:
    """Divide, with NaN where the total is 0: no sample, no rate."""
    rates = np.full(np.broadcast_shapes(wrong.shape, totals.shape), np.nan)
    np.divide(wrong, totals, out=rates, where=totals > 0)
    return rates


def _rate(hit: NDArray[np.bool_], counts: ArrayLike | None) -> Floats:
    if counts is None:
        return np.asarray(np.count_nonzero(hit, axis=-1) / hit.shape[-1])
    taken = np.asarray(counts)
    return np.asarray((taken * hit).sum(axis=-1) / taken.sum(axis=-1))
