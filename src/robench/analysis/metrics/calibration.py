"""Calibration: how far confidence is from accuracy, in equal-width bins (ECE) and in bins of equally many samples (RMS).

Both need the samples in order of confidence only. Confidences are float32, so sums of their differences from 0 and 1 are
exact in float64 at the sizes of ImageNet (multiples of 2**-34, below 2**16): figures do not depend on the order of adding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = ["ECE_BINS", "RMS_BIN_SIZE", "Reliability", "ece", "rms_calibration_error"]

ECE_BINS = 15
RMS_BIN_SIZE = 100

_CHUNK = 65536
"""Values treated at a time: the working set stays in the processor's cache."""


def ece(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the expected calibration error: the mean over samples of their bin's |mean confidence - accuracy|.

    Fifteen bins (k/15, (k+1)/15] of confidence; 0 is in the first.
    confidence, correct: (n,).  weights: integer counts (..., n), each row with sum n; None for once each.
    """
    return _figure(confidence, correct, weights, 0)


def rms_calibration_error(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the root of the mean over samples of their bin's squared (mean confidence - accuracy).

    Bins of 100 samples in ascending order of confidence, ties in order of the samples; what is left over is a smaller last
    bin, with its own size as weight. (The published script merges it into the bin before, then leaves that out.)
    confidence, correct: (n,).  weights: integer counts (..., n), each row with sum n; copies of a sample stand together.
    """
    return _figure(confidence, correct, weights, 1)


@dataclass(frozen=True)
class Reliability:
    """Samples in order of confidence, sorted once for all resamples.

    order: (n,) positions, ascending, ties by position.  confidence: (n,) in that order.  gap: (n,) less 1 where correct.
    edges: (16,) where the bins of equal width begin and end, in that order.
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
        """Return (samples, mean confidence, accuracy) of each of the bins of equal width; NaN where one is empty."""
        found = []
        for start, end in zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True):
            size = end - start
            confidence = float(self.confidence[start:end].mean()) if size else math.nan
            found.append((size, confidence, confidence - float(self.gap[start:end].mean()) if size else math.nan))
        return found

    def errors(self, counts: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return ECE and RMS calibration error (r,) of samples taken `counts` (r, n) times; each row has the sum n."""
        n, step = len(self.order), max(1, _CHUNK // len(self.order))
        ends = np.minimum(np.arange(RMS_BIN_SIZE, n + RMS_BIN_SIZE, RMS_BIN_SIZE), n)
        sizes = np.diff(ends, prepend=0)
        expected, rms = np.empty(len(counts)), np.empty(len(counts))
        for start in range(0, len(counts), step):
            part = slice(start, start + step)
            taken = np.take(counts[part], self.order, axis=1, mode="clip")
            rows = len(taken)
            below = np.zeros((rows, n + 1))
            np.cumsum(taken * self.gap, axis=1, out=below[:, 1:])
            expected[part] = np.abs(np.diff(below[:, self.edges], axis=1)).sum(axis=1) / n
            # Every row ends at a multiple of n, so one ascending list serves all rows: where does each bin end?
            reached = np.cumsum(taken, dtype=np.int64)
            target = (n * np.arange(rows)[:, None] + ends).ravel()
            sample = np.searchsorted(reached, target)
            row, column = sample // n, sample % n
            # A sample taken several times may lie across a border: its copies beyond it belong to the next bin.
            sums = below[row, column + 1] - (reached[sample] - target) * self.gap[column]
            sums = np.diff(sums.reshape(rows, -1), prepend=0.0, axis=1)
            rms[part] = np.sqrt((sums**2 / sizes).sum(axis=1) / n)
        return expected, rms


def _figure(confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None, which: int) -> Floats:
    reliability = Reliability.of(confidence, correct)
    n = len(reliability.order)
    counts = np.ones(n, np.int64) if weights is None else np.asarray(weights)
    return reliability.errors(counts.reshape(-1, n))[which].reshape(counts.shape[:-1])
