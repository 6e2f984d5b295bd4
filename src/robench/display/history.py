"""A history of headline metrics for a terminal: a line for each run, with its interval drawn and its change tested."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from robench.analysis.formatting import format_p_value
from robench.analysis.history import History, Point, Series
from robench.analysis.metrics import METRICS
from robench.analysis.verdict import pair_verdict
from robench.display.console import sentence
from robench.display.forest import LEAST_FOREST, Span, forest, number, plain

__all__ = ["history_charts"]

_WITH_P = 96
"""Least width of a terminal whose charts have a column of p-values."""
_LONGEST_LABEL = 28


def history_charts(history: History, console: Console) -> Group:
    """Return the charts of a history, each below the sentence on its first and its last run.

    Args:
        history: The runs and their values.
        console: The console for which the charts are drawn.
    """
    datasets = dict.fromkeys(entry.results.dataset for entry in history.entries)
    count = len(history.entries)
    parts: list[RenderableType] = [
        Text(f"{count} run{'s' if count > 1 else ''} on {', '.join(datasets)}", "bold"),
    ]
    for series in history.series:
        if len(series.points) < 2:
            continue
        said = [] if series.since_first is None else pair_verdict([series.since_first])
        parts += ["", _title(series, console), *(sentence(text, console, "") for text in said)]
        parts.append(_chart(series, console))
    if len(parts) > 1:
        legend = (
            "* significant change since the line above: p ≤ .05 after Holm's correction over the changes of a chart"
        )
        parts += ["", Text(plain(legend, console), "dim")]
    alone = [series for series in history.series if len(series.points) < 2]
    parts += ["", _alone(alone)] if alone else []
    return Group(*parts)


def _alone(series: Sequence[Series]) -> Table:
    """Return a table of the values without another one to compare with."""
    table = Table(title="values of a single run", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("metric", overflow="fold")
    table.add_column("run", overflow="fold", max_width=_LONGEST_LABEL)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % CI", justify="right", no_wrap=True)
    for one in series:
        (point,) = one.points
        facts = Text(f" ({one.only or one.detail})" if one.only or one.detail else "", "dim")
        value = number(point.row.value, one.unit) + {"fraction": " %", "percent": ""}.get(one.unit, f" {one.unit}")
        table.add_row(Text(f"{one.suite} {one.label}") + facts, point.entry.label, value, _ends(point, one.unit))
    return table


def _title(series: Series, console: Console) -> Text:
    unit = "%" if series.unit in ("fraction", "percent") else series.unit
    facts = [series.only or series.detail] if series.only or series.detail else []
    facts.append("higher is better" if METRICS[series.metric].higher_is_better else "lower is better")
    title = Text.assemble((f"{series.suite} {series.label}, {unit}", "bold"), (f"  ({'; '.join(facts)})", "dim"))
    title.overflow = "fold"
    return title


def _chart(series: Series, console: Console) -> Table:
    points = series.points
    dates, labels = _dates(points), [point.entry.label for point in points]
    values = [number(point.row.value, series.unit) for point in points]
    ends = [_ends(point, series.unit) for point in points]
    with_p = console.width >= _WITH_P
    longest = min(max(map(len, ["run", *labels])), _LONGEST_LABEL)
    widths = [longest, *(max(map(len, column)) for column in (["value", *values], ["95 % CI", *ends])), 7]
    widths += [max(map(len, dates))] if any(dates) else []
    width = console.width - sum(widths) - 2 * len(widths) - (9 if with_p else 0)
    spans = [Span(*_interval(point), point.row.value, True) for point in points]
    drawn = forest(spans, width, series.unit, console, zero=False) if width >= LEAST_FOREST else None
    table = Table(box=None, pad_edge=False)
    if any(dates):
        table.add_column("date", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=longest, max_width=_LONGEST_LABEL)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % CI", justify="right", no_wrap=True)
    if drawn is not None:
        table.add_column(drawn[0], no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    if with_p:
        table.add_column("p, Holm", justify="right", no_wrap=True)
    for index, point in enumerate(points):
        style = _style(point)
        table.add_row(
            *([dates[index]] if any(dates) else []),
            labels[index],
            values[index],
            Text(ends[index], "dim"),
            *([] if drawn is None else [Text(drawn[1][index], style)]),
            Text(_change(point, series.unit), style),
            *([format_p_value(None if point.change is None else point.change.p_holm)] if with_p else []),
        )
    return table


def _dates(points: Sequence[Point]) -> list[str]:
    """Return the days of the runs, with the time of day if two runs share a day."""
    days = [point.entry.date[:10] for point in points]
    known = [day for day in days if day]
    if len(set(known)) == len(known):
        return days
    return [point.entry.date[:16].replace("T", " ") for point in points]


def _interval(point: Point) -> tuple[float, float]:
    low, high = (point.row.row[name] for name in ("ci_low", "ci_high"))
    return (float("nan"), float("nan")) if low is None or high is None else (float(low), float(high))


def _ends(point: Point, unit: str) -> str:
    low, high = (number(end, unit) for end in _interval(point))
    return f"{low} to {high}" if low and high else ""


def _change(point: Point, unit: str) -> str:
    if point.change is None:
        return ""
    return number(point.change.paired.change, unit, "+") + ("*" if point.change.is_significant else " ")


def _style(point: Point) -> str:
    if point.change is None or not point.change.is_significant:
        return ""
    return "bold green" if point.change.gain > 0 else "bold red"
