"""Selective prediction: the errors that remain if a model answers only where its confidence is highest.

The k most confident samples of n have the coverage k/n, and their error rate is the risk. Samples with equal confidence have no order
among themselves: each counts as the mean of all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = ["COVERAGE", "RISK", "RiskCoverage", "augrc", "aurc", "coverage_at_risk", "risk_at_coverage"]

COVERAGE = 0.8
"""Coverage of the metric `risk_at_coverage_80`."""

RISK = 0.05
"""Risk of the metric `coverage_at_risk_5`."""

_CHUNK = 65536
"""Values processed at a time, so that the working set fits in the processor's cache."""

_ROUNDING = 1e-9
"""Tolerance for the rounding error of a product that is a whole number of samples."""


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the risk-coverage curve: the mean over k of the error rate of the k most confident samples.

    Args:
        confidence: Confidence of each prediction, (n,).
        correct: Whether each prediction is right, (n,).
    """
    return float(_one(confidence, correct)[0])


def augrc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the generalized risk-coverage curve: the mean over k of (errors of the k most confident samples) / n."""
    return float(_one(confidence, correct)[1])


def risk_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float = COVERAGE) -> float:
    """Return the error rate of the ceil(coverage * n) most confident samples."""
    return float(_one(confidence, correct, coverage=coverage)[2])


def coverage_at_risk(confidence: ArrayLike, correct: ArrayLike, risk: float = RISK) -> float:
    """Return the largest coverage whose risk is at most `risk`; 0 if there is none."""
    return float(_one(confidence, correct, risk=risk)[3])


def _one(confidence: ArrayLike, correct: ArrayLike, **levels: float) -> list[Floats]:
    ranking = RiskCoverage.of(confidence, correct)
    return [values[0] for values in ranking.measures(np.ones((1, len(ranking.order)), np.int32), **levels)]


