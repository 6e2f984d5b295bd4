"""The declared tables as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robench.errors import TableError
from robench.runs.files import atomic_write, read_start

if TYPE_CHECKING:
    from robench.types import Records, Results
from robench.runs.schema import Table, rows_to_frame

__all__ = ["has_header", "read_csv", "read_versions", "write_csv"]


def write_csv(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a table atomically, with the shortest exact decimal of every number and empty cells for missing values."""
    table.check(frame)
    text = frame.to_csv(index=False, lineterminator="\n")
    atomic_write(path, lambda file: file.write(text.encode()))


def has_header(columns: Sequence[str]) -> Callable[[Path], bool]:
    """Return a function that tells whether a file is CSV with exactly these columns, for `check_replaceable`."""
    header = ",".join(columns)
    return lambda path: read_start(path).partition("\n")[0].strip() == header


def read_versions(path: Path) -> tuple[str, str]:
    """Return `schema` and `robench_version` of a CSV file's first row; empty texts if it has none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = next(csv.DictReader(file), {})
    except (OSError, UnicodeDecodeError, csv.Error):
        return "", ""  # `read_csv` reports the problem.
    return first.get("schema") or "", first.get("robench_version") or ""


def read_csv(table: Table, path: Path) -> Results | Records:
    """Read a CSV file of the table.

    Raises:
        TableError: The file cannot be read, has other columns, or has cells of another type.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise TableError(f"cannot read {path} as CSV: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise TableError(f"{path} has rows with more cells than columns")
    numbers = [column.name for column in table.columns if column.type != "string"]
    try:
        table.check(frame)
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return rows_to_frame(table, frame.to_dict("records"))
    except (TableError, ValueError, TypeError) as error:
        raise TableError(f"{path}: {error}") from error
