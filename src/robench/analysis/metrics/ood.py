"""Out-of-distribution detection: scores of samples, and how well they separate two sets of samples.

Images out of distribution are the positive class, as in OpenOOD. A score is larger for images in distribution.
Source: Zhang et al. 2023, arXiv:2306.09301.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = [
    "OOD_COLUMNS",
    "OOD_SCORES",
    "Separation",
    "aupr_in",
    "aupr_out",
    "auroc",
    "fpr95",
    "ood_scores",
    "placements",
]

OOD_SCORES = ("msp", "max_logit", "energy", "gen", "entropy")
OOD_COLUMNS = ("confidence", "max_logit", "gen", "entropy")
"""Columns of the records that the scores need."""

_TPR = 0.95


def ood_scores(records: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Return each of `OOD_SCORES`, (n,), from `OOD_COLUMNS` of the records.

    They are the largest probability, the largest logit, the log-sum-exp of the logits, and the negative generalized and Shannon
    entropies. A sample with a logit that is not finite has minus infinity.
    """
    confidence, max_logit, gen, entropy = (np.asarray(records[name], np.float64) for name in OOD_COLUMNS)
    finite = confidence > 0
    energy = max_logit - np.log(np.where(finite, confidence, 1))
    scores = (confidence, max_logit, energy, -gen, -entropy)
    return {name: np.where(finite, score, -np.inf) for name, score in zip(OOD_SCORES, scores, strict=True)}


def auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the probability that a sample out of distribution has a lower score than one in distribution; ties count half.

    Args:
        inside: Scores of samples in distribution, (n,).
        outside: Scores of samples out of distribution, (m,).
    """
    return float(placements(inside, outside)[0].mean())


def fpr95(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the share of samples in distribution that are rejected with 95 % of the others, at the first such threshold."""
    return float(Separation.of(inside, outside).rates()[0][0])


def aupr_in(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the area under the precision-recall curve, by trapezoids, with the samples in distribution as positives."""
    return float(Separation.of(inside, outside).rates()[1][0])


def aupr_out(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the same area with the samples out of distribution as positives."""
    return float(Separation.of(inside, outside).rates()[2][0])


def placements(inside: ArrayLike, outside: ArrayLike) -> tuple[Floats, Floats]:
    """Return, for each sample in distribution, the share of the others with a lower score, and the reverse; ties count half.

    The mean of either is the AUROC. Their deviations from it are its first-order resamples, those of DeLong et al. 1988.
    """
    ours, theirs = np.asarray(inside, np.float64), np.asarray(outside, np.float64)

    def below(scores: Floats, others: Floats) -> Floats:
        ordered = np.sort(others)
        ends = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
        return np.asarray(ends / (2 * len(ordered)))

    return below(ours, theirs), 1 - below(theirs, ours)


@dataclass(frozen=True)
class Separation:
    """Scores of both sets, sorted once for all resamples.

    Attributes:
        order: Positions by ascending score, those of samples in distribution first, (n + m,).
        starts: First index in `order` of each group of equal scores, (g,).
        inside: Number of samples in distribution.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    inside: int

    @classmethod
    def of(cls, inside: ArrayLike, outside: ArrayLike) -> Separation:
        """Sort the scores of samples in distribution, (n,), and out of distribution, (m,)."""
        scores = np.concatenate([np.asarray(inside, np.float64), np.asarray(outside, np.float64)])
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        return cls(order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])), len(np.asarray(inside)))

    def rates(self, counts: NDArray[Any] | None = None) -> tuple[Floats, Floats, Floats]:
        """Return FPR95, AUPR of the samples in distribution and AUPR of the others, (r,) each.

        Args:
            counts: Number of times that each sample is taken, (r, n + m), those in distribution first; None for once.
        """
        taken = np.ones((1, len(self.order)), np.int64) if counts is None else np.asarray(counts)
        taken = taken[:, self.order]
        is_inside = self.order < self.inside
        ends = np.append(self.starts[1:], len(self.order)) - 1
        ours = np.cumsum(taken * is_inside, axis=1)[:, ends].astype(np.float64)
        theirs = np.cumsum(taken * ~is_inside, axis=1)[:, ends].astype(np.float64)
        first = np.argmax(theirs >= _TPR * theirs[:, -1:], axis=1)
        rate = ours[np.arange(len(ours)), first] / ours[:, -1]
        # From the highest score down, the samples not yet counted below are the positives.
        zero = np.zeros((len(ours), 1))
        above = [(sums[:, -1:] - np.append(zero, sums[:, :-1], axis=1))[:, ::-1] for sums in (ours, theirs)]
        return rate, _area(*above), _area(theirs, ours)


def _area(positives: Floats, negatives: Floats) -> Floats:
    """Return the area under precision by recall, (r,), from the numbers of both at each threshold, ascending, (r, g)."""
    both = positives + negatives
    precision = np.divide(positives, both, out=np.ones_like(both), where=both > 0)
    recall = positives / positives[:, -1:]
    before = np.append(np.ones((len(both), 1)), precision[:, :-1], axis=1)
    return np.asarray((np.diff(recall, axis=1, prepend=0) * (precision + before) / 2).sum(axis=1))
