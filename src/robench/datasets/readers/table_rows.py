"""Rows of a table of labels: CSV, TSV, JSON lines, or a text list with a path and a label in each line."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from robench.datasets.io.bounded import file_size, os_error, read_limited, read_part
from robench.datasets.io.directories import image_suffixes
from robench.datasets.readers.labels import LABEL_COLUMNS, PATH_COLUMNS, lower_keys, parse_json
from robench.datasets.readers.splits import split_of
from robench.errors import DatasetError, one_line

__all__ = ["TABLE_BYTES", "TABLE_SUFFIXES", "Row", "first_row", "read_rows"]

TABLE_BYTES = 2**28
"""Most bytes of a table."""
_HEAD_BYTES = 2**16
"""Bytes that hold the first row."""
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_SPACE = " "
"""Any white space between a path and its label."""
_BOXES = "predictionstring"
"""Column of a class and a box, as in Kaggle's LOC_val_solution.csv."""
TABLE_SUFFIXES = (*_DELIMITERS, ".jsonl", ".json")
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

Exists = Callable[[str], bool]
"""Returns whether a path in a table names an image; used to tell columns apart."""


class Row(NamedTuple):
    """A labelled image in a table.

    Attributes:
        line: Line number, from 1.
        name: Path as the table writes it.
        label: Label as the table writes it.
        may_lack_suffix: Whether the path may lack its file extension, because the columns have names or the file that of a split.
    """

    line: int
    name: str
    label: object
    may_lack_suffix: bool


def first_row(table: Path, exists: Exists, columns: tuple[int, int] | None = None) -> Row | None:
    """Return the first row of `read_rows` from the beginning of the table alone; None for an empty table.

    Raises:
        DatasetError: The row is invalid.
    """
    if table.suffix.lower() == ".json":  # A part of it is not JSON.
        return next(read_rows(table, exists, columns), None)
    try:
        content = read_part(table, 0, min(file_size(table), _HEAD_BYTES))
    except OSError as error:
        raise os_error(table, error) from error
    return next(_rows(table, _decoded(table, content, len(content) == _HEAD_BYTES), exists, columns), None)


def read_rows(table: Path, exists: Exists, columns: tuple[int, int] | None = None) -> Iterator[Row]:
    """Yield the rows of a table.

    Args:
        table: The table.
        exists: Tells the columns of a table without names apart.
        columns: Positions of the path and the label; None to find them.

    Raises:
        DatasetError: A row is invalid; the message names the first such line.
    """
    return _rows(table, _decoded(table, read_limited(table, TABLE_BYTES)), exists, columns)


def _decoded(table: Path, content: bytes, is_cut: bool = False) -> str:
    encoding = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding, "ignore" if is_cut else "strict")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{table} is not UTF-8 text", "save it as UTF-8") from error


def _rows(table: Path, text: str, exists: Exists, columns: tuple[int, int] | None = None) -> Iterator[Row]:
    if table.suffix.lower() == ".jsonl":
        lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        return (_json_row(f"{table.name}, line {number}", number, _json(table, number, line)) for number, line in lines)
    if table.suffix.lower() == ".json":
        return _json_rows(table, text)
    if match := re.match(r'"?sep=([,;\t|])"?\r?\n', text):  # Excel's line that names the delimiter
        return _text_rows(table, "\n" + text[match.end() :], match[1], exists, columns)
    comments = re.match(r"(#[^.\n]*\n)*", text)  # A path has a dot.
    text = "\n" * comments[0].count("\n") + text[comments.end() :] if comments else text
    return _text_rows(table, text, _delimiter(table, text, exists), exists, columns)


def _json_rows(table: Path, text: str) -> Iterator[Row]:
    """Yield the rows of an object with the labels of each path, or of a list of objects."""
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DatasetError(f"{table.name} is not JSON ({one_line(error)})", "save it again") from error
    if isinstance(content, dict):
        for number, (name, label) in enumerate(content.items(), 1):
            yield Row(number, name, label, True)
    elif isinstance(content, list):
        for number, value in enumerate(content, 1):
            if isinstance(value, list | str | int):
                raise DatasetError(
                    f"{table.name} lists labels without paths", "give it as --labels FILE, and the images as --data"
                )
            yield _json_row(f"{table.name}, item {number}", number, value)
    else:
        raise DatasetError(f"{table.name} is neither a JSON object nor a list", "write {PATH: LABEL, ...}")


def _json(table: Path, number: int, line: str) -> object:
    try:
        return parse_json(line)
    except ValueError as error:
        problem = f"{table.name}, line {number} is not JSON ({one_line(error)})"
        raise DatasetError(problem, "write one object per line") from error


