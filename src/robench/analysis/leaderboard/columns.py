"""Metric columns of the leaderboard, with the rows of the results that they show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from robench.analysis.metrics import METRICS
from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN, CUE_CONFLICT, NETWORK, WORST, Family, families

__all__ = [
    "ENDS",
    "METRIC_COLUMNS",
    "MetricColumn",
    "extra_columns",
    "higher_is_better",
    "metric_columns",
    "ood_columns",
    "resolution_column",
    "sort_column",
]

ENDS = ("_ci_low", "_ci_high")
"""Suffixes of the columns with the ends of an interval."""


@dataclass(frozen=True)
class MetricColumn:
    """A column and the row of the results that it shows.

    Attributes:
        column: Name of the column.
        metric: Metric of the row.
        family: Family of the row's suite.
        corruption: Corruption of the row; None for the aggregate of the suite.
        difficulty: Difficulty of the row; None for suites without difficulties.
        resolution: Input size of the row in pixels; None for any.
        complement: Whether the column is 100 minus the metric.
        is_signed: Whether the column is a difference, printed with its sign.
        is_headline: Whether tables for people have the column among the metrics, not only with those of uncertainty.
        subset: Set of images of the row; empty for the images of the run.
        method: Score of the row, or attack, whose row at the largest radius counts; empty for none.
        prefix: Prefix of the row's suite.
    """

    column: str
    metric: str
    family: Family
    corruption: str | None = None
    difficulty: float | None = None
    resolution: int | None = None
    complement: bool = False
    is_signed: bool = False
    is_headline: bool = True
    subset: str = ""
    method: str = ""
    prefix: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Direction of the column."""
        return METRICS[self.metric].higher_is_better != self.complement

    @property
    def is_rate(self) -> bool:
        """Whether the metric is a fraction, so that the column lies between 0 and 100 %."""
        return METRICS[self.metric].unit == "fraction"


METRIC_COLUMNS: tuple[MetricColumn, ...] = (
    MetricColumn("top1", "accuracy", families.CLEAN, CLEAN),
    MetricColumn("top5", "top5_error", families.CLEAN, CLEAN, complement=True),
    MetricColumn("mean_error", "mean_error", families.CORRUPTIONS),
    MetricColumn("mce", "mce", families.CORRUPTIONS),
    MetricColumn("relative_mce", "relative_mce", families.CORRUPTIONS),
    MetricColumn("effective_robustness", "effective_robustness", families.CORRUPTIONS, is_signed=True),
    MetricColumn("c_bar_mean_error", "mean_error", families.CORRUPTIONS, prefix="c_bar_"),
    MetricColumn("c_bar_mce", "mce", families.CORRUPTIONS, prefix="c_bar_"),
    MetricColumn("3dcc_2d_mean_error", "mean_error", families.CORRUPTIONS, prefix="3dcc_2d_"),
    MetricColumn("3dcc_2d_mce", "mce", families.CORRUPTIONS, prefix="3dcc_2d_"),
    MetricColumn(
        "3dcc_2d_effective_robustness",
        "effective_robustness",
        families.CORRUPTIONS,
        is_signed=True,
        prefix="3dcc_2d_",
    ),
    MetricColumn("mean_flip_rate", "mean_flip_rate", families.SEQUENCES, difficulty=1.0),
    MetricColumn("mfr", "mfr", families.SEQUENCES, difficulty=1.0),
    MetricColumn("consistency", "consistency", families.SHIFT, "crop"),
    MetricColumn("circular_consistency", "consistency", families.SHIFT, "circular"),
    MetricColumn("scale_consistency", "consistency", families.SCALE, "scale"),
    MetricColumn("accuracy_auc", "accuracy_auc", families.NOISE),
    MetricColumn("occlusion_accuracy_auc", "accuracy_auc", families.OCCLUSION),
    MetricColumn("adversarial_accuracy", "accuracy", families.ADVERSARIAL, method=WORST),
    MetricColumn("shape_bias", "shape_bias", families.CUE_CONFLICT, CUE_CONFLICT),
    *(
        MetricColumn(prefix + metric, metric, family, corruption, is_headline=False)
        for prefix, family, corruption in (("", families.CLEAN, CLEAN), ("corrupted_", families.CORRUPTIONS, None))
        for metric in ("nll", "brier", "ece", "aurc")
    ),
)
"""Columns of every leaderboard; `extra_columns` makes more for input sizes and for images out of distribution."""

_OOD = re.compile(r"(auroc|fpr95)_(.+?)(?:_ci_low|_ci_high)?")
_RESOLUTION = re.compile(r"top1_([1-9][0-9]{0,5})px")


def resolution_column(size: int) -> MetricColumn:
    """Return the column with the accuracy at an input size in pixels."""
    return MetricColumn(f"top1_{size}px", "accuracy", families.RESOLUTION, NETWORK, resolution=size)


def ood_columns(name: str) -> list[MetricColumn]:
    """Return the columns of a set of images out of distribution, by the largest probability (MSP) against the clean images."""
    return [
        MetricColumn(f"{metric}_{name}", metric, families.OOD, CLEAN, is_headline=False, subset=name, method="msp")
        for metric in ("auroc", "fpr95")
    ]


def extra_columns(names: Iterable[str]) -> list[MetricColumn]:
    """Return the columns of the input sizes in the names of columns, ascending, and of the images out of distribution there."""
    names = list(names)
    sizes = sorted({int(match[1]) for name in names if (match := _RESOLUTION.fullmatch(name))})
    sets = sorted({match[2] for name in names if (match := _OOD.fullmatch(name))})
    return [*map(resolution_column, sizes), *(column for one in sets for column in ood_columns(one))]


def metric_columns(names: Iterable[str]) -> list[MetricColumn]:
    """Return `METRIC_COLUMNS`, then the other columns in the given names."""
    return [*METRIC_COLUMNS, *extra_columns(names)]


def sort_column(name: str, names: Iterable[str]) -> str:
    """Return the column to rank by.

    Args:
        name: A metric column, or a metric for the first of its columns.
        names: Names of the columns that the rows have.

    Raises:
        OptionError: The name is neither.
    """
    names = list(names)
    by_metric = {column.metric: column.column for column in reversed(metric_columns(names)) if not column.complement}
    known = by_metric | {column.column: column.column for column in metric_columns(names)}
    if name not in known:
        raise OptionError(*unknown_name("column to sort by", name, known))
    return known[name]


def higher_is_better(name: str) -> bool:
    """Return the direction of a metric column."""
    return next(column.higher_is_better for column in metric_columns([name]) if column.column == name)
