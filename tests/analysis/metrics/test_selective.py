"""Oracle: brute force over ranks and repeated samples, written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from robench.analysis.metrics.selective import RiskCoverage, augrc, aurc, coverage_at_risk, risk_at_coverage
from robench.types import Floats
from tests.builders import each


def brute(confidence: Floats, wrong: Floats) -> list[float]:
    """AURC, AUGRC, risk at 80 % coverage and coverage at 5 % risk, rank by rank; ties share their mean."""
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, errors = confidence[order], wrong[order].astype(float)
    for value in np.unique(sorted_confidence):
        errors[sorted_confidence == value] = errors[sorted_confidence == value].mean()
    n, ranks, below = len(errors), np.arange(1, len(errors) + 1), np.cumsum(errors)
    kept = -(-8 * n // 10)
    low = np.flatnonzero(below <= 0.05 * ranks + 1e-9)
    return [(below / ranks).mean(), below.mean() / n, below[kept - 1] / kept, (low[-1] + 1) / n if len(low) else 0.0]


@each("seed", list(range(60)))
def test_measures_of_resamples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    confidence = np.round(rng.random(n), int(rng.integers(1, 6)))  # With one digit there are many ties.
    wrong = rng.random(n) < rng.random() * (1.2 - confidence)
    drawn = [rng.integers(0, n, n) for _ in range(4)]
    counts = np.stack([np.ones(n, np.int32), *(np.bincount(one, minlength=n).astype(np.int32) for one in drawn)])
    measured = np.array(RiskCoverage.of(confidence, ~wrong).measures(counts))
    expected = [brute(confidence[one], wrong[one]) for one in (np.arange(n), *drawn)]
    assert pytest.approx(np.array(expected), abs=1e-12) == measured.T


def test_by_hand() -> None:
    # By rank: right, wrong, right, right: 0/1, 1/2, 1/3 and 1/4 are the risks.
    confidence, correct = [0.6, 0.9, 0.8, 0.7], [True, True, False, True]
    assert aurc(confidence, correct) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert augrc(confidence, correct) == pytest.approx((0 + 1 + 1 + 1) / 4 / 4)
    assert risk_at_coverage(confidence, correct, 0.75) == pytest.approx(1 / 3)
    assert coverage_at_risk(confidence, correct, 0.25) == 1
    assert coverage_at_risk(confidence, correct, 0.24) == 0.25
    assert coverage_at_risk([0.5, 0.4], [False, False], 0.1) == 0
    # All are tied, and each is half an error.
    assert aurc([1, 1], [True, False]) == augrc([1, 1], [True, False]) * 4 / 3 == 0.5
    coverage, risk = RiskCoverage.of(confidence, correct).curve()
    assert [coverage.tolist(), risk.tolist()] == [[0.25, 0.5, 0.75, 1], [0, 1 / 2, 1 / 3, 1 / 4]]


def test_areas_by_trapezoids_differ_by_their_ends() -> None:
    """torch-uncertainty's definition: numpy's trapezoids from k = 1 to n, divided by the length of that range."""
    rng, n = np.random.default_rng(0), 200
    confidence, correct = rng.permutation(n) / n, rng.random(n) > 0.2
    coverage = np.arange(1, n + 1) / n
    risk = np.cumsum(~correct[np.argsort(-confidence)]) / np.arange(1, n + 1)
    for curve, own in ((risk, aurc(confidence, correct)), (risk * coverage, augrc(confidence, correct))):
        published = np.trapezoid(curve, coverage) / (1 - 1 / n)
        assert own == pytest.approx(published * (1 - 1 / n) + (curve[0] + curve[-1]) / (2 * n), abs=1e-12)
