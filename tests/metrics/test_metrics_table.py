"""Oracle: the modules of the metrics themselves, whose functions carry the names of the table."""

from __future__ import annotations

from robench.metrics import METRICS, calibration, errors, mce

HIGHER = {"accuracy"}
PERCENT = {"ce", "mce", "relative_mce"}


def test_a_metric_is_a_function_of_its_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert [module for module in (errors, mce, calibration) if name in module.__all__], name
        assert metric.meaning
        assert metric.source


def test_unit_and_direction() -> None:
    assert {name for name, metric in METRICS.items() if metric.higher_is_better} == HIGHER
    assert {name for name, metric in METRICS.items() if metric.unit == "percent"} == PERCENT
    assert {metric.unit for metric in METRICS.values()} == {"fraction", "percent"}
