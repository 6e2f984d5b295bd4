"""Parquet files with encoded images in a column, as Hugging Face stores datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from robench.datasets.byte_sizes import format_bytes
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import IMAGES, REDOWNLOAD, file_size, os_error, read_part
from robench.datasets.io.directories import visible_folders
from robench.datasets.readers.base import Reader
from robench.datasets.readers.columns import Shard, class_names, features_of, image_column, label_column, rows_of_shards
from robench.datasets.readers.splits import choose_split
from robench.errors import DatasetError, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["PARQUET", "read_columns"]

_FOOTER_BYTES = 2**27
_GROUP_BYTES = 2 * 2**30
"""Most bytes of a row group of images; two groups are in memory at a time."""
_LABEL_BYTES = 2**30
_VALUES = 8
"""Texts or images that are decoded at once: a few bytes of a file can represent a large value in every row."""


def _matches(path: Path) -> bool:
    if path.is_dir():
        return bool(_files(path))
    return path.suffix.lower() == ".parquet" and path.is_file()


def _files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder without subfolders, or of its only subfolder, as on the Hugging Face hub."""
    folders = visible_folders(folder)
    if len(folders) > 1:
        return []
    parent = folder / folders[0] if folders else folder
    return [file for file in parent.glob("*.parquet") if not file.name.startswith(".")]


def _read(path: Path) -> ImageDataset:
    files, notes = choose_split(_files(path)) if path.is_dir() else ([path], ())
    shards = [_open_shard(file) for file in files]
    labels = [label for shard in shards for label in _labels(shard)]
    return rows_of_shards(path, shards, labels, _load, notes)


def _load(shard: Shard, group: int) -> pa.ChunkedArray:
    with _parquet(shard.path) as file:
        return _values(file, shard.image, [group], _GROUP_BYTES, shard.path)


def _values(file: pq.ParquetFile, name: str, groups: list[int], limit: int, path: Path) -> pa.ChunkedArray:
    """Return a column of some row groups; raise DatasetError if it decodes to more than `limit` bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    parts, size = [], 0
    step = 65_536 if kinds.is_integer(file.schema_arrow.field(name.split(".")[0]).type) else _VALUES
    for batch in file.iter_batches(batch_size=step, row_groups=groups, columns=[name], use_threads=False):
        part = batch.column(0)
        if "." in name:
            part = pc.struct_field(part, name.split(".", 1)[1])
        if kinds.is_dictionary(part.type):
            part = part.dictionary_decode()
        size += part.nbytes
        if size > limit:
            raise DatasetError(
                f"{path} has more than {format_bytes(limit)} of {name!r} to read at once",
                "write it again with smaller row groups",
            )
        parts.append(part)
    return pa.chunked_array(parts)


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file; errors of pyarrow become DatasetError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_footer(path)
    try:
        with pq.ParquetFile(path.absolute(), page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet ({one_line(error)})", REDOWNLOAD) from error


def _check_footer(path: Path) -> None:
    """Raise DatasetError unless the file ends with a footer of plausible size, whose length pyarrow reads first."""
    size = file_size(path)
    try:
        tail = read_part(path, max(0, size - 8), min(size, 8))
    except OSError as error:
        raise os_error(path, error) from error
    if tail[4:] != b"PAR1":
        raise DatasetError(f"{path} does not end like a Parquet file", REDOWNLOAD)
    if int.from_bytes(tail[:4], "little") > min(_FOOTER_BYTES, size):
        raise DatasetError(f"{path} has a footer of implausible length", REDOWNLOAD)


def _open_shard(path: Path) -> Shard:
    with _parquet(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        features = features_of(schema.metadata)
        image = image_column(schema, features, path)
        label = label_column(schema, features, path)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        if any(group.num_rows < 0 for group in groups) or sum(group.num_rows for group in groups) > IMAGES:
            raise DatasetError(f"{path} claims to have {metadata.num_rows} rows, more than {IMAGES}", REDOWNLOAD)
        sizes: dict[str, list[int]] = {image: [], label: []}
        for group in groups:
            for number in range(group.num_columns):
                column = group.column(number)
                leaf = column.path_in_schema
                name = label if leaf.startswith(f"{label}.") else leaf  # A list has a leaf such as label.list.element.
                if name in sizes:
                    sizes[name].append(column.total_uncompressed_size)
        if any(len(group_sizes) != len(groups) for group_sizes in sizes.values()):
            raise DatasetError(f"{path} has several columns {image!r} or {label!r}", "keep one of each")
        if max(sizes[image], default=0) > _GROUP_BYTES:
            raise DatasetError(
                f"{path} has more than {format_bytes(_GROUP_BYTES)} of images in one row group",
                "write it again with row_group_size=100",
            )
        if sum(sizes[label]) > _LABEL_BYTES:
            raise DatasetError(
                f"{path} has more than {format_bytes(_LABEL_BYTES)} of labels, which cannot be class names",
                "give a column of class names or whole numbers",
            )
        names = class_names(features.get(label), path)
        return Shard(path, image, label, names, tuple(group.num_rows for group in groups))


def _labels(shard: Shard) -> Sequence[object]:
    with _parquet(shard.path) as file:
        groups = list(range(len(shard.groups)))
        labels: list[object] = []
        if any(shard.groups):
            labels = _values(file, shard.label, groups, _LABEL_BYTES, shard.path).to_pylist()
    if len(labels) != sum(shard.groups):
        raise DatasetError(f"{shard.path} has {len(labels)} labels in {sum(shard.groups)} rows", REDOWNLOAD)
    return labels


def read_columns(path: Path, paths: Sequence[str]) -> tuple[list[object] | None, list[object]]:
    """Read the column of paths and that of labels of a table without images.

    Args:
        path: The table.
        paths: Names of the column of paths, by preference.

    Returns:
        The paths, None without such a column, and the labels.

    Raises:
        DatasetError: The file cannot be read, or has no labels.
    """
    with _parquet(path) as file:
        schema, groups = file.schema_arrow, list(range(file.metadata.num_row_groups))
        if file.metadata.num_rows > IMAGES or not groups:
            raise DatasetError(f"{path} claims to have {file.metadata.num_rows} rows", REDOWNLOAD)
        features = features_of(schema.metadata)
        label = label_column(schema, features, path)
        name = next((known for known in paths for column in schema.names if column.lower() == known), None)
        column = next((column for column in schema.names if column.lower() == name), None)
        found = [
            None if one is None else _values(file, one, groups, _LABEL_BYTES, path).to_pylist()
            for one in (column, label)
        ]
    return found[0], found[1] or []


PARQUET = Reader(
    "parquet",
    "a .parquet file, or a folder of such shards: columns image (bytes) and label, as Hugging Face stores them",
    _matches,
    _read,
)
