"""Metrics of frames against hand-made figures and published ones."""

from __future__ import annotations

import numpy as np
import pytest

from robench.analysis.baselines import load_baseline
from robench.analysis.metrics.curves import accuracy_auc, consistency, half_accuracy_strength
from robench.analysis.metrics.flips import flip_rate, fr, mfr, t5d
from robench.suites import find_suite


def test_flip_rate() -> None:
    pred = np.array([[1, 5], [1, 6], [2, 5], [1, 5]])
    assert flip_rate(pred).tolist() == [2 / 3, 2 / 3]
    assert flip_rate(pred, independent=True).tolist() == [1 / 3, 1 / 3]
    assert flip_rate(pred, step=2).tolist() == [0.5, 0.5]


def test_t5d() -> None:
    same = [0, 1, 2, 3, 4]
    swapped = [1, 0, 2, 3, 4]
    others = [5, 6, 7, 8, 9]
    frames = np.array([[same, same, same], [same, swapped, others]])
    assert t5d(frames).tolist() == [0, 2, 15]


def test_the_published_flip_rates_of_resnext_give_its_mfr() -> None:
    """ResNeXt-101-32x8d, raw flip rates and mFR: hendrycks/robustness, ImageNet-P."""
    rates = [0.10626, 0.13105, 0.04463, 0.03518, 0.05784, 0.0261, 0.04024, 0.0559, 0.03313, 0.08868]
    baseline = load_baseline("alexnet").flip_rates
    ten = find_suite("imagenet-p").corruptions
    assert mfr(rates, [baseline[name, 1] for name in ten]) == pytest.approx(46.15, abs=0.01)
    assert fr(0.10626, baseline["gaussian_noise", 1]) == pytest.approx(44.92, abs=0.01)
    own = [baseline[name, 1] for name in ten]
    assert mfr(own, own) == 100


def test_consistency() -> None:
    assert consistency([[1, 2], [3, 4]], [[1, 1], [3, 4]]).tolist() == [1, 0.5]


def test_area_and_half_accuracy_strength() -> None:
    strengths = [0, 1, 3]
    assert accuracy_auc(strengths, [1, 0.5, 0]) == pytest.approx((0.75 + 0.5) / 3)
    assert half_accuracy_strength(strengths, [1, 0.75, 0.25]) == pytest.approx(2)
    assert half_accuracy_strength([0, -1, -3], [1, 0.75, 0.25]) == pytest.approx(2)
    assert half_accuracy_strength([1, 0.5, 0.1], [1, 0.5, 0.25]) == pytest.approx(0.5), "a gain of 0.5 is 0.5 from none"
    assert np.isnan(half_accuracy_strength(strengths, [1, 0.9, 0.6]))
    curves = np.array([[0.8, 0.4, 0.0], [0.0, 0.0, 0.0]])
    assert half_accuracy_strength(strengths, curves)[0] == pytest.approx(1)
    assert np.isnan(half_accuracy_strength(strengths, curves)[1])
