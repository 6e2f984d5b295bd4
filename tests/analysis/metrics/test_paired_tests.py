"""Oracles: scipy's binomtest, Tango's published example, Holm by its own sequence of decisions, sums worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from robench.analysis.metrics.paired_tests import (
    bootstrap_error,
    holm,
    interval_error,
    mcnemar,
    normal_tail,
    paired_score,
)
from tests.builders import each


@each(
    ("worse", "better"),
    [(0, 0), (1, 0), (0, 1), (5, 5), (3, 9), (9, 3), (40, 20), (700, 800), (2600, 2400), (1, 49999)],
)
def test_mcnemar_against_binomtest(worse: int, better: int) -> None:
    n = worse + better
    one, both = (binomtest(worse, n, 0.5, alternative=side).pvalue if n else 1.0 for side in ("greater", "two-sided"))
    assert mcnemar(worse, better) == pytest.approx(one, rel=1e-9)
    assert mcnemar(worse, better, two_sided=True) == pytest.approx(both, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(3, 1) == pytest.approx((4 + 1) / 16)
    assert mcnemar(3, 1, two_sided=True) == pytest.approx(10 / 16)


def test_paired_score_at_zero_is_mcnemars_normal_form() -> None:
    for worse, better in ((7, 2), (2, 7), (30, 30)):
        assert paired_score(worse, better, 100, 0.0) == pytest.approx((worse - better) / math.sqrt(worse + better))


def test_paired_score_as_published() -> None:
    """Tango 1998, crossover trial of soft contact lenses: 44 pairs, 1 against 0 discordant, margin 0.1, Z = 1.709."""
    assert -paired_score(1, 0, 44, 0.1) == pytest.approx(1.709, abs=0.001)


def test_paired_score_where_nothing_changed() -> None:
    """Then z^2 = n * limit / (1 - limit): few images prove nothing."""
    assert -paired_score(0, 0, 30, 0.02) == pytest.approx(math.sqrt(30 * 0.02 / 0.98))
    assert paired_score(0, 0, 30, 0.0) == 0.0


def test_paired_score_is_the_largest_likelihood() -> None:
    """The share that it takes for granted under the limit is where the likelihood of the counts is largest."""
    worse, better, n, limit = 9, 4, 60, 0.03
    shares = np.linspace(1e-6, 0.4, 400001)
    likelihood = worse * np.log(shares + limit) + better * np.log(shares) + (n - 13) * np.log(1 - 2 * shares - limit)
    best = shares[likelihood.argmax()]
    expected = (worse - better - n * limit) / math.sqrt(n * (2 * best + limit * (1 - limit)))
    assert paired_score(worse, better, n, limit) == pytest.approx(expected, abs=1e-4)


def test_normal_tail() -> None:
    assert normal_tail(1.96, 1.0) == pytest.approx(norm.sf(1.96))
    assert normal_tail(-1.0, 2.0) == pytest.approx(norm.sf(-0.5))
    assert normal_tail(9.0, 1.0, least=0.25) == 0.25
    assert [normal_tail(0.1, 0.0, 0.125), normal_tail(0.0, 0.0), normal_tail(-1.0, 0.0)] == [0.125, 1.0, 1.0]


def test_errors() -> None:
    assert bootstrap_error([1.0, math.nan, 3.0]) == 1.0
    assert math.isnan(bootstrap_error([math.nan]))
    assert interval_error(0.0, 2 * norm.ppf(0.975)) == pytest.approx(1.0)


def test_holm_by_its_steps() -> None:
    """Worked by hand: 4 x 0.01, then 3 x 0.02, then 2 x 0.02 raised to the one before, then 0.9."""
    assert holm([0.02, 0.9, 0.01, 0.02]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([]).tolist() == []
    assert holm([0.4, 0.6]).tolist() == [0.8, 0.8]
