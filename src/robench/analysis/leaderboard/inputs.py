"""Inputs of a leaderboard: run directories, and files whose header shows their kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robench.analysis.leaderboard.columns import ENDS, metric_columns
from robench.analysis.leaderboard.robustbench import robustbench_rows
from robench.analysis.leaderboard.rows import Row, file_rows, pooled_rows, run_rows
from robench.analysis.leaderboard.schema import leaderboard_of
from robench.analysis.leaderboard.timm_results import is_timm, timm_rows
from robench.errors import TableError, one_line
from robench.runs.csv import read_cells, read_csv, read_text, without_groups
from robench.runs.directory import RunDirectory
from robench.runs.files import read_start
from robench.runs.schema import RESULTS, SCHEMA_VERSION, check_cell
from robench.types import Results

__all__ = ["KINDS", "Kind", "is_leaderboard", "read_board", "read_pooled", "read_results", "read_rows"]


@dataclass(frozen=True)
class Kind:
    """A kind of CSV file.

    Attributes:
        name: Name for messages.
        matches: Returns whether a header is of this kind.
        rows: Reads a file; the suites are those of `read_rows`.
    """

    name: str
    matches: Callable[[list[str]], bool]
    rows: Callable[[Path, Sequence[str] | None], list[Row]]


def read_rows(path: Path, suites: Sequence[str] | None = None) -> list[Row]:
    """Read the rows of a run directory, a CSV file, or JSON of timm or RobustBench.

    Args:
        path: The run directory or file. Its values must be finite, and no cell may be a formula.
        suites: Suites of a run or of a results.csv to show in addition to the clean images; None for all.

    Raises:
        RobenchError: The input is of another kind, or has an invalid cell.
    """
    if path.is_dir():
        rows = run_rows(path, suites)
    elif path.suffix.lower() == ".json":
        rows = _json_rows(path)
    else:
        header = read_cells(path).header
        kind = next((kind for kind in KINDS if kind.matches(header)), None)
        if kind is None:
            raise TableError(
                f"{path} is of no known kind",
                f"name a run directory, {', '.join(kind.name for kind in KINDS)}, or RobustBench's .json",
            )
        rows = kind.rows(path, suites)
    if not rows:
        raise TableError(f"{path} has no rows", "leave it out, or write it again")
    return [_checked(path, row) for row in rows]


def _json_rows(path: Path) -> list[Row]:
    """Return the rows of JSON: timm's is a row or a list of rows, RobustBench's describes one model."""
    # The log of timm's validate.py ends with this mark and the JSON.
    text = read_text(path).rpartition("--result")[2]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not JSON ({one_line(error)})", "save it again") from error
    rows = content if isinstance(content, list) else [content]
    if rows and all(isinstance(row, dict) and "model" in row for row in rows):
        places = [f"{path}, row {number}" for number in range(1, len(rows) + 1)]
        return timm_rows(path, list(zip(places, rows, strict=True)))
    return robustbench_rows(path, content)


def read_pooled(paths: Sequence[Path], suites: Sequence[str] | None = None) -> Row:
    """Return the row of run directories that differ only in their seed, averaged as `robench pool` does.

    Raises:
        RobenchError: The runs differ in more than their seed, or are unfinished.
    """
    (row,) = pooled_rows(paths, suites)
    return _checked(paths[0], row)


def read_results(path: Path) -> Results | None:
    """Return the results of a run directory or of a results.csv; None for another input."""
    if path.is_dir():
        return RunDirectory.open(path).read_results()
    is_table = path.suffix.lower() != ".json" and read_cells(path).header == RESULTS.names
    return without_groups(read_csv(RESULTS, path)) if is_table else None


def read_board(path: Path) -> list[Row]:
    """Return the rows of a leaderboard.csv."""
    return [_checked(path, row) for row in _board_rows(path, None)]


def is_leaderboard(path: Path) -> bool:
    """Return whether a file is a leaderboard.csv, by its header."""
    header = next(csv.reader([read_start(path).lstrip("\ufeff").partition("\n")[0]]), [])
    return header == leaderboard_of(header).names


def _board_rows(path: Path, _: Sequence[str] | None) -> list[Row]:
    frame = read_csv(leaderboard_of(read_cells(path).header), path)
    if (frame["schema"] != SCHEMA_VERSION).any():
        raise TableError(
            f"{path} has schema {frame['schema'].iloc[0]}, and this robench reads {SCHEMA_VERSION}",
            "write it again from the runs",
        )
    rows: list[Row] = frame.to_dict("records")
    return rows


def _timm(path: Path, _: Sequence[str] | None) -> list[Row]:
    cells = read_cells(path)
    lines = [(f"{path}, line {number}", line) for number, line in cells.lines]
    return timm_rows(path, lines, thousands=cells.delimiter == ",")


KINDS: tuple[Kind, ...] = (
    Kind("a leaderboard.csv", lambda header: "rank_by" in header, _board_rows),
    Kind("a results.csv", lambda header: "metric" in header and "data_sha" in header, file_rows),
    Kind("a result file of timm", is_timm, _timm),
)
"""Kinds of CSV files. The first two have a column that no other kind has; if another column is missing, the error names it."""


_LARGEST = 2**63 - 1
"""Upper bound of all numbers: integer columns hold no more, and infinity and NaN are not below it."""


def _checked(path: Path, row: Row) -> Row:
    """Return the filled cells of a row; RobenchError if a cell is invalid."""
    filled: Row = {name: value for name, value in row.items() if not pd.isna(value)}
    metrics = metric_columns(row)
    bounds = {"top1_err": (0, 100), "top5_err": (0, 100)}
    bounds |= {metric.column: (-100 if metric.is_signed else 0, 100) for metric in metrics if metric.is_rate}
    for column in leaderboard_of(row).columns:
        value = filled.get(column.name)
        if value is None:
            if not column.nullable and column.name != "rank_by":
                raise TableError(f"{path} has a row without {column.name}", "fill the cell, or remove the row")
        elif column.type == "string":
            check_cell(f"{column.name} in {path}", value)
        else:
            lowest, highest = bounds.get(column.name, (-_LARGEST, _LARGEST))
            if not lowest <= value <= highest:
                raise TableError(
                    f"{path}: {filled.get('model')} cannot have a {column.name} of {value}", "correct the cell"
                )
    for metric in metrics:
        low, high = (filled.get(metric.column + end) for end in ENDS)
        if low is not None and high is not None and low > high:
            raise TableError(
                f"{path}: the interval of {metric.column} of {filled['model']} ends before it begins",
                "correct the cells",
            )
    return filled
