"""Oracle: the metrics themselves over resamples of the samples, which their linear expansions must follow."""

from __future__ import annotations

import numpy as np

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.classification import ByClass, balanced_accuracy, class_rates
from robench.analysis.metrics.influence import balanced_influence, calibration_influences, selective_influences
from robench.analysis.metrics.selective import RiskCoverage


def test_influences_follow_the_resamples() -> None:
    rng, n = np.random.default_rng(0), 1500
    confidence = np.where(rng.random(n) < 0.2, 1, rng.beta(4, 1, n)).astype(np.float32)
    correct, label = rng.random(n) > 0.9 * (1.2 - confidence), rng.integers(0, 10, n)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=300).astype(np.int32)
    reliability, ranking, by_class = (
        Reliability.of(confidence, correct),
        RiskCoverage.of(confidence, correct),
        ByClass.of(label),
    )
    in_order = np.ascontiguousarray(counts.T[by_class.order])
    rates = class_rates(by_class.sums(in_order, ~correct[by_class.order]), by_class.sums(in_order))
    exact = dict(zip(("ece", "rms_calibration_error", "adaptive_ece"), reliability.errors(counts), strict=True))
    exact |= dict(zip(("aurc", "augrc", "risk_at_coverage_80"), ranking.measures(counts)[:3], strict=True))
    exact["balanced_accuracy"] = balanced_accuracy(rates.T)
    influences = {**calibration_influences(reliability), **selective_influences(ranking)}
    influences["balanced_accuracy"] = balanced_influence(by_class, ~correct)
    calibration = calibration_influences(reliability)
    assert influences.keys() == exact.keys()
    for metric, influence in influences.items():
        linear = counts @ influence / n
        assert abs(influence.mean()) < 1e-12, metric
        assert np.corrcoef(linear, exact[metric])[0, 1] > (0.85 if metric in calibration else 0.97), metric
        assert abs(linear.std() / exact[metric].std() - 1) < 0.15, metric
