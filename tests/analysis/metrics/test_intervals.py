"""Oracles: the documented draw in Python's integers, numpy's own percentile, and published Wilson intervals."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.intervals import (
    RESAMPLES,
    bootstrap_interval,
    percentile_interval,
    resample_counts,
    wilson_interval,
)

FROZEN = [[3, 0, 1, 1, 0, 0, 2, 3, 0, 0], [0, 3, 1, 0, 1, 1, 2, 0, 1, 1], [2, 1, 2, 0, 3, 1, 0, 1, 0, 0]]


def counts(n: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    return np.concatenate(list(resample_counts(n, seed, resamples)))


def test_counts_follow_the_documented_draw() -> None:
    n, rows = 37, 5
    key = int.from_bytes(hashlib.blake2b(b"11:bootstrap", digest_size=16).digest(), "little")
    raw = [int(value) for value in np.random.Philox(key=key).random_raw(n * rows)]
    expected = [[0] * n for _ in range(rows)]
    for i, value in enumerate(raw):
        expected[i // n][(value >> 32) * n // 2**32] += 1
    assert counts(n, 11, rows).tolist() == expected


def test_counts_are_frozen() -> None:
    """These were drawn once and written down: no version of numpy may change them, or intervals move."""
    assert counts(10, 0, 3).tolist() == FROZEN


def test_every_resample_has_n_draws() -> None:
    drawn = counts(50, 0)
    assert drawn.shape == (1000, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(1, abs=0.2)
    assert not (drawn == counts(50, 1)).all()


def test_blocks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counts(50, 0, 100)
    assert (counts(50, 0, 100) == whole).all(), "kept ones"
    for name, size in (("_BLOCK", 170), ("_DRAWN_TOGETHER", 110), ("_CACHED", 0)):
        monkeypatch.setattr(f"robench.analysis.metrics.intervals.{name}", size)
    blocks = list(resample_counts(50, 0, 100))
    assert {len(block) for block in blocks} == {3, 1}
    assert (np.concatenate(blocks) == whole).all()


def test_percentiles_against_numpy() -> None:
    values = np.random.default_rng(0).random((3, 4, 1000))
    low, high = percentile_interval(values)
    np.testing.assert_allclose([low, high], np.percentile(values, [2.5, 97.5], axis=-1), rtol=1e-14)


def test_percentiles_leave_out_what_does_not_exist() -> None:
    values = np.array([[np.nan, 3.0, np.nan, 1.0, 2.0], [5.0, np.nan, np.nan, np.nan, np.nan], [np.nan] * 5])
    low, high = percentile_interval(values)
    np.testing.assert_allclose(low, [1.05, 5.0, np.nan])
    np.testing.assert_allclose(high, [2.95, 5.0, np.nan])


def test_the_basic_interval_reflects_and_every_interval_holds_its_value() -> None:
    resamples = np.linspace(2, 6, 1001)  # percentiles 2.1 and 5.9
    for value, percentile, basic in (
        (4, (2.1, 5.9), (2.1, 5.9)),
        (5, (2.1, 5.9), (4.1, 7.9)),
        (1, (1, 5.9), (-3.9, 1)),
    ):
        distribution = np.r_[value, resamples]
        assert bootstrap_interval(distribution) == pytest.approx(percentile)
        assert bootstrap_interval(distribution, basic=True) == pytest.approx(basic)
    assert np.isnan(bootstrap_interval([[0.5, np.nan, np.nan]])).all(), "there is no interval without resamples"


@pytest.mark.nightly(minutes=1)
@pytest.mark.parametrize(("overconfidence", "n", "least"), [(0.0, 100, 0.33), (0.1, 100, 0.8), (0.3, 500, 0.85)])
def test_coverage_of_the_calibration_error(overconfidence: float, n: int, least: float) -> None:
    """The truth is that of a million images of the same distribution; percentile intervals hold it in 0, 1 and 93 % of the cases."""

    def drawn(rng: np.random.Generator, n: int) -> Reliability:
        confidence = rng.beta(4, 1.2, n).astype(np.float32)
        return Reliability.of(
            confidence, rng.random(n) < confidence - 4 * overconfidence * confidence * (1 - confidence)
        )

    truth = drawn(np.random.default_rng(1), 1_000_000).errors(np.ones((1, 1_000_000), np.int64))[0][0]
    truth = truth if overconfidence else 0.0
    resamples, rng, held = np.r_[np.ones((1, n), np.int32), counts(n, 0)], np.random.default_rng(2), 0
    for _ in range(200):
        distribution = drawn(rng, n).errors(resamples)[0]
        low, high = bootstrap_interval(distribution, basic=True)
        assert low <= distribution[0] <= high
        held += bool(low <= truth <= high)
    assert held / 200 >= least


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score without correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(k: int, n: int, low: float, high: float) -> None:
    assert list(wilson_interval(k, n)) == pytest.approx([low, high], abs=5e-5)
    assert list(wilson_interval(n - k, n)) == pytest.approx([1 - high, 1 - low], abs=5e-5)


def test_wilson_at_the_ends() -> None:
    for n in (1, 7, 2000, 50000):
        assert wilson_interval(0, n)[0] == 0.0
        assert wilson_interval(n, n)[1] == 1.0
        assert 0 < wilson_interval(0, n)[1] < 1
