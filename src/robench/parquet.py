"""Tables as Parquet: through pyarrow, or read through fastparquet, which is a twelfth of its size, where that alone is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.errors import RunError, TableError
from robench.tables import Table, Type, atomic_write

__all__ = ["read_arrays", "read_distinct", "read_parquet", "schema_of", "write_parquet"]

_LIST = "list<int32>"


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
    """Write `frame` atomically as Parquet with the table's schema."""
    pa = _pyarrow()
    table.check(frame)
    arrow = pa.Table.from_pandas(frame, schema=schema_of(table), preserve_index=False)
    atomic_write(path, lambda file: pa.parquet.write_table(arrow, file, compression="zstd"))


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
        with pa.parquet.ParquetFile(path.absolute(), read_dictionary=list(repeated)) as file:
            _check(table, path, file.schema_arrow.names)
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"cannot read {path} as Parquet: {error}") from error


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
    except Exception as error:
        raise TableError(f"cannot read {path} as Parquet: {error}") from error
    _check(table, path, names)
    return frame


def _check(table: Table, path: Path, names: Sequence[str]) -> None:
    if list(names) != table.names:
        raise TableError(f"{path} is not a {table.name} table of this version: its columns are {list(names)}")
