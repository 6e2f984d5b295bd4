"""Parquet files with encoded images in a column, as Hugging Face stores datasets."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robench.datasets.byte_sizes import format_bytes
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import IMAGES, REDOWNLOAD, check_image_size, file_size, os_error, read_part
from robench.datasets.io.directories import visible_folders
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import IMAGE_COLUMNS, LABEL_COLUMNS, classes_of, numbered, parse_json
from robench.datasets.readers.splits import choose_split
from robench.errors import DatasetError, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["PARQUET"]

_FOOTER_BYTES = 2**27
_GROUP_BYTES = 2 * 2**30
"""Most bytes of a row group of images; two groups are in memory at a time."""
_LABEL_BYTES = 2**30
_GROUPS_KEPT = 2
_VALUES = 8
"""Texts or images that are decoded at once: a few bytes of a file can represent a large value in every row."""


@dataclass(frozen=True)
class _Shard:
    """A file whose footer is read.

    Attributes:
        path: The file.
        image: Column of the images, a leaf such as `image.bytes`.
        label: Column of the labels.
        names: Class names, if the file has them.
        groups: Number of rows of each row group.
    """

    path: Path
    image: str
    label: str
    names: tuple[str, ...] | None
    groups: tuple[int, ...]


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
    other = next((shard for shard in shards if shard.names != shards[0].names), None)
    if other is not None:
        raise DatasetError(f"{other.path} has other classes than {files[0]}", "give each file as its own dataset")
    labels = [label for shard in shards for label in _labels(shard)]
    if not labels:
        raise DatasetError(f"{path} has no rows", REDOWNLOAD)
    rows = [(shard, group, row) for shard in shards for group, count in enumerate(shard.groups) for row in range(count)]
    starts = np.cumsum([0, *(sum(shard.groups) for shard in shards)])

    def where(position: int) -> str:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return f"{files[shard]}, row {position - starts[shard]}"

    names = shards[0].names
    numbers = [label for label in labels if isinstance(label, int)]
    if names is not None and len(numbers) == len(labels):
        mapped, classes = numbered(numbers, where, names)
    else:
        mapped, classes = classes_of(labels, where)
    images = _Groups()
    return ImageDataset(
        name=path.resolve().name if path.is_dir() else path.stem,
        paths=tuple(f"{shard.path.stem}/{row:08d}" for shard in shards for row in range(sum(shard.groups))),
        labels=mapped,
        classes=classes,
        read=lambda position: images.read(*rows[position]),
        notes=notes,
    )


class _Groups:
    """The row groups of images that were read last; safe for threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int], pa.ChunkedArray] = OrderedDict()
        self._failed: dict[tuple[Path, int], str] = {}
        self._lock = threading.Lock()

    def read(self, shard: _Shard, group: int, row: int) -> bytes:
        """Return one encoded image; raise OSError if it is unreadable."""
        with self._lock:
            column = self._column(shard, group)
        encoded = column[row].as_py()
        if not isinstance(encoded, bytes):
            raise OSError("the row holds no image; if it holds a path, give the files themselves")
        check_image_size(len(encoded))
        return encoded

    def _column(self, shard: _Shard, group: int) -> pa.ChunkedArray:
        key = (shard.path, group)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key in self._failed:  # A second attempt for each row of the group would take too long.
            raise OSError(self._failed[key])
        try:
            with _parquet(shard.path) as file:
                column = _values(file, shard.image, [group], _GROUP_BYTES, shard.path)
        except DatasetError as error:
            self._failed[key] = str(error)
            raise OSError(str(error)) from error
        if len(column) != shard.groups[group]:
            raise OSError(f"{shard.path} changed while it was in use")
        self._kept[key] = column
        while len(self._kept) > _GROUPS_KEPT:
            self._kept.popitem(last=False)
        return column


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


