"""The declared tables as CSV files, and CSV files of other programs.

Spreadsheets write semicolons or tabs, decimal commas, byte order marks, UTF-16, empty lines and empty columns. All of them are read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robench.errors import TableError
from robench.runs.files import atomic_write, decode_text, read_start
from robench.runs.schema import Column, Table, rows_to_frame

if TYPE_CHECKING:
    import pandas as pd

    from robench.types import Records, Results

__all__ = [
    "Cells",
    "has_header",
    "parse_number",
    "read_cells",
    "read_csv",
    "read_text",
    "read_versions",
    "without_groups",
    "write_csv",
]

_DELIMITERS = ",;\t"

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")

_PLAIN = "save the table as CSV in UTF-8"


@dataclass(frozen=True)
class Cells:
    """The cells of a CSV file as text.

    Attributes:
        path: The file.
        delimiter: Character between the cells.
        header: Names of the columns.
        lines: Number of each line in the file, with its cells by column. Empty lines are left out.
    """

    path: Path
    delimiter: str
    header: list[str]
    lines: list[tuple[int, dict[str, str]]]


def write_csv(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a table atomically, with the shortest exact decimal of every number and empty cells for missing values."""
    table.check(frame)
    text = frame.to_csv(index=False, lineterminator="\n")
    atomic_write(path, lambda file: file.write(text.encode()))


def has_header(columns: Sequence[str]) -> Callable[[Path], bool]:
    """Return a function that tells whether a file is CSV with exactly these columns, for `check_replaceable`."""
    header = ",".join(columns)
    return lambda path: read_start(path).lstrip("\ufeff").partition("\n")[0].strip() == header


def read_versions(path: Path) -> tuple[str, str]:
    """Return `schema` and `robench_version` of a CSV file's first row; empty texts if it has none."""
    try:
        lines = read_cells(path).lines
    except TableError:
        return "", ""  # `read_csv` reports the problem.
    first = lines[0][1] if lines else {}
    return first.get("schema", ""), first.get("robench_version", "")


def read_text(path: Path) -> str:
    """Return the text of a file; TableError if it cannot be read or is in an unknown encoding."""
    try:
        return decode_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text", _PLAIN) from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error


def read_cells(path: Path) -> Cells:
    """Read a CSV file with commas, semicolons or tabs.

    Raises:
        TableError: The file cannot be read, is empty, or has a line of another length than the header.
    """
    text = read_text(path)
    start = next((line for line in text.splitlines() if line.strip(" \t,;")), "")
    delimiter = max(_DELIMITERS, key=start.count)  # A comma if the line has none of them.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    lines: list[tuple[int, dict[str, str]]] = []
    try:
        for row in reader:
            while len(row) > len(header) and not row[-1].strip():
                row.pop()
            if not any(map(str.strip, row)) or (
                not header and row[0].startswith("sep=")
            ):  # Spreadsheets state their delimiter.
                continue
            if not header:
                header = [name.strip() for name in row]
                continue
            if len(row) != len(header):
                raise TableError(
                    f"{path}, line {reader.line_num} has {len(row)} cells for {len(header)} columns",
                    "quote cells that contain the delimiter, and complete cut lines",
                )
            lines.append((reader.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num} is not CSV ({error})", _PLAIN) from error
    if not header:
        raise TableError(f"{path} is empty", "write it again")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise TableError(f"{path} has two columns {twice!r}", "leave one out")
    return Cells(path, delimiter, header, lines)


def parse_number(text: str, *, thousands: bool = False) -> float:
    """Return the number in a cell, whose decimal sign is a point or a comma.

    Args:
        text: The cell.
        thousands: Whether a comma before three digits separates thousands.

    Raises:
        ValueError: The text is no number.
    """
    text = text.strip()
    if _THOUSANDS.fullmatch(text) and (thousands or text.count(",") > 1 or "." in text):
        text = text.replace(",", "")
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if "_" in text:  # Python's own notation.
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def read_csv(table: Table, path: Path) -> Results | Records:
    """Read a CSV file of the table, whose columns may have any order, with others between them.

    Raises:
        TableError: The file cannot be read, lacks columns, or has cells of another type.
    """
    cells = read_cells(path)
    missing = [name for name in table.names if name not in cells.header]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise TableError(f"{path} is not a {table.name} table: missing columns {named}", "write it again")
    rows = [
        {column.name: _parsed(column, line[column.name], f"{path}, line {number}") for column in table.columns}
        for number, line in cells.lines
    ]
    try:
        return rows_to_frame(table, rows)
    except TableError as error:
        raise TableError(f"{path}: {error.problem}", error.hint) from error


def _parsed(column: Column, text: str, where: str) -> str | float | int | None:
    """Return a cell in the type of its column; None if it is empty."""
    if not text.strip():
        return None
    if column.type == "string":
        return text
    try:
        value = parse_number(text)
    except ValueError:
        raise TableError(f"{where}: {column.name} is {text!r}, not a number", "correct the cell") from None
    if column.type == "double":
        return value
    if not value.is_integer() or abs(value) >= 2**63:
        raise TableError(f"{where}: {column.name} is {text!r}, not a whole number", "correct the cell")
    return int(value)


def without_groups(results: pd.DataFrame) -> pd.DataFrame:
    """Return results without the rows of groups of images. A subset with a method is no group, but a set of the suite `ood`."""
    return results[results["subset"].isna() | results["method"].notna()].reset_index(drop=True)
