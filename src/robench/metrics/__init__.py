"""The metrics, in one explicit table; the function of a metric has its name, in the module of its family. Torch-free.

errors.py       error_rate top5_error accuracy mean_error class_error worst_class_error
mce.py          ce mce relative_mce
calibration.py  ece rms_calibration_error
statistics.py   bootstrap counts and intervals
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """What a figure of that name means. unit: "fraction" or "percent"."""

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    source: str


_IMAGENET_C = "Hendrycks & Dietterich 2019, arXiv:1903.12261"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("error_rate", "fraction", False, "images whose most probable class is not the label", _IMAGENET_C),
        Metric(
            "top5_error",
            "fraction",
            False,
            "images whose label is not among the five most probable classes",
            "Russakovsky et al. 2015, arXiv:1409.0575",
        ),
        Metric("accuracy", "fraction", True, "images whose most probable class is the label", _IMAGENET_C),
        Metric("mean_error", "fraction", False, "unnormalised mean of error_rate over cells; not mCE", _IMAGENET_C),
        Metric(
            "ce",
            "percent",
            False,
            "corruption error: mean error over the severities by the baseline's, times 100",
            _IMAGENET_C,
        ),
        Metric("mce", "percent", False, "mean of ce over the suite's 15 corruptions", _IMAGENET_C),
        Metric(
            "relative_mce",
            "percent",
            False,
            "mean over the 15 corruptions of (mean error - clean error) by the baseline's, times 100",
            _IMAGENET_C,
        ),
        Metric("class_error", "fraction", False, "error_rate over the images of one class", "error_rate by class"),
        Metric(
            "worst_class_error",
            "fraction",
            False,
            "largest class_error of the classes with samples",
            "error_rate by class",
        ),
        Metric(
            "ece",
            "fraction",
            False,
            "expected calibration error: mean gap of confidence and accuracy, 15 equal-width bins",
            "Guo et al. 2017, arXiv:1706.04599",
        ),
        Metric(
            "rms_calibration_error",
            "fraction",
            False,
            "root mean square gap of confidence and accuracy, adaptive bins of 100, the last one included",
            "Hendrycks et al. 2019, arXiv:1812.04606",
        ),
    )
}
