"""Influence of each sample on calibration, selective prediction and balanced accuracy: their first-order expansions.

The influence of a sample is the derivative of a metric in the sample's weight, minus the mean of these derivatives. Bins of
calibration errors are held fixed. A resample then changes the metric by the mean influence of its samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.calibration import ECE_BINS, RMS_BIN_SIZE, Reliability
from robench.analysis.metrics.classification import ByClass
from robench.analysis.metrics.selective import COVERAGE, RiskCoverage
from robench.types import Floats

__all__ = ["balanced_influence", "calibration_influences", "selective_influences"]

_NEAR = 0.05
"""Share of the samples on each side of a coverage whose error rate counts as that at the coverage."""


def calibration_influences(reliability: Reliability) -> Mapping[str, Floats]:
    """Return the influence of each sample on the calibration errors by metric, (n,) each."""
    n, gap = len(reliability.order), reliability.gap
    adaptive = np.cumsum([0, *(len(part) for part in np.array_split(reliability.order, ECE_BINS))])
    blocks = np.append(np.arange(0, n, RMS_BIN_SIZE), n)
    found = {}
    for metric, edges in (("ece", reliability.edges), ("adaptive_ece", adaptive)):
        sums, sizes = _bins(gap, edges)
        found[metric] = np.repeat(np.sign(sums), sizes) * gap - np.abs(sums).sum() / n
    sums, sizes = _bins(gap, blocks)
    means = sums / np.maximum(sizes, 1)
    squared = float((sums * means).sum() / n)
    own = np.repeat(means, sizes)
    change = 2 * own * gap - own**2 - squared
    found["rms_calibration_error"] = change / (2 * np.sqrt(squared)) if squared else np.zeros(n)
    return {metric: _in_order(values, reliability.order) for metric, values in found.items()}


def selective_influences(ranking: RiskCoverage) -> Mapping[str, Floats]:
    """Return the influence of each sample on metrics of selective prediction by metric, (n,) each.

    The coverage at a risk has none: it jumps from one error to the next.
    """
    n = len(ranking.order)
    wrong = ranking.wrong.astype(np.float64)
    ends = np.append(ranking.starts[1:], n)
    sizes = ends - ranking.starts
    # Samples of equal confidence share their error rate and the middle of their ranks.
    rate = np.repeat(np.add.reduceat(wrong, ranking.starts) / sizes, sizes)
    harmonic, risks, errors = (np.cumsum(one) for one in (1 / np.arange(1, n + 1), rate / np.arange(1, n + 1), rate))

    def shared(values: Floats) -> Floats:
        return np.repeat(np.add.reduceat(values, ranking.starts) / sizes, sizes)

    aurc = (harmonic[-1] - shared(harmonic)) * wrong - (risks[-1] - shared(risks))
    augrc = wrong * (1 - shared(np.arange(1, n + 1) / n)) + shared(errors) / n
    kept, near = COVERAGE * n, max(1, round(_NEAR * n))
    place = min(int(kept), n - 1)
    there = float(rate[max(place - near, 0) : place + near].mean())
    part = shared(np.clip(kept - np.arange(n), 0, 1))
    found = {"aurc": aurc, "augrc": augrc, "risk_at_coverage_80": part * (wrong - there) / COVERAGE}
    return {metric: _in_order(values - values.mean(), ranking.order) for metric, values in found.items()}


def balanced_influence(by_class: ByClass, wrong: NDArray[np.bool_]) -> Floats:
    """Return the influence of each sample on the balanced accuracy, (n,), from whether its prediction is `wrong` (n,)."""
    sizes, right = by_class.sizes, (~wrong[by_class.order]).astype(np.float64)
    accuracy = np.add.reduceat(right, by_class.starts) / sizes
    values = (right - np.repeat(accuracy, sizes)) * len(wrong) / (len(sizes) * np.repeat(sizes, sizes))
    return _in_order(values, by_class.order)


def _bins(gap: Floats, edges: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the sum of the gaps of each bin, and its size."""
    below = np.concatenate([[0.0], np.cumsum(gap)])
    return np.diff(below[edges]), np.diff(edges)


def _in_order(values: Floats, order: NDArray[np.intp]) -> Floats:
    """Return values that are in `order` in the order of the samples."""
    placed = np.empty(len(values))
    placed[order] = values
    return placed
