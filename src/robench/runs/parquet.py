"""The declared tables as Parquet files; pyarrow reads and writes, fastparquet reads if pyarrow is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.errors import RunError, TableError, one_line
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
"""Rows of a row group; a group of records takes some 30 MB, the memory that joining needs at once."""

_BATCH = 2**16
"""Rows in memory at once while a file is only checked."""


def _options(table: Table) -> dict[str, Any]:
    """Return how pages are written.

    Without a checksum a bit that flips on a disk would change a prediction unseen. A dictionary of floating-point values, which
    rarely repeat, would be larger than the values.
    """
    repeated = [c.name + ".list.element" * (c.type == _LIST) for c in table.columns if not c.type.startswith("float")]
    return {"compression": "zstd", "write_page_checksum": True, "use_dictionary": repeated}


def _pyarrow() -> Any:
    """Import pyarrow; ImportError if it is not installed."""
    import pyarrow
    import pyarrow.parquet

    return pyarrow


def schema_of(table: Table) -> Any:
    """Return the Arrow schema of a table."""
    pa = _pyarrow()
    types = {name: pa.type_for_alias(name) for name in get_args(Type) if name != _LIST} | {_LIST: pa.list_(pa.int32())}
    return pa.schema([pa.field(c.name, types[c.type], nullable=c.nullable) for c in table.columns])


def write_parquet(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a table atomically, with the bytes of `encode_parquet`."""
    content = encode_parquet(table, frame)
    atomic_write(path, lambda file: file.write(content))


def encode_parquet(table: Table, frame: pd.DataFrame, rows: int | None = None) -> bytes:
    """Return the bytes of a Parquet file; equal cells give equal bytes.

    Args:
        table: The schema.
        frame: The rows.
        rows: Rows of a row group; None for the default.
    """
    pa = _pyarrow()
    table.check(frame)
    arrow = pa.Table.from_pandas(frame, schema=schema_of(table), preserve_index=False)
    arrow = arrow.replace_schema_metadata()  # The metadata names the version of pandas and its types.
    file = BytesIO()
    pa.parquet.write_table(arrow, file, row_group_size=rows or _GROUP, **_options(table))
    return file.getvalue()


def join_parquet(table: Table, parts: Sequence[Path], path: Path) -> None:
    """Merge files into one that has the first row groups of all parts in turn, then the second row groups, and so on.

    The result has the bytes that `write_parquet` writes for all these rows. One row group is in memory at a time.

    Args:
        table: The schema.
        parts: Files with equal numbers of row groups.
        path: The file to write.

    Raises:
        TableError: A part cannot be read.
    """
    pa = _pyarrow()
    schema = schema_of(table)

    def write(file: IO[bytes]) -> None:
        with pa.parquet.ParquetWriter(file, schema, **_options(table)) as writer:
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
    """Read a row group; only one file is open at a time, because a process may open fewer files than there are parts."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path.absolute(), metadata=footer, page_checksum_verification=True) as file:
            return file.read_row_group(number)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _regrouped(tables: Iterator[Any], schema: Any) -> Iterator[Any]:
    """Yield the rows of Arrow tables in tables of `_GROUP` rows; the last table may be smaller."""
    pa = _pyarrow()
    waiting: list[Any] = []
    for arrow in tables:
        waiting.append(pa.Table.from_arrays(arrow.columns, schema=schema))
        while sum(map(len, waiting)) >= _GROUP:
            # A single chunk, as in a table made from a frame, so that the bytes do not depend on the parts.
            whole = pa.concat_tables(waiting).combine_chunks()
            yield whole.slice(0, _GROUP)
            waiting = [whole.slice(_GROUP)] if len(whole) > _GROUP else []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def rows_of_groups(table: Table, path: Path) -> list[int]:
    """Return the number of rows of every row group, after checking the checksums of all pages.

    Raises:
        TableError: The file is damaged or is another table.
    """
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path.absolute(), page_checksum_verification=True) as file:
            _check(table, path, file.schema_arrow.names)
            for _ in file.iter_batches(
                _BATCH
            ):  # Finds everything that reading columns finds; reading row groups does not.
                pass
            return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_parquet(table: Table, path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file of the table, or some of its columns.

    Raises:
        TableError: The file is damaged or is another table.
    """
    content = _read(table, path, columns or table.names)
    return content if isinstance(content, pd.DataFrame) else content.to_pandas()


def read_distinct(
    table: Table, path: Path, columns: Sequence[str], distinct: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Read some columns as `read_parquet` does, and the distinct values of others, which is much faster.

    Returns:
        The frame of `columns`, and the values of each column of `distinct` by name.
    """
    texts = [column.name for column in table.columns if column.name in distinct and column.type == "string"]
    content = _read(table, path, [*distinct, *columns], texts)
    if isinstance(content, pd.DataFrame):
        return content[list(columns)], {name: content[name].unique().tolist() for name in distinct}
    return content.select(list(columns)).to_pandas(), {
        name: content.column(name).unique().to_pylist() for name in distinct
    }


def read_arrays(table: Table, path: Path, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read columns of a Parquet file as arrays by name; a list column has the shape (rows, length).

    Raises:
        TableError: The file is damaged or is another table, or the rows of a list column have different lengths.
    """
    content = _read(table, path, columns)
    lists = {column.name for column in table.columns if column.type == _LIST}
    arrays: dict[str, NDArray[Any]] = {}
    for name in columns:
        if isinstance(content, pd.DataFrame):
            arrays[name] = content[name].to_numpy()
            flat = np.concatenate(arrays[name]) if name in lists and len(content) else arrays[name]
        else:
            column = content.column(name).combine_chunks()
            flat = (column.flatten() if name in lists else column).to_numpy(zero_copy_only=False)
            arrays[name] = flat
        if name in lists:
            if len(content) and len(flat) % len(content):
                raise TableError(f"{path}: the rows of {name} have different lengths", "evaluate again")
            arrays[name] = flat.reshape(len(content), -1)
    return arrays


def _read(table: Table, path: Path, columns: Sequence[str], repeated: Sequence[str] = ()) -> Any:
    """Return an Arrow table, with the columns in `repeated` as dictionaries; a frame if fastparquet reads the file."""
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
            "this installation cannot read records, which are Parquet files",
            "pip install fastparquet, or give the run's results.csv instead of the run",
        ) from None
    try:
        with path.open("rb") as file:
            parquet = fastparquet.ParquetFile(file, pandas_nulls=False)  # Missing integers are NaN, as from pyarrow.
            names = list(parquet.columns)
            frame = parquet.to_pandas(columns=[name for name in columns if name in names])
    except Exception as error:
        raise _unreadable(path, error) from error
    _check(table, path, names)
    return frame


def _check(table: Table, path: Path, names: Sequence[str]) -> None:
    if list(names) != table.names:
        try:
            table.check(pd.DataFrame(columns=list(names)))
        except TableError as error:
            raise TableError(f"{path} is {error.problem}", error.hint) from error


def _unreadable(path: Path, error: Exception) -> TableError:
    return TableError(f"cannot read {path} as Parquet ({one_line(error)})", "evaluate again")
