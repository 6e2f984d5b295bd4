"""Parts of the page of a report: sections, groups of charts, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
        columns: Heading of each column of the data by its key in the rows.
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

    @property
    def table(self) -> TextTable:
        """The data of all charts as text, with both ends of an interval in one column."""
        rows = [row for chart in self.charts for row in chart.rows]
        keys = [key for key in self.columns if key not in ("low", "high") and any(key in row for row in rows)]
        has_interval = any(row.get("low") is not None for row in rows)
        cells = [[_text(row.get(key)) for key in keys] + ([_interval(row)] if has_interval else []) for row in rows]
        heading = [self.columns[key] for key in keys] + (["95 % interval"] if has_interval else [])
        names = [index for index, key in enumerate(keys) if any(isinstance(row.get(key), str) for row in rows)]
        return TextTable(heading, cells, len(heading) - (names[-1] + 1 if names else 0))


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


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row.get("low") is None else f"{row['low']:.2f} to {row['high']:.2f}"
