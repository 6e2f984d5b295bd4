"""Oracles: AlexNet's published errors as input (exactly 100), and sums written out from the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from robench.analysis.baselines import load_baseline
from robench.analysis.metrics.mce import ce, mce, relative_mce
from robench.suites import SUITES

ERRORS = np.array([[0.2, 0.4], [0.3, 0.5], [0.1, 0.2]])
BASELINE = np.array([[0.4, 0.8], [0.5, 0.7], [0.3, 0.5]])


def alexnet() -> tuple[np.ndarray, float]:
    baseline = load_baseline("alexnet")
    assert baseline.clean is not None
    found = [baseline.severities(name) for name in SUITES["imagenet-c"].corruptions]
    return np.stack([errors for errors in found if errors is not None]), baseline.clean


def test_alexnet_has_exactly_one_hundred() -> None:
    errors, clean = alexnet()
    assert errors.shape == (15, 5)
    assert [float(ce(one, one)) for one in errors] == [100.0] * 15
    assert float(mce(errors, errors)) == 100.0
    assert float(relative_mce(errors, clean, errors, clean)) == 100.0


def test_half_of_alexnet_has_exactly_fifty() -> None:
    errors, clean = alexnet()
    assert float(mce(errors / 2, errors)) == 50.0
    assert float(relative_mce(errors / 2, clean / 2, errors, clean)) == 50.0


def test_by_hand() -> None:
    assert ce(ERRORS[0], BASELINE[0]) == pytest.approx(100 * 0.3 / 0.6)
    assert mce(ERRORS, BASELINE) == pytest.approx(100 * (0.3 / 0.6 + 0.4 / 0.6 + 0.15 / 0.4) / 3)
    expected = 100 * (0.2 / 0.4 + 0.3 / 0.4 + 0.05 / 0.2) / 3
    assert relative_mce(ERRORS, 0.1, BASELINE, 0.2) == pytest.approx(expected)


def test_a_mean_alone_divides_too() -> None:
    assert ce([0.2, 0.4], [0.6]) == pytest.approx(50)


def test_leading_axes_are_those_of_the_resamples() -> None:
    errors, clean = np.random.default_rng(2).random((7, 3, 2)), np.linspace(0, 0.1, 7)
    assert ce(errors[:, 0], BASELINE[0]) == pytest.approx([float(ce(one[0], BASELINE[0])) for one in errors])
    assert mce(errors, BASELINE) == pytest.approx([float(mce(one, BASELINE)) for one in errors])
    one_by_one = [float(relative_mce(one, c, BASELINE, 0.2)) for one, c in zip(errors, clean, strict=True)]
    assert relative_mce(errors, clean, BASELINE, 0.2) == pytest.approx(one_by_one)