def _json_row(where: str, number: int, value: object) -> Row:
    if not isinstance(value, dict):
        raise DatasetError(f"{where} is not a JSON object", 'write {"file_name": PATH, "label": LABEL}')
    value = lower_keys(value)
    path, label = _column(value, PATH_COLUMNS), _column(value, LABEL_COLUMNS)
    if path is None or label is None:
        raise _lacks(where, "path" if path is None else "label")
    name = value[path]
    if not isinstance(name, str):
        raise DatasetError(f"{where}: the path in {path!r} is not text", "write the path of the image as a text")
    return Row(number, name, value[label], True)


def _delimiter(table: Path, text: str, exists: Exists) -> str:
    """Return the delimiter with which the first row has names of columns, or names an image; else the usual one."""
    usual = _DELIMITERS.get(table.suffix.lower(), "\t")
    head = text[:_HEAD_BYTES]
    rows = {
        delimiter: _first_cells(table, head, delimiter)
        for delimiter in dict.fromkeys((usual, "\t", ",", ";", "|", _SPACE))
    }
    for delimiter, cells in rows.items():
        if None not in _named(cells) or (len(cells) > 1 and any(exists(cell.strip()) for cell in cells[:2])):
            return delimiter
    return next((delimiter for delimiter, cells in rows.items() if len(cells) > 1), usual)


def _first_cells(table: Path, text: str, delimiter: str) -> list[str]:
    try:
        return next((cells for _, cells in _cells(table, text, delimiter)), [])
    except DatasetError:
        return []


def _cells(table: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row that is not blank, without blank cells at its end."""
    if delimiter == _SPACE:
        for line, content in enumerate(re.split("\r\n|\r|\n", text), 1):
            if content.strip():
                yield line, _split(content.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{table.name}, line {line} cannot be read ({one_line(error)})", "save the table as plain CSV"
        ) from error


def _split(line: str) -> list[str]:
    """Split a line at the first white space after the extension of an image, else at all white space."""
    match = _path_and_label().fullmatch(line)
    is_one_label = match is not None and re.fullmatch(r"[-+.\d]+(\s+[-+.\d]+)+", match[2]) is None
    return [match[1], match[2]] if match and is_one_label else line.split()


@lru_cache(maxsize=1)
def _path_and_label() -> re.Pattern[str]:
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(image_suffixes()))
    return re.compile(rf"(.*?(?:{suffixes}))\s+(\S.*)", re.IGNORECASE)


def _text_rows(
    table: Path, text: str, delimiter: str, exists: Exists, columns: tuple[int, int] | None
) -> Iterator[Row]:
    is_named, width, has_boxes = False, None, False
    is_split = split_of(table.stem) != ""
    for line, cells in _cells(table, text, delimiter):
        if columns is None:
            columns, is_named = _columns(table, line, cells, exists)
            width = len(cells)
            if is_named:
                has_boxes = cells[columns[1]].strip().lower() == _BOXES
                continue
        where = f"{table.name}, line {line}"
        if width is not None and len(cells) > width:
            raise DatasetError(
                f"{where} has {len(cells)} columns, but the first line has {width}",
                "put quotes around a text with a delimiter",
            )
        name, label = ((cells[column] if column < len(cells) else "").strip() for column in columns)
        if len(label.splitlines()) > 1:
            raise DatasetError(f"{where} has a label of several lines", "close its quotes")
        yield Row(line, name, label.split(" ")[0] if has_boxes else label, is_named or is_split)


def _columns(table: Path, line: int, cells: list[str], exists: Exists) -> tuple[tuple[int, int], bool]:
    """Return the columns of the path and of the label, and whether the row names them."""
    where = f"{table.name}, line {line}"
    path, label = _named(cells)
    if path is not None and label is not None:
        return (path, label), True
    if len(cells) == 1:
        raise DatasetError(f"{where} has one column", "write a path and a label in each line")
    if len(cells) != 2 or path is not None or label is not None:
        raise _lacks(where, "path" if path is None else "label")
    is_label_first = exists(cells[1].strip()) and not exists(cells[0].strip())
    return (1, 0) if is_label_first else (0, 1), False


def _named(cells: list[str]) -> tuple[int | None, int | None]:
    """Return the positions of the columns that are named as those of the path and of the label."""
    names = {re.sub(r"[\s-]+", "_", cell.strip().lower()): column for column, cell in reversed(list(enumerate(cells)))}
    path, label = _column(names, PATH_COLUMNS), _column(names, LABEL_COLUMNS)
    return None if path is None else names[path], None if label is None else names[label]


def _column(names: Mapping[str, object], known: tuple[str, ...]) -> str | None:
    return next((name for name in known if name in names), None)


def _lacks(where: str, kind: str) -> DatasetError:
    known = PATH_COLUMNS if kind == "path" else LABEL_COLUMNS
    return DatasetError(f"{where} names no column of {kind}s", f"name it {known[0]} (known: {', '.join(known)})")
