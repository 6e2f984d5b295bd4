"""A leaderboard for a terminal, within its width."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from robench.analysis.leaderboard.formats import cell_text
from robench.analysis.leaderboard.grids import INTERVALS, Cell, Grid, grids
from robench.analysis.leaderboard.ranking import Board

__all__ = ["board_tables"]

_LONGEST = 28
"""Width of a text in a column before it is folded."""


def board_tables(board: Board, console: Console, intervals: str = INTERVALS[0]) -> Group:
    """Return a table for each section. Intervals become shorter, and the last columns are left out, where space is missing."""
    parts: list[RenderableType] = []
    for grid in grids(board):
        parts += [*([""] if parts else []), Text(grid.caption, style="bold"), *_fitted(grid, console.width, intervals)]
        parts += [Text(f"warning: {text}", style="yellow") for text in grid.warnings]
        parts += [Text(f"note: {text}", style="dim") for text in grid.notes]
    return Group(*parts)


def _fitted(grid: Grid, width: int, intervals: str) -> list[RenderableType]:
    """Return the table with models as rows, else as columns, else without its last columns."""
    forms = INTERVALS[INTERVALS.index(intervals) :]
    for form in forms:
        left = width - sum(_widths(grid, form)) - 2 * (len(grid.columns) - 1)
        if left >= 0:
            return [_table(grid, range(len(grid.columns)), form, left)]
    for form in forms:
        labels = 2 + max(len(column.heading) for column in grid.columns)
        if labels + sum(size + 2 for size in _model_widths(grid, form)) <= width:
            return [_transposed(grid, form)]
    ranked = next((index for index, column in enumerate(grid.columns) if column.is_ranked), 0)
    sizes = _widths(grid, forms[-1])
    chosen, left = [], width - sizes[ranked] - 2
    for index, size in enumerate(sizes):
        left -= size + 2 if index != ranked else 0
        if left < -2:
            break
        chosen.append(index)
    chosen += [] if ranked in chosen else [ranked]
    left_out = ", ".join(column.heading for index, column in enumerate(grid.columns) if index not in chosen)
    return [
        _table(grid, chosen, forms[-1]),
        Text(f"left out at this width: {left_out}; --format csv has all columns", style="dim"),
    ]


def _widths(grid: Grid, form: str) -> list[int]:
    """Return the width of each column; headings are folded at spaces."""
    return [
        max(
            *map(len, column.heading.split()),
            *(min(len(cell_text(row[index], form)), _LONGEST if column.is_text else 99) for row in grid.rows),
            0,
        )
        for index, column in enumerate(grid.columns)
    ]


def _model_widths(grid: Grid, form: str) -> list[int]:
    """Return the width of each model's column in the transposed table."""
    return [
        max(min(len(_model(grid, row)), _LONGEST), *(len(cell_text(cell, form)) for cell in _numbers(grid, row)))
        for row in grid.rows
    ]


def _table(grid: Grid, chosen: Sequence[int], form: str, left: int = 0) -> Table:
    """Return the chosen columns; names of models take up to `left` characters more before they are folded."""
    table = Table(box=None, pad_edge=False)
    widths = _widths(grid, form)
    names = next(index for index, column in enumerate(grid.columns) if column.is_text)
    widths[names] += min(left, max(len(row[names].text) for row in grid.rows) - widths[names])
    for index in chosen:
        column = grid.columns[index]
        table.add_column(
            column.heading,
            justify="left" if column.is_text else "right",
            overflow="fold",
            width=widths[index],
            header_style="bold underline" if column.is_ranked else "bold",
        )
    for row in grid.rows:
        table.add_row(*(_styled(row[index], form) for index in chosen))
    return table


def _transposed(grid: Grid, form: str) -> Table:
    """Return a row for each column of the grid, and a column for each model."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for row, width in zip(grid.rows, _model_widths(grid, form), strict=True):
        table.add_column(_model(grid, row), justify="right", overflow="fold", width=width)
    group = ""
    for index, column in enumerate(grid.columns):
        if column.is_text:
            continue
        if column.group != group:
            group = column.group
            table.add_row(Text(group, style="dim"))
        heading = Text(f"{'  ' if group else ''}{column.heading}", style="underline" if column.is_ranked else "")
        table.add_row(heading, *(_styled(row[index], form) for row in grid.rows))
    return table


def _model(grid: Grid, row: Sequence[Cell]) -> str:
    return " + ".join(cell.text for cell, column in zip(row, grid.columns, strict=True) if column.is_text and cell.text)


def _numbers(grid: Grid, row: Sequence[Cell]) -> list[Cell]:
    return [cell for cell, column in zip(row, grid.columns, strict=True) if not column.is_text]


def _styled(cell: Cell, form: str) -> Text:
    text = cell_text(cell, form)
    if not cell.is_best or math.isnan(cell.value):
        return Text(text, "bold cyan" if cell.is_own else "")
    return Text.assemble((cell.number, "bold green"), text.removeprefix(cell.number))
