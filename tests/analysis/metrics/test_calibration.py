"""Oracles: tables counted by hand, and brute force over bins and repeated samples written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robench.analysis.metrics.calibration import Reliability, adaptive_ece, ece, rms_calibration_error
from robench.types import Floats, Ints


def brute_ece(confidence: Floats, correct: Floats) -> float:
    total = 0.0
    for k in range(15):
        inside = (confidence * 15 > k) & (confidence * 15 <= k + 1) | ((confidence == 0) & (k == 0))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return float(total)


def brute_rms(confidence: Floats, correct: Floats) -> float:
    pairs = sorted(zip(confidence.tolist(), correct.tolist(), strict=True), key=lambda pair: pair[0])  # stable
    total = 0.0
    for start in range(0, len(pairs), 100):
        part = pairs[start : start + 100]
        gap = sum(p for p, _ in part) / len(part) - sum(c for _, c in part) / len(part)
        total += len(part) / len(pairs) * gap**2
    return math.sqrt(total)


def sample(n: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    # Two digits, so that there are ties; float32, as in the records.
    confidence = np.round(rng.random(n), 2).astype(np.float32).astype(np.float64)
    return confidence, (rng.random(n) < confidence**2).astype(np.float64)


def test_ece_by_hand() -> None:
    # Bin (0.8, 0.8667]: 0.85 twice, one right; bin (0.0667, 0.1333]: 0.1, wrong; the last bin: 1, right.
    assert ece([0.85, 0.1, 0.85, 1.0], [1, 0, 0, 1]) == pytest.approx(2 / 4 * 0.35 + 1 / 4 * 0.1)


def test_a_bin_contains_its_upper_edge() -> None:
    # 0.6 = 9/15 belongs below, to the bin of 0.55, and not above, to that of 0.65.
    assert ece([9 / 15, 0.55], [1, 0]) == pytest.approx(abs(9 / 15 + 0.55 - 1) / 2)
    assert ece([0.0, 0.05], [1, 0]) == pytest.approx(abs(0.05 - 1) / 2)


def test_rms_by_hand() -> None:
    confidence = np.r_[np.full(100, 0.25), np.full(50, 0.75)]
    correct = np.r_[np.ones(100), np.zeros(50)]
    assert rms_calibration_error(confidence, correct) == pytest.approx(0.75)
    # The 50 left over count as a bin of their own, with their own weight.
    correct[100:] = 1
    assert rms_calibration_error(confidence, correct) == pytest.approx(math.sqrt((2 * 0.75**2 + 0.25**2) / 3))


def test_ties_stand_in_the_order_of_the_samples() -> None:
    correct = np.r_[np.ones(100), np.zeros(100)]
    assert rms_calibration_error(np.full(200, 0.5), correct) == pytest.approx(0.5)
    assert rms_calibration_error(np.full(200, 0.5), correct.reshape(2, 100).T.ravel()) == pytest.approx(0.0)


@pytest.mark.parametrize("n", [1, 2, 99, 100, 101, 200, 257, 1000])
def test_against_brute_force(n: int) -> None:
    confidence, correct = sample(n, n)
    assert ece(confidence, correct) == pytest.approx(brute_ece(confidence, correct), abs=1e-12)
    assert rms_calibration_error(confidence, correct) == pytest.approx(brute_rms(confidence, correct), abs=1e-12)


@pytest.mark.parametrize("n", [1, 30, 100, 257])
def test_counts_against_repeated_samples(n: int) -> None:
    confidence, correct = sample(n, 3)
    rng = np.random.default_rng(4)
    drawn = rng.integers(0, n, (400, n))  # more than one chunk of rows
    counts: Ints = np.stack([np.bincount(row, minlength=n) for row in drawn])
    for metric, brute in ((ece, brute_ece), (rms_calibration_error, brute_rms)):
        expected = [brute(np.repeat(confidence, row), np.repeat(correct, row)) for row in counts]
        np.testing.assert_allclose(metric(confidence, correct, counts), expected, rtol=0, atol=1e-12)


def test_leading_axes_of_counts() -> None:
    confidence, correct = sample(150, 5)
    counts = np.ones((2, 3, 150), np.int64)
    assert rms_calibration_error(confidence, correct, counts).shape == (2, 3)
    assert (ece(confidence, correct, counts) == ece(confidence, correct)).all()


def test_figures_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    confidence, correct = sample(257, 6)
    counts = np.random.default_rng(7).multinomial(257, np.full(257, 1 / 257), 50)
    whole = Reliability.of(confidence, correct).errors(counts)
    monkeypatch.setattr("robench.analysis.metrics.calibration._CHUNK", 1)
    alone = Reliability.of(confidence, correct).errors(counts)
    np.testing.assert_array_equal(whole, alone)


def test_adaptive_bins_have_equally_many_samples() -> None:
    confidence, correct = sample(1003, 4)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, 15)
    expected = sum(len(part) * abs(confidence[part].mean() - correct[part].mean()) for part in parts) / 1003
    assert adaptive_ece(confidence, correct) == pytest.approx(expected, abs=1e-12)
    drawn = np.sort(np.random.default_rng(5).integers(0, 1003, 1003))
    counts = np.bincount(drawn, minlength=1003)
    assert adaptive_ece(confidence, correct, counts) == pytest.approx(
        adaptive_ece(confidence[drawn], correct[drawn]), abs=1e-12
    )
    assert adaptive_ece([0.5, 0.9], [1, 0]) == pytest.approx((0.5 + 0.9) / 2)
