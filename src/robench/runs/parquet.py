"""Tables as Parquet: through pyarrow, or read through fastparquet, which is a twelfth of its size, where that alone is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.errors import RunError, TableError
from robench.runs.files import atomic_write
from robench.runs.schema import Table, Type

__all__ = [
    "encode_parquet",
    "join_parquet",
    "read_arrays",
    "read_distinct",
    "read_parquet",
    "rows_of_groups",
    "schema_of",
    "write_parquet",
]

_LIST = "list<int32>"

_GROUP = 2**18
"""Rows of a row group: of records some 30 MB, which is what joining needs at once."""

_BATCH = 2**16
"""Rows that are in memory at once where a file is only checked."""

_WRITTEN = {"compression": "zstd", "write_page_checksum": True}
"""How pages are written; without a checksum a bit that flips on a disk would be another prediction."""


def _pyarrow() -> Any:
    """Return pyarrow; ImportError where it is not installed."""
    import pyarrow
    import pyarrow.parquet

    return pyarrow


def schema_of(table: Table) -> Any:
    """Return the Arrow schema, which fixes dtypes and order in a file."""
    pa = _pyarrow()
    types = {name: pa.type_for_alias(name) for name in get_args(Type) if name != _LIST} | {_LIST: pa.list_(pa.int32())}
    return pa.schema([pa.field(c.name, types[c.type], nullable=c.nullable) for c in table.columns])


def write_parquet(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` atomically as `encode_parquet` has it."""
    content = encode_parquet(table, frame)
    atomic_write(path, lambda file: file.write(content))


def encode_parquet(table: Table, frame: pd.DataFrame, rows: int | None = None) -> bytes:
    """Return `frame` as a Parquet file with the table's schema; equal cells give equal bytes.  rows: of a row group."""
    pa = _pyarrow()
    table.check(frame)
    arrow = pa.Table.from_pandas(frame, schema=schema_of(table), preserve_index=False)
    arrow = arrow.replace_schema_metadata()  # It names the version of pandas and its types.
    file = BytesIO()
    pa.parquet.write_table(arrow, file, row_group_size=rows or _GROUP, **_WRITTEN)
    return file.getvalue()


def join_parquet(table: Table, parts: Sequence[Path], path: Path) -> None:
    """Write the rows of several files as one: the first row group of each in turn, then the second of each, and so on.

    The bytes are those of `write_parquet` of all these rows, and no more than a row group of them is in memory at once.
    All have as many row groups as the first; TableError if one cannot be read.
    """
    pa = _pyarrow()
    schema = schema_of(table)

    def write(file: IO[bytes]) -> None:
        with pa.parquet.ParquetWriter(file, schema, **_WRITTEN) as writer:
            for group in _regrouped(_groups(table, parts), schema):
                writer.write_table(group, row_group_size=_GROUP)

    atomic_write(path, write)


def _groups(table: Table, parts: Sequence[Path]) -> Iterator[Any]:
    footers = [_footer(table, part) for part in parts]
    for number in range(footers[0].num_row_groups):
        for part, footer in zip(parts, footers, strict=True):
            yield _group(part, footer, number)


