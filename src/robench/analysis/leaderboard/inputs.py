"""What a leaderboard is made of: runs, and files whose kind is told by their header, in one explicit table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from robench.analysis.leaderboard.columns import ENDS, FIGURES, side_column, sides_of
from robench.analysis.leaderboard.robustbench import robustbench_rows
from robench.analysis.leaderboard.rows import Row, pooled_rows, rows_of_results, run_rows
from robench.analysis.leaderboard.schema import leaderboard_of
from robench.analysis.leaderboard.timm_results import COLUMNS, timm_rows
from robench.analysis.metrics import METRICS
from robench.errors import TableError
from robench.runs.csv import read_csv
from robench.runs.files import read_start
from robench.runs.schema import RESULTS, SCHEMA_VERSION, Table, check_cell

__all__ = ["KINDS", "Kind", "is_leaderboard", "read_board", "read_pooled", "read_rows"]


@dataclass(frozen=True)
class Kind:
    """A kind of CSV file.  matches: whether a header is one's.  rows: of the file at a path; suites: as for `read_rows`."""

    name: str
    matches: Callable[[list[str]], bool]
    rows: Callable[[Path, Sequence[str] | None], list[Row]]


def read_rows(path: Path, suites: Sequence[str] | None = None) -> list[Row]:
    """Rows of a run directory, a CSV file or RobustBench's JSON, checked: figures are finite, no cell is a formula.

    suites: which of the suites of a run or of a results.csv count, beside the clean images; None for all.
    Raises RobenchError for everything else.
    """
    if path.is_dir():
        rows = run_rows(path, suites)
    elif path.suffix == ".json":
        rows = robustbench_rows(path, _text(path))
    else:
        header = next(iter(_cells(path)), [])
        kind = next((kind for kind in KINDS if kind.matches(header)), None)
        if kind is None:
            raise TableError(
                f"{path} is none of: a run directory, {', '.join(kind.name for kind in KINDS)}, RobustBench's .json"
            )
        rows = kind.rows(path, suites)
    if not rows:
        raise TableError(f"{path} has no rows")
    return [_checked(path, row) for row in rows]


def read_pooled(paths: Sequence[Path], suites: Sequence[str] | None = None) -> Row:
    """The row of run directories that differ in their seed alone, averaged as `robench pool` does. RobenchError for others."""
    (row,) = pooled_rows(paths, suites)
    return _checked(paths[0], row)


def read_board(path: Path) -> list[Row]:
    """Return the rows of a leaderboard.csv."""
    return [_checked(path, row) for row in _board_rows(path, None)]


def is_leaderboard(path: Path) -> bool:
    """Return whether a file is a leaderboard.csv, by its header."""
    return _is_board(next(csv.reader([read_start(path).lstrip("\ufeff").partition("\n")[0]]), []))


def _is_board(header: list[str]) -> bool:
    return bool(header) and header == _board_of(header).names


def _board_of(header: list[str]) -> Table:
    """The columns of a board with that header; one of an older robench lacks the figures that came later."""
    whole = leaderboard_of(sides_of(header))
    return replace(whole, columns=tuple(one for one in whole.columns if one.name in header or one.name not in _FIGURES))


def _board_rows(path: Path, _: Sequence[str] | None) -> list[Row]:
    frame = read_csv(_board_of(next(iter(_cells(path)))), path)
    if (frame["schema"] != SCHEMA_VERSION).any():
        raise TableError(f"{path} has schema {frame['schema'].iloc[0]}, this robench reads {SCHEMA_VERSION}")
    rows: list[Row] = frame.to_dict("records")
    return rows


def _timm(path: Path, _: Sequence[str] | None) -> list[Row]:
    header, *lines = _cells(path)
    return timm_rows(path, header, lines)


KINDS: tuple[Kind, ...] = (
    Kind("a leaderboard.csv", _is_board, _board_rows),
    Kind(
        "a results.csv",
        lambda header: header == RESULTS.names,
        lambda path, suites: rows_of_results(read_csv(RESULTS, path), path, suites),
    ),
    Kind("a result file of timm", lambda header: tuple(header[: len(COLUMNS)]) == COLUMNS, _timm),
)
"""The kinds of CSV files."""


def _cells(path: Path) -> list[list[str]]:
    """All cells of a CSV file; TableError unless its lines are equally long."""
    try:
        lines = [line for line in csv.reader(_text(path).splitlines(), strict=True) if line]
    except csv.Error as error:
        raise TableError(f"cannot read {path} as CSV: {error}") from error
    if any(len(line) != len(lines[0]) for line in lines):
        raise TableError(f"{path} is no table: its lines have different numbers of cells")
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"cannot read {path} as text: {error}") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}") from error


_LARGEST = 2**63
"""Nothing is counted so far, no integer column holds more, and what is not finite is not below it."""

_FIGURES = {figure.column + end for figure in FIGURES for end in ("", *ENDS)}

_FRACTIONS = {figure.column for figure in FIGURES if METRICS[figure.metric].unit == "fraction"} | {
    "top1_err",
    "top5_err",
}


def _checked(path: Path, row: Row) -> Row:
    """The row's filled cells, fit to be written; RobenchError if they are not."""
    sides = sides_of(list(row))
    filled: Row = {name: value for name, value in row.items() if not pd.isna(value)}
    rates = _FRACTIONS | {side_column(side) for side in sides}
    for column in leaderboard_of(sides).columns:
        value = filled.get(column.name)
        if value is None:
            if not column.nullable and column.name != "rank_by":
                raise TableError(f"{path} has a row without {column.name}")
        elif column.type == "string":
            check_cell(f"{column.name} in {path}", value)
        elif not -_LARGEST < value < _LARGEST or (column.name in rates and not 0 <= value <= 100):
            raise TableError(f"{path}: {filled.get('model')} cannot have a {column.name} of {value}")
    for name in [*(figure.column for figure in FIGURES), *(side_column(side) for side in sides)]:
        low, high = (filled.get(name + end) for end in ENDS)
        if low is not None and high is not None and low > high:
            raise TableError(f"{path}: {filled['model']} has an interval of {name} that ends before it begins")
    return filled
