"""Parts of the page of a report: sections, groups of charts, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from robench.analysis.report.charts import COLOURS, MARKS, Rows, Spec

__all__ = ["Chart", "Group", "LegendEntry", "Section", "TextTable", "model_legend"]


class LegendEntry(NamedTuple):
    """One entry of a legend: the name of its colour in the style sheet, its mark, and its text."""

    colour: str
    mark: str
    text: str


def model_legend(models: Sequence[str]) -> list[LegendEntry]:
    """Return the legend of models in the order of their colours."""
    return [
        LegendEntry(f"m{index % len(COLOURS)}", MARKS[index % len(MARKS)], text)
        for index, text in enumerate(models)
        if text
    ]


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        heading: The column headings.
        rows: The cells.
        numbers: Number of last columns that hold numbers and are aligned to the right.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: Title above the chart.
        spec: Vega-Lite specification with a dataset `rows`.
        rows: The dataset.
        orders: Names of the rows of the chart from top to bottom, for each order that the reader can choose.
        legend: Its own legend; empty for none.
    """

    title: str
    spec: Spec
    rows: Rows
    orders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    legend: Sequence[LegendEntry] = ()


@dataclass(frozen=True)
class Group:
    """Charts of the same kind, with one table of their data.

    Attributes:
        title: Heading of the group; empty for none.
        charts: The charts.
        columns: Heading of each column of the data by its key in the rows; `low` and `high` are the ends of an interval.
        text: Explanation below the heading; may be empty.
        legend: The legend of all charts; empty for none.
        size: `small`, `medium` or `large`: width of a chart on the page.
        below: Further table; None for none.
    """

    title: str
    charts: Sequence[Chart]
    columns: Mapping[str, str]
    text: str = ""
    legend: Sequence[LegendEntry] = ()
    size: str = "medium"
    below: TextTable | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: The heading.
        text: Explanation below it.
        groups: The charts.
        notes: Reservations about the results.
    """

    title: str
    text: str
    groups: Sequence[Group] = ()
    notes: Sequence[str] = ()