def _footer(table: Table, path: Path) -> Any:
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path.absolute()) as file:
            _check(table, path, file.schema_arrow.names)
            return file.metadata
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _group(path: Path, footer: Any, number: int) -> Any:
    """Read a row group; the files are opened in turn, for there may be more than a process may have open."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path.absolute(), metadata=footer, page_checksum_verification=True) as file:
            return file.read_row_group(number)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _regrouped(tables: Iterator[Any], schema: Any) -> Iterator[Any]:
    """Yield the rows of Arrow tables in tables of _GROUP rows, the last one smaller."""
    pa = _pyarrow()
    waiting: list[Any] = []
    for arrow in tables:
        waiting.append(pa.Table.from_arrays(arrow.columns, schema=schema))
        while sum(map(len, waiting)) >= _GROUP:
            # One chunk, as a table made from a frame has: nothing can depend on how it was cut.
            whole = pa.concat_tables(waiting).combine_chunks()
            yield whole.slice(0, _GROUP)
            waiting = [whole.slice(_GROUP)] if len(whole) > _GROUP else []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def rows_of_groups(table: Table, path: Path) -> list[int]:
    """Count the rows of every row group, after reading all pages against their checksums; TableError if one is damaged."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path.absolute(), page_checksum_verification=True) as file:
            _check(table, path, file.schema_arrow.names)
            for _ in file.iter_batches(_BATCH):  # Stricter than by row groups: it finds whatever reading columns finds.
                pass
            return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_parquet(table: Table, path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file of the table (or some of its columns); TableError if it has other columns or is no Parquet."""
    found = _read(table, path, columns or table.names)
    return found if isinstance(found, pd.DataFrame) else found.to_pandas()


def read_distinct(
    table: Table, path: Path, columns: Sequence[str], distinct: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Read columns as `read_parquet` does, and of the `distinct` ones only which values they have, which is much quicker."""
    texts = [column.name for column in table.columns if column.name in distinct and column.type == "string"]
    found = _read(table, path, [*distinct, *columns], texts)
    if isinstance(found, pd.DataFrame):
        return found[list(columns)], {name: found[name].unique().tolist() for name in distinct}
    return found.select(list(columns)).to_pandas(), {name: found.column(name).unique().to_pylist() for name in distinct}


def read_arrays(table: Table, path: Path, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read columns of a Parquet file of the table as arrays; a list column, whose rows are of one length, as (rows, length)."""
    found = _read(table, path, columns)
    lists = {column.name for column in table.columns if column.type == _LIST}
    arrays: dict[str, NDArray[Any]] = {}
    for name in columns:
        if isinstance(found, pd.DataFrame):
            arrays[name] = found[name].to_numpy()
            flat = np.concatenate(arrays[name]) if name in lists and len(found) else arrays[name]
        else:
            column = found.column(name).combine_chunks()
            flat = (column.flatten() if name in lists else column).to_numpy(zero_copy_only=False)
            arrays[name] = flat
        if name in lists:
            if len(found) and len(flat) % len(found):
                raise TableError(f"{path}: the rows of {name} are of different lengths")
            arrays[name] = flat.reshape(len(found), -1)
    return arrays


def _read(table: Table, path: Path, columns: Sequence[str], repeated: Sequence[str] = ()) -> Any:
    """Read columns, those of `repeated` texts as dictionaries: an Arrow table, or a frame where fastparquet reads it."""
    try:
        pa = _pyarrow()
    except ImportError:
        return _read_frame(table, path, columns)
    try:
        with pa.parquet.ParquetFile(
            path.absolute(), read_dictionary=list(repeated), page_checksum_verification=True
        ) as file:
            _check(table, path, file.schema_arrow.names)
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read_frame(table: Table, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        import fastparquet
    except ImportError:
        raise RunError(
            "the records of single images are Parquet, which this installation cannot read: pip install fastparquet, or name the "
            "run's results.csv in place of the run"
        ) from None
    try:
        with path.open("rb") as file:
            found = fastparquet.ParquetFile(file)
            names = list(found.columns)
            frame = found.to_pandas(columns=[name for name in columns if name in names])
            for column in table.columns:
                if column.nullable and column.type.startswith("int") and column.name in frame:
                    numbers = frame[column.name].to_numpy(np.float64, na_value=np.nan)
                    frame[column.name] = numbers if np.isnan(numbers).any() else numbers.astype(column.type)
    except Exception as error:
        raise _unreadable(path, error) from error
    _check(table, path, names)
    return frame


def _check(table: Table, path: Path, names: Sequence[str]) -> None:
    if list(names) != table.names:
        raise TableError(f"{path} is not a {table.name} table of this version: its columns are {list(names)}")


def _unreadable(path: Path, error: Exception) -> TableError:
    return TableError(f"cannot read {path} as Parquet: {error}")
