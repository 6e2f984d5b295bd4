"""Images in a flat folder with a table of labels: CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image, read_limited
from robench.datasets.io.directories import visible_folders
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import LABEL_COLUMNS, PATH_COLUMNS, classes_of, lower_keys, parse_json
from robench.errors import DatasetError, one_line

__all__ = ["LABEL_TABLE", "tables_in"]

_TABLE_BYTES = 2**28
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_DELIMITERS, ".jsonl")
_NAMES = tuple(f"{stem}{suffix}" for stem in ("labels", "metadata") for suffix in _SUFFIXES)
"""File names of tables; metadata.* is the convention of Hugging Face's image folders."""

_Row = tuple[int, str, object]
"""Line number from 1, path in the file, label in the file."""


def tables_in(folder: Path) -> list[Path]:
    """Return the tables of labels in a folder."""
    return [folder / name for name in _NAMES if (folder / name).is_file()]


def _matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES
    tables = tables_in(path)
    if not tables:
        return False
    # With class folders, a table may have another purpose: it counts if its first line names an image.
    return not visible_folders(path) or any(_names_an_image(table) for table in tables)


def _names_an_image(table: Path) -> bool:
    try:
        _, name, _ = next(_rows(table), (0, "", None))
        return bool(name) and (table.parent / _inside(name, "")).is_file()
    except DatasetError:
        return False


def _read(path: Path) -> ImageDataset:
    table, notes = (path, []) if path.is_file() else _only_table(path)
    root = table.parent
    resolve = cache(os.path.realpath)  # for folders, mostly the same few
    lines: dict[str, int] = {}
    labels: dict[str, object] = {}
    for line, name, label in _rows(table):
        where = f"{table.name}, line {line}"
        relative = _inside(name, where)
        if relative in lines:
            raise DatasetError(f"{where}: {relative!r} is already in line {lines[relative]}", "label each image once")
        _check_file(root, relative, resolve, where)
        lines[relative], labels[relative] = line, label
    if not lines:
        raise DatasetError(f"{table} labels no image", "write one line for each image, its path and its label")
    paths = tuple(sorted(lines))
    numbers, classes = classes_of(
        [labels[path] for path in paths], lambda position: f"{table.name}, line {lines[paths[position]]}"
    )
    return ImageDataset(
        name=root.resolve().name if table.name in _NAMES else table.stem,
        paths=paths,
        labels=numbers,
        classes=classes,
        read=lambda position: read_image(root / paths[position]),
        notes=tuple(notes),
    )


def _only_table(folder: Path) -> tuple[Path, list[str]]:
    tables = tables_in(folder)
    if visible_folders(folder):
        tables = [table for table in tables if _names_an_image(table)] or tables
    if len(tables) > 1:
        raise DatasetError(f"{folder} holds {tables[0].name} and {tables[1].name}", "give one of the files")
    note = f"labels from {tables[0].name}, not from folders: move it away to make every folder a class"
    return tables[0], [note] if visible_folders(folder) else []


def _check_file(root: Path, relative: str, resolve: Callable[[str], str], where: str) -> None:
    """Raise DatasetError if the file is missing, or if links lead out of the folder; `resolve` follows links."""
    file, real = os.path.join(root, relative), resolve(str(root))  # noqa: PTH118 - once an image, and Path is slow
    try:
        status = os.lstat(file)
        # Most files are not links, and resolving their folder once is enough.
        target = resolve(file if stat.S_ISLNK(status.st_mode) else file.rpartition("/")[0])
        exists = stat.S_ISREG(status.st_mode) or Path(target).is_file()
    except (OSError, ValueError):
        exists, target = False, real
    if not exists:
        raise DatasetError(f"{where}: there is no file {relative!r} in {root}", "write paths relative to the table")
    if os.path.commonpath([real, target]) != real:
        raise DatasetError(
            f"{where}: {relative!r} is a link that leaves {root}", "copy the images themselves into it (cp -rL)"
        )


def _inside(name: str, where: str) -> str:
    """Return a path in a table in its shortest form, relative to the table."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise DatasetError(
            f"{where}: {name!r} is not a path within the folder", "write it relative to the table, without '..'"
        )
    return "/".join(parts)


def _rows(table: Path) -> Iterator[_Row]:
    """Yield the rows of a table; raise DatasetError with the line of the first invalid one."""
    try:
        text = read_limited(table, _TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{table} is not UTF-8 text", "save it as UTF-8") from error
    suffix = table.suffix.lower()
    return _json_rows(table, text) if suffix == ".jsonl" else _csv_rows(table, text, _DELIMITERS[suffix])


def _json_rows(table: Path, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{table.name}, line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            raise DatasetError(f"{where} is not JSON ({one_line(error)})", "write one object a line") from error
        if not isinstance(value, dict):
            raise DatasetError(f"{where} is not a JSON object", 'write {"file_name": PATH, "label": LABEL}')
        value = lower_keys(value)
        path, label = _column(value, PATH_COLUMNS), _column(value, LABEL_COLUMNS)
        if path is None or label is None:
            raise _lacks(where, "path" if path is None else "label")
        name = value[path]
        if not isinstance(name, str):
            raise DatasetError(f"{where}: the path in {path!r} is not text")
        yield number, name, value[label]


def _csv_rows(table: Path, text: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: tuple[int, int] | None = None
    line = 1
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                line = reader.line_num + 1
                continue
            if columns is None:
                columns, is_header = _columns(table, row)
                if is_header:
                    line = reader.line_num + 1
                    continue
            if len(row) <= max(columns):
                raise DatasetError(
                    f"{table.name}, line {line} has {len(row)} columns", "write a path and a label in each line"
                )
            name, label = (row[column].strip() for column in columns)
            if len(label.splitlines()) > 1:
                raise DatasetError(f"{table.name}, line {line} has a label of several lines", "close its quotes")
            yield line, name, label
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{table.name}, line {line} cannot be read ({one_line(error)})", "save the table as plain CSV"
        ) from error


def _columns(table: Path, row: list[str]) -> tuple[tuple[int, int], bool]:
    """Return the columns of the path and of the label, and whether the first row is a header."""
    other = next((mark for mark in ";\t|," if len(row) == 1 and mark in row[0]), None)
    if other is not None:
        delimiter = "a tab" if table.suffix.lower() == ".tsv" else "a comma"
        raise DatasetError(
            f"{table.name}, line 1 has one column, which contains {other!r}", f"write {delimiter} between columns"
        )
    names = {cell.strip().lower(): column for column, cell in reversed(list(enumerate(row)))}
    path, label = _column(names, PATH_COLUMNS), _column(names, LABEL_COLUMNS)
    if path is not None and label is not None:
        return (names[path], names[label]), True
    if len(row) != 2 or path is not None or label is not None:
        raise _lacks(f"{table.name}, line 1", "path" if path is None else "label")
    return (0, 1), False


def _column(names: Mapping[str, object], known: tuple[str, ...]) -> str | None:
    return next((name for name in known if name in names), None)


def _lacks(where: str, kind: str) -> DatasetError:
    known = PATH_COLUMNS if kind == "path" else LABEL_COLUMNS
    return DatasetError(f"{where} names no column of {kind}s", f"name it {known[0]} (known: {', '.join(known)})")


LABEL_TABLE = Reader(
    "table",
    "a flat folder with labels.csv or metadata.csv (also .tsv, .jsonl), or such a file: columns file_name and label",
    _matches,
    _read,
)
