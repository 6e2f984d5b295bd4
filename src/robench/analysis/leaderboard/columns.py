"""Which figure of the results stands in which column of the leaderboard, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from robench.analysis.metrics import METRICS
from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN, Family, families

__all__ = ["ENDS", "FIGURES", "MetricColumn", "higher_is_better", "side_column", "sides_of", "sort_column"]

ENDS = ("_ci_low", "_ci_high")
"""What is appended to a figure's column for the ends of its interval."""


@dataclass(frozen=True)
class MetricColumn:
    """A column and the rows of the results that it takes its value from.

    family: of the suite.  corruption: of the row, None for the suite's aggregate.
    difficulty: the row's, where the suite has some.  complement: whether the column is 100 less the metric.
    """

    column: str
    metric: str
    family: Family
    corruption: str | None = None
    difficulty: float | None = None
    complement: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Direction of the column."""
        return METRICS[self.metric].higher_is_better != self.complement


FIGURES: tuple[MetricColumn, ...] = (
    MetricColumn("top1", "accuracy", families.CLEAN, CLEAN),
    MetricColumn("top5", "top5_error", families.CLEAN, CLEAN, complement=True),
    MetricColumn("mean_error", "mean_error", families.CORRUPTIONS),
    MetricColumn("mce", "mce", families.CORRUPTIONS),
    MetricColumn("relative_mce", "relative_mce", families.CORRUPTIONS),
    MetricColumn("mean_flip_rate", "mean_flip_rate", families.SEQUENCES, difficulty=1.0),
    MetricColumn("mfr", "mfr", families.SEQUENCES, difficulty=1.0),
    MetricColumn("consistency", "consistency", families.SHIFT, "crop"),
    MetricColumn("circular_consistency", "consistency", families.SHIFT, "circular"),
    MetricColumn("scale_consistency", "consistency", families.SCALE, "scale"),
    MetricColumn("accuracy_auc", "accuracy_auc", families.NOISE),
    MetricColumn("occlusion_accuracy_auc", "accuracy_auc", families.OCCLUSION),
)

_SIDE = re.compile(r"top1_([1-9][0-9]{0,5})px")


def side_column(side: int) -> str:
    """Column of the accuracy at an input size."""
    return f"top1_{side}px"


def sides_of(columns: list[str]) -> list[int]:
    """Input sizes that some of the columns are of."""
    return [int(found[1]) for name in columns if (found := _SIDE.fullmatch(name))]


def sort_column(name: str, columns: list[str]) -> str:
    """The column to rank by: a figure's, or the first of the metric called so; OptionError for others."""
    sides = [side_column(side) for side in sides_of(columns)]
    by_metric = {figure.metric: figure.column for figure in reversed(FIGURES) if not figure.complement}
    known = {**by_metric, **{figure.column: figure.column for figure in FIGURES}, **{side: side for side in sides}}
    if name not in known:
        raise OptionError(unknown_name("figure to sort by", name, known))
    return known[name]


def higher_is_better(column: str) -> bool:
    """Direction of a figure's column."""
    return next((figure.higher_is_better for figure in FIGURES if figure.column == column), True)
