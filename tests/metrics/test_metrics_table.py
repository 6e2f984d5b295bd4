"""Oracle: the modules of the metrics themselves, whose functions carry the names of the table."""

from __future__ import annotations

from robench.metrics import METRICS, calibration, curves, errors, flips, mce

HIGHER = {"accuracy", "consistency", "mean_prob_label", "accuracy_area", "half_strength", "oracle_accuracy"}
PERCENT = {"ce", "mce", "relative_mce", "fr", "mfr", "mt5d"}
PLAIN = {"mean_flip_rate", "mean_t5d", "mean_prob_label", "gflops", "oracle_accuracy", "oracle_gflops"}
"""Means of others, and what is counted: no function of their own."""


def test_a_metric_is_a_function_of_its_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        modules = (errors, mce, calibration, flips, curves)
        assert name in PLAIN or [module for module in modules if name in module.__all__], name
        assert metric.meaning
        assert metric.source


def test_unit_and_direction() -> None:
    assert {name for name, metric in METRICS.items() if metric.higher_is_better} == HIGHER
    assert {name for name, metric in METRICS.items() if metric.unit == "percent"} == PERCENT
    assert {metric.unit for metric in METRICS.values()} == {"fraction", "percent", "places", "strength", "GFLOPs"}
