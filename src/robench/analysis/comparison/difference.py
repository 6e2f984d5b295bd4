"""The change of a figure from one side to the other, and how it is tested."""

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
from robench.analysis.metrics.intervals import QUANTILE, percentile_interval
from robench.analysis.metrics.paired_tests import bootstrap_error, mcnemar, normal_tail, paired_score
from robench.types import Floats

__all__ = ["Method", "PairedDifference", "compare_pairs"]

Method: TypeAlias = Literal["mcnemar", "score", "paired bootstrap", "intervals"]


@dataclass(frozen=True)
class PairedDifference:
    """A figure of two sides and the means to test its change, run - base, in the metric's unit.

    counts: of images lost and gained by run, and of all, where the figure is a rate of the same images.
    resamples: (2, resamples) of run and base, the same samples in both.  errors: standard errors of run and base.
    ci_low, ci_high: of the change, 95 %; NaN where a side has no interval.
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
        """1 where a larger figure is worse, -1 where it is better."""
        return -1 if METRICS[self.run.key.metric].higher_is_better else 1

    @property
    def testable(self) -> bool:
        """Whether anything is known of the figure's chance."""
        return self.counts is not None or self.resamples is not None or math.isfinite(sum(self.errors))

    def worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Return the p-value that the change for the worse is not beyond a limit: absolute, plus relative of |base|."""
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            if absolute == 0:
                return mcnemar(worse, better), "mcnemar"
            return normal_tail(paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        return normal_tail(excess, error, 0.5**self.images), method

    def not_worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Return the p-value that the change for the worse is not within a limit: small where it surely is within."""
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            return normal_tail(-paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        # Were the rate worse by the limit, so many images would all have to be as far from it by chance as they are.
        gap = max(absolute + relative * abs(self.base.value), -excess)
        least = (1 - gap) ** self.images if 0 < gap < 1 and self.run.row["unit"] == "fraction" else 0.5**self.images
        return normal_tail(-excess, error, least), method

    def two_sided(self) -> tuple[float, Method]:
        """Return the p-value that there is no change either way."""
        if self.counts is not None:
            return mcnemar(*self.counts[:2], two_sided=True), "mcnemar"
        excess, error, method = self._excess(0.0, 0.0)
        return min(1.0, 2 * normal_tail(abs(excess), error, 0.5**self.images)), method

    def _excess(self, absolute: float, relative: float) -> tuple[float, float, Method]:
        """The change for the worse beyond its limit, and the standard error of that."""

        def beyond(run: Any, base: Any) -> Any:
            return self.sign * (run - base) - absolute - relative * np.abs(base)

        excess = float(beyond(self.run.value, self.base.value))
        if self.resamples is not None:
            return excess, bootstrap_error(beyond(*self.resamples)), "paired bootstrap"
        slope = abs(self.sign + relative * math.copysign(1, self.base.value))
        return excess, math.hypot(self.errors[0], slope * self.errors[1]), "intervals"


def compare_pairs(
    run: ResultsSet, base: ResultsSet, pairs: Sequence[tuple[ResultRow, ResultRow]], *, paired: bool
) -> list[PairedDifference]:
    """Prepare the tests of matched figures: by the records of both sides, where paired and both have them, else intervals."""
    images = max(1, min(run.images, base.images))
    keys = [ours.key for ours, _ in pairs]
    sides = (run, base) if paired and run.runs and base.runs else ()
    resamples = [distributions(side, keys) for side in sides]
    wrong = [wrong_images(side, keys) for side in sides]
    return [_contrast(*pair, images, resamples, wrong) for pair in pairs]


def _contrast(
    ours: ResultRow,
    theirs: ResultRow,
    images: int,
    resamples: Sequence[Mapping[Key, Floats]],
    wrong: Sequence[Mapping[Key, NDArray[np.bool_]]],
) -> PairedDifference:
    both = [side[ours.key][1:] for side in resamples if ours.key in side]
    outcomes = [side[ours.key] for side in wrong if ours.key in side]
    counts = None
    if len(outcomes) == 2:
        now, before = outcomes
        counts = int((now & ~before).sum()), int((before & ~now).sum()), len(now)
    if len(both) == 2:
        low, high = percentile_interval(both[0] - both[1])
        return PairedDifference(ours, theirs, float(low), float(high), images, counts, np.stack(both))
    errors = (ours.error, theirs.error)
    half = QUANTILE * math.hypot(*errors)
    change = ours.value - theirs.value
    return PairedDifference(ours, theirs, change - half, change + half, images, counts, None, errors)
