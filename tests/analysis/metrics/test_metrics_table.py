"""Oracle: the modules of the metrics themselves, whose functions carry the names of the table."""

from __future__ import annotations

from robench.analysis.metrics import (
    METRICS,
    calibration,
    classification,
    curves,
    effective_robustness,
    error_consistency,
    flips,
    mce,
    ood,
    proper_scores,
    selective,
    shape_bias,
    size_selection,
)

HIGHER = {"accuracy", "consistency", "mean_prob_label", "accuracy_auc", "half_accuracy_strength"}
HIGHER |= {"oracle_accuracy", "random_accuracy", "best_of_k_accuracy", "cascade_accuracy"}
HIGHER |= {f"{who}_accuracy_at_static" for who in ("oracle", "random", "cascade")}
HIGHER |= {f"{spectrum}{name}" for spectrum in ("", "fs_") for name in ("auroc", "aupr_in", "aupr_out")}
HIGHER |= {"coverage_at_risk_5", "balanced_accuracy", "effective_robustness"}
HIGHER |= {"shape_bias", "shape_accuracy", "error_consistency"}
HIGHER |= {"best_accuracy", "budgeted_accuracy"}
PERCENT = {"ce", "mce", "relative_mce", "fr", "mfr", "mt5d"}
PLAIN = {"corruption_error", "mean_flip_rate", "mean_t5d", "mean_prob_label", "gflops", "best_of_k_accuracy"}
PLAIN |= {f"{who}_{what}" for who in ("oracle", "cascade") for what in ("accuracy", "gflops")}
PLAIN |= {f"{who}_{what}_at_static" for who in ("oracle", "random", "cascade") for what in ("accuracy", "gflops")}
PLAIN |= {f"fs_{name}" for name in ("auroc", "fpr95", "aupr_in", "aupr_out")}
PLAIN |= {"best_accuracy", "budgeted_accuracy", "budgeted_gflops", "shape_accuracy", "texture_accuracy"}
PLAIN |= {"worst_group_error", "group_gap"}
PLAIN |= {"risk_at_coverage_80", "coverage_at_risk_5"}
"""Means of others, what is counted, and what functions of another name give two figures of: no function of their own."""


def test_a_metric_is_a_function_of_its_name() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        modules = [classification, mce, calibration, flips, curves, size_selection, proper_scores, selective, ood]
        modules += [effective_robustness, shape_bias, error_consistency]
        assert name in PLAIN or [module for module in modules if name in module.__all__], name
        assert metric.meaning
        assert metric.source


def test_unit_and_direction() -> None:
    assert {name for name, metric in METRICS.items() if metric.higher_is_better} == HIGHER
    assert {name for name, metric in METRICS.items() if metric.unit == "percent"} == PERCENT
    units = {"fraction", "percent", "places", "strength", "GFLOPs", "nats", "score", "kappa"}
    assert {metric.unit for metric in METRICS.values()} == units