def _open_shard(path: Path) -> _Shard:
    with _parquet(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        features = _features(schema.metadata)
        image = _image_column(schema, features, path)
        label = _label_column(schema, features, path)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        if any(group.num_rows < 0 for group in groups) or sum(group.num_rows for group in groups) > IMAGES:
            raise DatasetError(f"{path} claims to have {metadata.num_rows} rows, more than {IMAGES}", REDOWNLOAD)
        sizes: dict[str, list[int]] = {image: [], label: []}
        for group in groups:
            for number in range(group.num_columns):
                column = group.column(number)
                if column.path_in_schema in sizes:
                    sizes[column.path_in_schema].append(column.total_uncompressed_size)
        if any(len(group_sizes) != len(groups) for group_sizes in sizes.values()):
            raise DatasetError(f"{path} has several columns {image!r} or {label!r}", "keep one of each")
        if max(sizes[image], default=0) > _GROUP_BYTES:
            raise DatasetError(
                f"{path} has more than {format_bytes(_GROUP_BYTES)} of images in one row group",
                "write it again with row_group_size=100",
            )
        if sum(sizes[label]) > _LABEL_BYTES:
            raise DatasetError(
                f"{path} has more than {format_bytes(_LABEL_BYTES)} of labels, which cannot be class names"
            )
        names = _class_names(features.get(label), path)
        return _Shard(path, image, label, names, tuple(group.num_rows for group in groups))


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Return the description of each column by Hugging Face's library; empty if there is none."""
    try:
        content = parse_json((metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return {}
    info = content.get("info") if isinstance(content, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def _image_column(schema: pa.Schema, features: dict[str, Any], path: Path) -> str:
    import pyarrow.types as kinds

    leaves: dict[str, str] = {}
    for field in schema:
        if kinds.is_binary(field.type) or kinds.is_large_binary(field.type):
            leaves[field.name] = field.name
        elif kinds.is_struct(field.type):
            inner = [part.type for part in field.type if part.name == "bytes"]
            if len(inner) > 1:
                raise DatasetError(f"{path} has {field.name!r} with several fields named bytes", "keep one")
            if inner and (kinds.is_binary(inner[0]) or kinds.is_large_binary(inner[0])):
                leaves[field.name] = f"{field.name}.bytes"
    declared = [name for name in leaves if _kind(features.get(name)) == "Image"]
    known = [name for name in IMAGE_COLUMNS if name in leaves]
    for names in (declared, known[:1], list(leaves)):
        if len(names) == 1 and "." not in names[0]:
            return leaves[names[0]]
    if not leaves:
        raise DatasetError(
            f"{path} has no column of images (its columns: {_listed(schema)})",
            "store images as bytes, or structs with bytes",
        )
    raise DatasetError(f"{path} has several columns of images ({', '.join(sorted(leaves))})", "keep one, named image")


def _label_column(schema: pa.Schema, features: dict[str, Any], path: Path) -> str:
    import pyarrow.types as kinds

    fitting = [
        field.name
        for field in schema
        if kinds.is_integer(field.type)
        or kinds.is_string(field.type)
        or kinds.is_large_string(field.type)
        or (kinds.is_dictionary(field.type) and kinds.is_string(field.type.value_type))
    ]
    known = [name for name in LABEL_COLUMNS if name in fitting]
    declared = [name for name in fitting if _kind(features.get(name)) == "ClassLabel"]
    for names in (declared, [name for name in known if name in declared][:1], known[:1]):
        if len(names) == 1 and "." not in names[0]:
            return names[0]
    raise DatasetError(
        f"{path} has no column of labels (its columns: {_listed(schema)})",
        "store whole numbers or class names in a column named label",
    )


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _listed(schema: pa.Schema) -> str:
    text = ", ".join(schema.names)
    return json.dumps(text if len(text) <= 200 else f"{text[:200]}...")


def _class_names(feature: object, path: Path) -> tuple[str, ...] | None:
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DatasetError(f"{path} does not give each class a unique name", "write its labels again")
    return tuple(names)


def _labels(shard: _Shard) -> Sequence[object]:
    with _parquet(shard.path) as file:
        groups = list(range(len(shard.groups)))
        labels: list[object] = []
        if any(shard.groups):
            labels = _values(file, shard.label, groups, _LABEL_BYTES, shard.path).to_pylist()
    if len(labels) != sum(shard.groups):
        raise DatasetError(f"{shard.path} has {len(labels)} labels in {sum(shard.groups)} rows", REDOWNLOAD)
    return labels


PARQUET = Reader(
    "parquet",
    "a .parquet file, or a folder of such shards: columns image (bytes) and label, as Hugging Face stores them",
    _matches,
    _read,
)
