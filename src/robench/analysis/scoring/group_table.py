"""Tables of groups of images: CSV, JSON lines, Parquet or Arrow, with paths or in the order of a dataset's rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robench.errors import OptionError, one_line
from robench.runs.files import decode_text
from robench.runs.sample_names import SampleNames
from robench.runs.schema import GROUPS, check_cell

__all__ = ["read_groups"]

_PATHS = (
    "path",
    "file_name",
    "filename",
    "file",
    "image",
    "image_path",
    "filepath",
    "file_path",
    "image_id",
    "name",
    "id",
)
"""Names of the column of paths, by preference."""
_LABELS = ("label", "labels", "class", "target", "category")
"""Names of columns that are no attribute unless they are asked for."""

_ROW = ""
"""Column of the names of rows without a path."""

_MOST = 1000
"""Most groups of a run; a column with more values, such as a date, is no attribute."""


def read_groups(samples: pd.DataFrame, text: str, data: Path | None = None) -> pd.DataFrame:
    """Read groups of images from a table with their paths, or from the Parquet or Arrow files of the images themselves.

    Each further column is an attribute, and each of its values a group called `column=value`. An image may have several rows, and
    so several groups of one attribute, or a list of them in JSON. An empty cell is no group.

    Args:
        samples: The table SAMPLES of a run.
        text: A .csv, .tsv, .jsonl, .parquet or .arrow file, a folder of the last two, or FILE:COLUMN,... for some of the columns.
            COLUMN,... alone are columns of the dataset's own table.
        data: The dataset, a file or a folder; None if it is unknown.

    Returns:
        The table GROUPS.

    Raises:
        OptionError: The file has no paths of these images, or not these columns.
    """
    file, columns = _split(text, data)
    rows, path_column = _table(file)
    names = list(dict.fromkeys(name for one in rows for name in one))
    if path_column is None:
        raise OptionError(f"--groups {file} has no column of paths", f"name one path (known: {', '.join(_PATHS)})")
    attributes = [name for name in names if name != path_column and (columns or name.lower() not in _LABELS)]
    for name in columns:
        if name not in attributes:
            known = f"its columns are {', '.join(attributes)}" if attributes else "it has no column besides the paths"
            raise OptionError(f"--groups {file} has no column {name!r}", known)
    sample_names, index = SampleNames(samples["path"].tolist()), samples["index"].tolist()
    found: dict[tuple[int, str, str], None] = {}
    for one in rows:
        place = sample_names.find(str(one.get(path_column, "")))
        for name in columns or attributes:
            value = one.get(name)
            for item in value if isinstance(value, list) else [value]:
                if place is not None and item is not None and item == item and str(item).strip():
                    found[index[place], name, f"{name}={str(item).strip()}"] = None
    if not found:
        raise OptionError(
            f"--groups {file} has no group of an image of the run",
            f"write paths as in the dataset, such as {samples['path'].iloc[0]}",
        )
    table = pd.DataFrame(sorted(found), columns=GROUPS.names)
    groups = table["group"].unique()
    if len(groups) > _MOST:
        largest = table.drop_duplicates("group")["attribute"].value_counts().index[0]
        raise OptionError(
            f"--groups {file} has {len(groups):,} groups, most of them of {largest}",
            f"choose columns: {file}:COLUMN,...",
        )
    for group in groups:
        check_cell("group", group)
    return table


def _split(text: str, data: Path | None) -> tuple[Path, list[str]]:
    """Return the table and the columns that are asked for; none for all."""
    file, separator, columns = text.rpartition(":")
    if Path(text).exists() or (separator and not Path(file).exists()):
        return Path(text), []
    own = Path(file) if separator else _own_table(data)
    if own is None or (not separator and ("/" in text or Path(text).suffix)):
        return Path(text), []
    return own, [name.strip() for name in columns.split(",") if name.strip()]


def _own_table(data: Path | None) -> Path | None:
    """Return the table of a dataset: its file, the table of labels in its folder, or the folder of Parquet or Arrow files."""
    if data is None or data.is_file():
        return data
    named = (
        data / f"{stem}{suffix}" for stem in ("labels", "metadata") for suffix in (".csv", ".tsv", ".txt", ".jsonl")
    )
    return next((file for file in named if file.is_file()), data if _files(data) else None)


def _files(folder: Path) -> list[Path]:
    """Return the Parquet and Arrow files in a folder and in folders in it."""
    places = [place for kind in ("parquet", "arrow") for place in (f"*.{kind}", f"*/*.{kind}")]
    return sorted(file for place in places for file in folder.glob(place))


_Table = tuple[list[dict[str, Any]], str | None]
"""Rows, and the name of their column of paths; None if there is no such column."""


def _table(file: Path) -> _Table:
    if file.is_dir() or file.suffix.lower() in (".parquet", ".arrow"):
        return _columnar_table(file)
    try:
        content = decode_text(file.read_bytes())
    except OSError as error:
        raise OptionError(
            f"cannot read --groups {file}: {error.strerror}", "give a .csv, .tsv, .jsonl, .parquet or .arrow file"
        ) from error
    except ValueError as error:
        raise OptionError(f"--groups {file} is not text ({one_line(error)})", "save it as UTF-8") from error
    if file.suffix.lower() == ".jsonl":
        rows = [_json(file, number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
        return rows, _path_column([name for one in rows for name in one])
    header = content.split("\n", 1)[0]
    known = (one for one in ",\t;|" if _path_column([name.strip().strip('"') for name in header.split(one)]))
    delimiter = next(known, ",")
    try:
        rows = [
            {name.strip(): value for name, value in one.items() if isinstance(name, str)}
            for one in csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        ]
        return rows, _path_column(list(rows[0]) if rows else [])
    except csv.Error as error:
        raise OptionError(f"--groups {file} is not a table ({one_line(error)})", "save it as plain CSV") from error


def _columnar_table(path: Path) -> _Table:
    """Read the columns of texts, numbers and lists of them from Parquet or Arrow files; rows of images have no path."""
    files = _files(path) if path.is_dir() else [path]
    if not files:
        raise OptionError(f"--groups {path} is a folder without Parquet or Arrow files", "give a table")
    rows: list[dict[str, Any]] = []
    found: str | None = None
    for file in files:
        columns, has_images = _columns(file)
        found = None if has_images else _path_column(list(columns))
        # Readers of such datasets name a sample by its file and row.
        places = [f"{file.stem}/{row:08d}" for row in range(max(map(len, columns.values()), default=0))]
        columns = columns if found else {_ROW: places, **columns}
        rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows, found or _ROW


def _columns(file: Path) -> tuple[dict[str, list[Any]], bool]:
    """Return the columns of a file, and whether it also has binary ones, which are images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def is_plain(kind: Any) -> bool:
        inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_dictionary(kind) else kind
        texts = pa.types.is_string(inner) or pa.types.is_large_string(inner)
        return bool(texts or pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner))

    try:
        if file.suffix.lower() == ".parquet":
            with pq.ParquetFile(file.absolute(), page_checksum_verification=True) as content:
                names = [field.name for field in content.schema_arrow if is_plain(field.type)]
                schema, batches = content.schema_arrow, list(content.iter_batches(columns=names, use_threads=False))
        else:
            with pa.memory_map(str(file)) as source:
                stream = pa.ipc.open_stream(source)
                schema, names = stream.schema, [field.name for field in stream.schema if is_plain(field.type)]
                batches = [batch.select(names) for batch in stream]
                for batch in batches:
                    batch.validate(full=True)
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for batch in batches:
            for name in names:
                columns[name] += batch.column(name).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise OptionError(f"--groups {file} cannot be read ({one_line(error)})", "save it again") from error
    has_images = any(
        pa.types.is_struct(field.type) or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        for field in schema
    )
    return columns, has_images


def _json(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--groups {file}, line {number} is not JSON", "write one object a line") from error
    if not isinstance(value, dict):
        raise OptionError(f"--groups {file}, line {number} is no JSON object", "write one object a line")
    items = [(name, cell if isinstance(cell, list) else [cell]) for name, cell in value.items()]
    scalars = {name: [one for one in cells if not isinstance(one, dict | list)] for name, cells in items}
    return {name: cells[0] if len(cells) == 1 else cells for name, cells in scalars.items()}


def _path_column(names: Sequence[str]) -> str | None:
    return next((name for known in _PATHS for name in names if name.lower() == known), None)