@dataclass(frozen=True)
class RiskCoverage:
    """Samples by confidence, sorted once for all resamples.

    Attributes:
        order: Positions by descending confidence, (n,).
        starts: First index in `order` of each group of equal confidence, (g,).
        wrong: Whether each prediction is wrong, in that order, (n,).
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    wrong: NDArray[np.bool_]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
        """Sort `confidence` (n,) and `correct` (n,)."""
        values = np.asarray(confidence)
        order = np.argsort(-values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=np.inf))
        return cls(order, starts, ~np.asarray(correct, bool)[order])

    def curve(self) -> tuple[Floats, Floats]:
        """Return the coverage at the end of each group of equal confidence, and its risk, (g,) each."""
        ends = np.append(self.starts[1:], len(self.order))
        return ends / len(self.order), np.cumsum(self.wrong)[ends - 1] / ends

    def measures(
        self, counts: NDArray[Any], *, coverage: float = COVERAGE, risk: float = RISK
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return AURC, AUGRC, the risk at a coverage and the coverage at a risk, (r,) each.

        Args:
            counts: Number of times that each sample is taken, (r, n), with sum n in each row.
            coverage: Coverage above 0, at most 1.
            risk: Risk from 0 to 1.
        """
        n = len(self.order)
        step = max(1, _CHUNK // n)
        parts = [self._measures(counts[start : start + step], coverage, risk) for start in range(0, len(counts), step)]
        first, second, third, fourth = (np.concatenate(values) for values in zip(*parts, strict=True))
        return first, second, third, fourth

    def _measures(self, counts: NDArray[Any], coverage: float, risk: float) -> tuple[Floats, Floats, Floats, Floats]:
        n, ends = len(self.order), self._ends[self._with_errors]
        if not len(ends):
            none = np.zeros(len(counts))
            return none, none, none, none + 1
        taken = np.take(counts, self.order, axis=1, mode="clip")
        sums = np.cumsum(taken, axis=1, dtype=taken.dtype)
        reached = np.take(sums, ends, axis=1, mode="clip")
        # Groups with errors: a single sample is all wrong, several samples count as their mean.
        size = np.take(taken, ends, axis=1, mode="clip")
        errors, several = size, self._several
        if len(several.groups):
            errors = size.copy()
            first = np.take(sums, several.first, axis=1, mode="clip") - np.take(
                taken, several.first, axis=1, mode="clip"
            )
            size[:, several.groups] = reached[:, several.groups] - first
            wrong = np.take(taken, several.wrong, axis=1, mode="clip")
            errors[:, several.groups] = np.add.reduceat(wrong, several.wrong_starts, axis=1)
        before = reached - size
        summed, harmonic = _sums_of_harmonics(n)
        # An error at rank k is in the risks of ranks k to n, and adds 1/k + ... + 1/n to their sum.
        added = np.take(summed, reached, mode="clip")
        added -= np.take(summed, before, mode="clip")
        if len(several.groups):
            added[:, several.groups] *= errors[:, several.groups] / np.maximum(size[:, several.groups], 1)
        upto = np.cumsum(errors, axis=1, dtype=errors.dtype)
        total = upto[:, -1].astype(np.float64)
        aurc = (harmonic * total - added.sum(axis=1)) / n
        ranks = np.einsum("rg,rg->r", errors, before + reached - 1, dtype=np.float64, casting="unsafe") / 2
        augrc = (total * n - ranks) / n**2
        rows, last = np.arange(len(taken)), len(ends) - 1

        def at(place: NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
            """Return the samples and the errors before a group of each row, and its size and error rate."""
            chosen = (values[rows, place].astype(np.float64) for values in (before, upto, errors, size))
            first, reached_errors, own, count = chosen
            return first, reached_errors - own, count, own / np.maximum(count, 1)

        kept = math.ceil(coverage * n - _ROUNDING)
        first, earlier, count, rate = at(np.minimum(np.count_nonzero(reached < kept, axis=1), last))
        at_coverage = (earlier + rate * np.clip(kept - first, 0, count)) / kept
        # Between two errors the risk falls, so that its largest rank below a limit is just before an error, or the last one.
        # No such rank has more than risk * n errors before it.
        most = np.searchsorted(upto.min(axis=0), risk * n + _ROUNDING, side="right") + 1
        is_within = risk * before[:, :most] - (upto - errors)[:, :most] >= -_ROUNDING
        place = is_within.shape[1] - 1 - np.argmax(is_within[:, ::-1], axis=1)
        first, earlier, count, rate = at(place)
        # Of a group that would exceed the risk, a part may still be taken.
        spare, excess = risk * first - earlier + _ROUNDING, rate - risk
        part = np.floor(spare / np.where(excess > 0, excess, 1))
        part = np.clip(np.where(excess > 0, part, n), 0, count)
        rank = np.where(is_within[rows, place], first + part, 0)
        return aurc, augrc, at_coverage, np.where(total <= risk * n + _ROUNDING, n, rank) / n

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        """Last index in `order` of each group."""
        return np.append(self.starts[1:], len(self.order)) - 1

    @cached_property
    def _with_errors(self) -> NDArray[np.intp]:
        """Groups with a wrong prediction."""
        return np.flatnonzero(np.logical_or.reduceat(self.wrong, self.starts))

    @cached_property
    def _several(self) -> _Several:
        """The groups of several samples among those with a wrong prediction."""
        starts, ends = self.starts[self._with_errors], self._ends[self._with_errors]
        groups = np.flatnonzero(ends > starts)
        places = np.flatnonzero(self.wrong)
        first = np.searchsorted(places, starts[groups])
        last = np.searchsorted(places, ends[groups], side="right")
        wrong = np.concatenate([places[:0], *(places[slice(*pair)] for pair in zip(first, last, strict=True))])
        return _Several(groups, starts[groups], wrong, np.cumsum(last - first) - (last - first))


class _Several(NamedTuple):
    """Groups of several samples of equal confidence, some of them wrong.

    Attributes:
        groups: Positions of the groups among those with a wrong prediction, (k,).
        first: First sample of each group in the order by confidence, (k,).
        wrong: Their wrong samples in that order, one group after the other.
        wrong_starts: First index in `wrong` of each group, (k,).
    """

    groups: NDArray[np.intp]
    first: NDArray[np.intp]
    wrong: NDArray[np.intp]
    wrong_starts: NDArray[np.intp]


@lru_cache(maxsize=2)
def _sums_of_harmonics(n: int) -> tuple[Floats, float]:
    """Return the sum of the first k harmonic numbers, from that of 0, for k from 0 to n, and harmonic number n."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])
    return np.concatenate([[0.0], np.cumsum(harmonic[:-1])]), float(harmonic[-1])
