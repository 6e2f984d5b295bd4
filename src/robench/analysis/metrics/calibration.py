"""Calibration: the gap of confidence and accuracy, in bins of equal width (ECE) and of equally many samples (RMS).

Confidences are float32. At the size of ImageNet, float64 holds sums of their differences from 0 and 1 exactly: they are multiples of
2**-34 below 2**16. Values do not depend on the order of the addition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = ["ECE_BINS", "RMS_BIN_SIZE", "Reliability", "adaptive_ece", "ece", "rms_calibration_error"]

ECE_BINS = 15
RMS_BIN_SIZE = 100

_CHUNK = 65536
"""Values processed at a time, so that the working set fits in the processor's cache."""


def ece(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the expected calibration error: the mean over samples of |mean confidence - accuracy| of their bin.

    There are fifteen bins of confidence (k/15, (k+1)/15]; the first one includes 0.

    Args:
        confidence: Probabilities of the predicted classes, (n,).
        correct: Whether each prediction is right, (n,).
        weights: Number of times that each sample is taken, (..., n), with sum n in each row; None for once.
    """
    return _errors(confidence, correct, weights)[0]


def rms_calibration_error(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the root of the mean over samples of the squared (mean confidence - accuracy) of their bin.

    Bins have 100 samples in ascending order of confidence; ties have the order of the samples. The remainder is a smaller last bin,
    with its own size as weight. The published script merges it into the bin before, and then omits that bin.

    Args:
        confidence: Probabilities of the predicted classes, (n,).
        correct: Whether each prediction is right, (n,).
        weights: As in `ece`. Copies of a sample are adjacent.
    """
    return _errors(confidence, correct, weights)[1]


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the mean over samples of |mean confidence - accuracy| of their bin, with fifteen bins of equally many samples.

    The samples are in ascending order of confidence; ties have the order of the samples. The first bins have one sample more if
    fifteen does not divide their number.

    Args:
        confidence: Probabilities of the predicted classes, (n,).
        correct: Whether each prediction is right, (n,).
        weights: As in `ece`. Copies of a sample are adjacent.
    """
    return _errors(confidence, correct, weights)[2]


@dataclass(frozen=True)
class Reliability:
    """Samples in order of confidence, sorted once for all resamples.

    Attributes:
        order: Positions by ascending confidence, ties by position, (n,).
        confidence: Confidences in that order, (n,).
        gap: Confidence, minus 1 if correct, in that order, (n,).
        edges: Ends of the bins of equal width in that order, (16,).
    """

    order: NDArray[np.intp]
    confidence: Floats
    gap: Floats
    edges: NDArray[np.intp]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike) -> Reliability:
        """Sort `confidence` (n,) and `correct` (n,)."""
        probability = np.asarray(confidence, np.float64)
        order = np.argsort(probability, kind="stable")
        bins = np.clip(np.ceil(probability[order] * ECE_BINS) - 1, 0, ECE_BINS - 1)
        gap = (probability - np.asarray(correct, np.float64))[order]
        return cls(order, probability[order], gap, np.searchsorted(bins, np.arange(ECE_BINS + 1)))

    def bins(self) -> list[tuple[int, float, float]]:
        """Return (samples, mean confidence, accuracy) of each bin of equal width; NaN for an empty bin."""
        bins = []
        for start, end in zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True):
            size = end - start
            confidence = float(self.confidence[start:end].mean()) if size else math.nan
            bins.append((size, confidence, confidence - float(self.gap[start:end].mean()) if size else math.nan))
        return bins

    def errors(self, counts: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Return ECE, RMS calibration error and adaptive ECE, (r,) each, of samples that are taken `counts` (r, n) times.

        The sum of each row is n.
        """
        n, step = len(self.order), max(1, _CHUNK // len(self.order))
        ends = np.minimum(np.arange(RMS_BIN_SIZE, n + RMS_BIN_SIZE, RMS_BIN_SIZE), n)
        sizes = np.diff(ends, prepend=0)
        adaptive = np.cumsum([len(part) for part in np.array_split(self.order, ECE_BINS)])
        expected, rms, equal = np.empty(len(counts)), np.empty(len(counts)), np.empty(len(counts))
        for start in range(0, len(counts), step):
            part = slice(start, start + step)
            taken = np.take(counts[part], self.order, axis=1, mode="clip")
            below = np.zeros((len(taken), n + 1))
            np.cumsum(taken * self.gap, axis=1, out=below[:, 1:])
            expected[part] = np.abs(np.diff(below[:, self.edges], axis=1)).sum(axis=1) / n
            # Every row ends at a multiple of n, so that one ascending list holds the ends of the bins of all rows.
            reached = np.cumsum(taken, dtype=np.int64)
            rms[part] = np.sqrt((self._gaps(below, reached, ends) ** 2 / sizes).sum(axis=1) / n)
            equal[part] = np.abs(self._gaps(below, reached, adaptive)).sum(axis=1) / n
        return expected, rms, equal

    def _gaps(self, below: Floats, reached: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
        """Return the sum of the gaps of each bin, (r, bins), from the sums of all rows.

        Args:
            below: Sum of the gaps of the first samples, (r, n + 1).
            reached: Number of copies up to each sample, over all rows together, (r * n,).
            ends: Number of copies up to the end of each bin, (bins,).
        """
        rows, n = len(below), len(self.order)
        target = (n * np.arange(rows)[:, None] + ends).ravel()
        sample = np.searchsorted(reached, target)
        row, column = sample // n, sample % n
        # A sample that is taken several times may cross the end of a bin. Its further copies belong to the next bin.
        sums = below[row, column + 1] - (reached[sample] - target) * self.gap[column]
        return np.diff(sums.reshape(rows, -1), prepend=0.0, axis=1)


def _errors(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None) -> list[Floats]:
    reliability = Reliability.of(confidence, correct)
    n = len(reliability.order)
    counts = np.ones(n, np.int64) if weights is None else np.asarray(weights)
    return [errors.reshape(counts.shape[:-1]) for errors in reliability.errors(counts.reshape(-1, n))]
