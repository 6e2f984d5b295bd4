"""Difference of a metric between two sets of results, with its tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robench.analysis.comparison.paired_records import distributions, wrong_images
from robench.analysis.comparison.results_set import Key, ResultRow, ResultsSet
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.intervals import QUANTILE, bootstrap_interval
from robench.analysis.metrics.paired_tests import bootstrap_error, mcnemar, normal_tail, paired_score
from robench.types import Floats

__all__ = ["Method", "PairedDifference", "compare_pairs"]

Method: TypeAlias = Literal["mcnemar", "score", "paired bootstrap", "intervals"]


@dataclass(frozen=True)
class PairedDifference:
    """The change of a metric, run - base, in the metric's unit, with the data for its tests.

    Attributes:
        run: The row of the run.
        base: The row of the baseline.
        ci_low: Lower end of the 95 % interval of the change; NaN if a row has no interval.
        ci_high: Upper end of the same interval.
        images: Number of images, at least 1.
        counts: Numbers of images that only the run has wrong, that only the baseline has wrong, and of all images.
            None unless the metric is a rate of the same images.
        resamples: Resamples of run and baseline over the same samples, (2, resamples); None without records.
        errors: Standard errors of run and baseline; NaN if unknown.
    """

    run: ResultRow
    base: ResultRow
    ci_low: float
    ci_high: float
    images: int
    counts: tuple[int, int, int] | None = None
    resamples: Floats | None = None
    errors: tuple[float, float] = (math.nan, math.nan)

    @property
    def change(self) -> float:
        """Run - base."""
        return self.run.value - self.base.value

    @property
    def sign(self) -> int:
        """1 if a larger value is worse, -1 if it is better."""
        return -1 if METRICS[self.run.key.metric].higher_is_better else 1

    @property
    def testable(self) -> bool:
        """Whether the data suffice for a test."""
        return self.counts is not None or self.resamples is not None or math.isfinite(sum(self.errors))

    def worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Test the null hypothesis that the change for the worse is within a limit.

        Args:
            absolute: The limit in the metric's unit.
            relative: A fraction of |base|, added to the limit.

        Returns:
            The one-sided p-value, small if the change exceeds the limit, and the test.
        """
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            if absolute == 0:
                return mcnemar(worse, better), "mcnemar"
            return normal_tail(paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        return normal_tail(excess, error, 0.5**self.images), method

    def not_worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Test the null hypothesis that the change for the worse exceeds a limit.

        Args:
            absolute: The limit in the metric's unit.
            relative: A fraction of |base|, added to the limit.

        Returns:
            The one-sided p-value, small if the change is within the limit, and the test.
        """
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            return normal_tail(-paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        # If the change equalled the limit, this share of all images would have to deviate by chance.
        gap = max(absolute + relative * abs(self.base.value), -excess)
        least = (1 - gap) ** self.images if 0 < gap < 1 and self.run.row["unit"] == "fraction" else 0.5**self.images
        return normal_tail(-excess, error, least), method

    def two_sided(self) -> tuple[float, Method]:
        """Return the two-sided p-value of no change, and the test."""
        if self.counts is not None:
            return mcnemar(*self.counts[:2], two_sided=True), "mcnemar"
        excess, error, method = self._excess(0.0, 0.0)
        return min(1.0, 2 * normal_tail(abs(excess), error, 0.5**self.images)), method

    def _excess(self, absolute: float, relative: float) -> tuple[float, float, Method]:
        """Return the change for the worse beyond its limit, and the standard error of this excess."""

        def excess_of(run: Any, base: Any) -> Any:
            return self.sign * (run - base) - absolute - relative * np.abs(base)

        excess = float(excess_of(self.run.value, self.base.value))
        if self.resamples is not None:
            return excess, bootstrap_error(excess_of(*self.resamples)), "paired bootstrap"
        slope = abs(self.sign + relative * math.copysign(1, self.base.value))
        return excess, math.hypot(self.errors[0], slope * self.errors[1]), "intervals"


def compare_pairs(
    run: ResultsSet, base: ResultsSet, pairs: Sequence[tuple[ResultRow, ResultRow]], *, paired: bool
) -> list[PairedDifference]:
    """Return the differences of matched rows.

    Args:
        run: The results to judge.
        base: The baseline.
        pairs: Rows of run and baseline, as `match_results` returns them.
        paired: Whether to test with the records if both have some. Otherwise the intervals are used.
    """
    images = max(1, min(run.images, base.images))
    keys = [ours.key for ours, _ in pairs]
    with_records = (run, base) if paired and run.runs and base.runs else ()
    resamples = [distributions(results, keys) for results in with_records]
    wrong = [wrong_images(results, keys) for results in with_records]
    return [_difference(*pair, images, resamples, wrong) for pair in pairs]


def _difference(
    ours: ResultRow,
    theirs: ResultRow,
    images: int,
    resamples: Sequence[Mapping[Key, Floats]],
    wrong: Sequence[Mapping[Key, NDArray[np.bool_]]],
) -> PairedDifference:
    both = [distribution[ours.key] for distribution in resamples if ours.key in distribution]
    outcomes = [is_wrong[ours.key] for is_wrong in wrong if ours.key in is_wrong]
    counts = None
    if len(outcomes) == 2:
        after, before = outcomes
        counts = int((after & ~before).sum()), int((before & ~after).sum()), len(after)
    if len(both) == 2:
        low, high = bootstrap_interval(both[0] - both[1], basic=METRICS[ours.key.metric].is_biased)
        return PairedDifference(ours, theirs, float(low), float(high), images, counts, np.stack(both)[:, 1:])
    errors = (ours.error, theirs.error)
    half = QUANTILE * math.hypot(*errors)
    change = ours.value - theirs.value
    return PairedDifference(ours, theirs, change - half, change + half, images, counts, None, errors)
