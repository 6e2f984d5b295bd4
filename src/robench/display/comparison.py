"""A comparison of two runs for a terminal: verdict, forest of intervals, cells."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from robench.analysis.comparison.compare import CELL, CORRUPTION, HEADLINE, OTHER, Cost, Difference
from robench.analysis.comparison.consistency import Consistency
from robench.analysis.formatting import format_p_value
from robench.analysis.verdict import pair_verdict, place
from robench.display.console import sentence
from robench.display.forest import LEAST_FOREST, Span, forest, glyphs, number, plain
from robench.suites import display_family

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["comparison", "consistency_tables", "cost_lines", "flip_lines", "listing"]

_WITH_P = 96
"""Least width of a terminal whose tables have a column of p-values next to the forest."""
_LONG = 16
"""Most values of a table without --cells, if they are of several methods or subsets."""
_HEADLINES = "headlines"
"""Title of the table whose rows have different metrics."""


def comparison(differences: Sequence[Difference], console: Console, *, cells: bool = False) -> Group:
    """Return the comparison of one run with the first one.

    Args:
        differences: The differences of two runs, as `compare` returns them without `metrics`.
        console: The console for which the forest is drawn.
        cells: Whether to add the differences of single cells.
    """
    parts: list[RenderableType] = [
        sentence(text, console, "" if number else "bold") for number, text in enumerate(pair_verdict(differences))
    ]
    levels = {level: [one for one in differences if one.level == level] for level in (HEADLINE, CORRUPTION, CELL)}
    parts += ["", _table(_HEADLINES, levels[HEADLINE], console)] if levels[HEADLINE] else []
    parts += _by_suite(levels[CORRUPTION], console)
    if cells:
        parts += _by_suite(levels[CELL], console)
    return Group(*parts)


def listing(differences: Sequence[Difference], console: Console, *, cells: bool = False) -> Group:
    """Return an answer and a table for each suite and chosen metric of one run compared with the first one.

    Args:
        differences: The differences of two runs in the chosen metrics.
        console: The console for which intervals are drawn.
        cells: Whether to show all values. Otherwise a long table has the clean images and the largest significant changes alone.
    """
    return Group(*_by_suite(differences, console, is_short=not cells, is_answered=True))


def _answer(title: str, group: Sequence[Difference]) -> str:
    """Return a sentence on the significant differences of a metric."""
    run, tested = group[0].run_model, [one for one in group if one.p is not None]
    better = sum(one.is_significant and one.gain > 0 for one in tested)
    worse = sum(one.is_significant and one.gain < 0 for one in tested)
    if not better and not worse:
        count = f"none of {len(tested)} differences is" if len(tested) > 1 else "the difference is not"
        return f"{title}: {count} significant."
    parts = [f"{text} in {count}" for text, count in (("better", better), ("worse", worse)) if count]
    return f"{title}: {run} is significantly {' and '.join(parts)} of {len(tested)} values."


def cost_lines(costs: Sequence[Cost]) -> list[str]:
    """Return a line for each run on its throughput."""
    return [
        f"throughput, each run on its own machine: {cost.run} {cost.run_rate:,.0f} images/s, {cost.base} "
        f"{cost.base_rate:,.0f} ({cost.base_rate / cost.run_rate:.2f}x the time per image)"
        for cost in costs
    ]


def flip_lines(differences: Sequence[Difference], flipped: pd.DataFrame) -> list[str]:
    """Return a line for each run on its predictions that differ from the first run's.

    Args:
        differences: The differences of all runs, which name the models.
        flipped: The table of `flips`.
    """
    lines = []
    for run, model in dict.fromkeys((one.run, one.run_model) for one in differences):
        changes = flipped["change"][flipped["run"] == run].value_counts()
        gained, lost, wrong = (
            int(changes.get(name, 0)) for name in ("positive_flip", "negative_flip", "wrong_to_wrong")
        )
        lines.append(
            f"predictions of {model} that changed: {gained + lost + wrong:,} ({gained:,} now right, {lost:,} now wrong, "
            f"{wrong:,} wrong before and after)"
        )
    return lines


def consistency_tables(found: Sequence[Consistency]) -> list[RenderableType]:
    """Return a table for each run, with a row for each suite and decision maker that it is compared with."""
    tables: list[RenderableType] = []
    has_suites = len({one.suite for one in found}) > 1
    for run in dict.fromkeys(one.run for one in found):
        rows = [one for one in found if one.run == run]
        has_bias = any(math.isfinite(one.shape_bias) for one in rows)
        title = f"error consistency of {run}" if has_suites else f"error consistency of {run} on {rows[0].suite}"
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for header in (*(["suite"] if has_suites else []), "with"):
            table.add_column(header, overflow="fold")
        for header in ("kappa", "95 % CI", "agree, %", "by chance", *(["shape bias, %"] if has_bias else [])):
            table.add_column(header, justify="right", no_wrap=True)
        for one in rows:
            table.add_row(
                *([one.suite] if has_suites else []),
                one.base,
                f"{one.kappa:.3f}",
                f"{one.ci_low:.2f} to {one.ci_high:.2f}" if math.isfinite(one.ci_low) else "",
                f"{100 * one.observed:.1f}",
                f"{100 * one.expected:.1f}",
                *([f"{100 * one.shape_bias:.1f}" if math.isfinite(one.shape_bias) else ""] if has_bias else []),
            )
        tables += [table, ""]
    return tables


def _by_suite(
    differences: Sequence[Difference], console: Console, *, is_short: bool = False, is_answered: bool = False
) -> list[RenderableType]:
    """Return a table for each suite and metric, and a legend.

    Args:
        differences: The differences.
        console: The console.
        is_short: Whether a long table has the clean images and the largest significant changes alone.
        is_answered: Whether a sentence comes before each table.
    """
    groups: dict[tuple[str, str], list[Difference]] = {}
    for one in differences:
        groups.setdefault((one.paired.run.key.suite, one.paired.run.key.metric), []).append(one)
    tables: list[RenderableType] = []
    for (suite, metric), group in groups.items():
        title = f"{metric} of {suite}"
        if is_answered:
            tables += ["", sentence(_answer(title, group), console, "bold")]
        by_kind: dict[tuple[str | None, str | None], list[Difference]] = {}
        for one in group:
            by_kind.setdefault((one.paired.run.key.method, one.paired.run.key.subset), []).append(one)
        if is_short and len(by_kind) > 1 and len(group) > _LONG:
            shown = _most_telling(group)
            rest = f"{len(group) - len(shown):,} more values; --cells shows all"
            tables += ["", _table(title, shown, console), Text(rest, style="dim")]
            continue
        for kind, own in by_kind.items() if len(group) > _LONG else [((None, None), group)]:
            own_title = " / ".join([title, *filter(None, kind)])
            is_matrix = all(one.paired.run.key.severity for one in own) and not display_family(suite).has_frames
            is_matrix &= (
                len(own) > 1 and len({(one.paired.run.key.method, one.paired.run.key.subset) for one in own}) == 1
            )
            tables += ["", _matrix(own_title, own) if is_matrix else _table(own_title, own, console)]
    if tables:
        levels = Counter(one.level for one in differences if one.p is not None)
        family = (
            f"{levels.total()} {differences[0].level}s"
            if len(levels) == 1 and OTHER not in levels
            else "its family of tests"
        )
        mark = f"{glyphs(console)['yes']} or *"
        legend = f"{mark} significant: p ≤ .05 after Holm's correction over {family}; {glyphs(console)['no']} not"
        tables.append(Text(plain(legend, console), style="dim"))
    return tables


def _most_telling(group: Sequence[Difference]) -> list[Difference]:
    """Return the values of clean images and of whole suites, and the largest significant changes; else the largest changes."""
    whole = [one for one in group if not one.paired.run.key.severity]
    cells = sorted((one for one in group if one.paired.run.key.severity), key=lambda one: -abs(one.gain))
    found = [one for one in cells if one.is_significant] or cells
    return [*whole[:_LONG], *found[: max(_LONG - len(whole), 4)]]


def _table(title: str, differences: Sequence[Difference], console: Console) -> Table:
    """Return a row for each difference, the largest improvement first, with its interval drawn on a common axis."""
    rows = sorted(differences, key=lambda one: -one.gain)
    base, run = _short_names(rows[0].base_model, rows[0].run_model)
    is_headline = title == _HEADLINES
    names = [str(one.paired.run) if is_headline else place(one) for one in rows]
    ends = [_ends(one) for one in rows]
    with_p = is_headline or console.width >= _WITH_P
    widths = [
        max(map(len, names)),
        *(min(max(len(name), 6), 12 if console.width >= _WITH_P else 8) for name in (base, run)),
        6,
        max(map(len, ends)),
    ]
    width = 0 if is_headline else console.width - sum(widths) - 2 * len(widths) - (9 if with_p else 0)
    table = Table(title=_unit_title(title, rows), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", min_width=None if is_headline else min(widths[0], 28), overflow="fold")
    for header, limit in zip((base, run), widths[1:3], strict=True):
        table.add_column(header, justify="right", width=limit, overflow="fold")
    table.add_column("change", justify="right", no_wrap=True)
    table.add_column("95 % CI", justify="right", no_wrap=True)
    spans = [Span(one.paired.ci_low, one.paired.ci_high, one.paired.change, one.is_significant) for one in rows]
    unit = str(rows[0].paired.run.row["unit"])
    drawn = forest(spans, width, unit, console, sign="+") if width >= LEAST_FOREST else None
    if drawn is not None:
        table.add_column(drawn[0], no_wrap=True)
    for header in ("p", "p, Holm") if is_headline else ("p, Holm",) if with_p else ():
        table.add_column(header, justify="right", no_wrap=True)
    for index, (one, name) in enumerate(zip(rows, names, strict=True)):
        paired, unit = one.paired, str(one.paired.run.row["unit"])
        style = _style(one)
        table.add_row(
            Text(name, style=style),
            number(paired.base.value, unit),
            number(paired.run.value, unit),
            Text(number(paired.change, unit, "+") + ("*" if one.is_significant and drawn is None else ""), style=style),
            ends[index],
            *([] if drawn is None else [Text(drawn[1][index], style=style)]),
            *([format_p_value(one.p)] if is_headline else []),
            *([format_p_value(one.p_holm)] if with_p else []),
        )
    return table


def _matrix(title: str, differences: Sequence[Difference]) -> Table:
    """Return the changes of cells: a row for each corruption, a column for each severity."""
    severities = sorted({int(one.paired.run.key.severity or 0) for one in differences})
    rows: dict[tuple[str, int | None], dict[int, Difference]] = {}
    for one in differences:
        key = one.paired.run.key
        rows.setdefault((key.corruption or "", key.resolution), {})[int(key.severity or 0)] = one
    several = len({size for _, size in rows}) > 1
    title = f"change of {_unit_title(title, differences)} by severity"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for severity in severities:
        table.add_column(str(severity), justify="right", min_width=7)
    for (name, size), cells in sorted(rows.items(), key=lambda row: -math.fsum(one.gain for one in row[1].values())):
        texts = [_cell(cells[severity]) if severity in cells else Text() for severity in severities]
        table.add_row(f"{name} at {size} px" if several else name, *texts)
    return table


def _cell(one: Difference) -> Text:
    change = number(one.paired.change, str(one.paired.run.row["unit"]), "+")
    return Text(change + ("*" if one.is_significant else " "), style=_style(one))


def _unit_title(title: str, rows: Sequence[Difference]) -> str:
    unit = str(rows[0].paired.run.row["unit"])
    return f"{title}, {'% and pp' if unit in ('fraction', 'percent') else unit}"


def _ends(one: Difference) -> str:
    unit = str(one.paired.run.row["unit"])
    ends = [number(end, unit, "+") for end in (one.paired.ci_low, one.paired.ci_high)]
    return f"{ends[0]} to {ends[1]}" if all(ends) else ""


def _style(one: Difference) -> str:
    return ("bold green" if one.gain > 0 else "bold red") if one.is_significant else ""


def _short_names(first: str, second: str) -> tuple[str, str]:
    """Return two names without their common beginning, which ends after a separator; text in parentheses stays whole."""
    parts = [re.findall(r" *\(.*\)|[^_\-/ (]+[_\-/ ]*|.", name) for name in (first, second)]
    common = 0
    while common < min(map(len, parts)) - 1 and parts[0][common] == parts[1][common]:
        common += 1
    first, second = ("".join(of_name[common:]).strip() for of_name in parts)
    bare = [re.fullmatch(r"\((.*)\)", name) for name in (first, second)]
    return (bare[0][1], bare[1][1]) if bare[0] and bare[1] else (first, second)
