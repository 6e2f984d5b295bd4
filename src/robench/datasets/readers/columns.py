"""Tables of encoded images and labels, as Hugging Face stores datasets: their columns, and images by row."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import REDOWNLOAD, check_image_size
from robench.datasets.readers.labels import IMAGE_COLUMNS, LABEL_COLUMNS, classes_of, numbered, parse_json, true_classes
from robench.errors import DatasetError
from robench.types import Ints

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Shard", "class_names", "features_in", "features_of", "image_column", "label_column", "rows_of_shards"]

_GROUPS_KEPT = 2


@dataclass(frozen=True)
class Shard:
    """A file whose description is read.

    Attributes:
        path: The file.
        image: Column of the images, a leaf such as `image.bytes`.
        label: Column of the labels.
        names: Class names, if the file has them.
        groups: Number of rows of each row group or record batch.
    """

    path: Path
    image: str
    label: str
    names: tuple[str, ...] | None
    groups: tuple[int, ...]


Load = Callable[[Shard, int], "pa.Array | pa.ChunkedArray"]
"""Returns the images of a group of rows; raises DatasetError."""


def rows_of_shards(
    path: Path, shards: Sequence[Shard], labels: Sequence[object], load: Load, notes: tuple[str, ...]
) -> ImageDataset:
    """List the rows of shards.

    Args:
        path: Path that the user gave.
        shards: The files.
        labels: Labels of all rows.
        load: Loads images.
        notes: Notes of the dataset.

    Raises:
        DatasetError: The shards have different classes, or labels are invalid.
    """
    other = next((shard for shard in shards if shard.names != shards[0].names), None)
    if other is not None:
        raise DatasetError(f"{other.path} has other classes than {shards[0].path}", "give each file as its own dataset")
    if not labels:
        raise DatasetError(f"{path} has no rows", REDOWNLOAD)
    rows = [(shard, group, row) for shard in shards for group, count in enumerate(shard.groups) for row in range(count)]
    starts = np.cumsum([0, *(sum(shard.groups) for shard in shards)])

    def where(position: int) -> str:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return f"{shards[shard].path}, row {position - starts[shard]}"

    names = shards[0].names

    def convert(labels: Sequence[object], where: Callable[[int], str]) -> tuple[Ints, tuple[str, ...]]:
        numbers = [label for label in labels if isinstance(label, int)]
        return (
            numbered(numbers, where, names)
            if names is not None and len(numbers) == len(labels)
            else classes_of(labels, where)
        )

    truth = true_classes(labels, where, convert)
    images = _Groups(load)
    return ImageDataset(
        name=path.resolve().name if path.is_dir() else path.stem,
        paths=tuple(f"{shard.path.stem}/{row:08d}" for shard in shards for row in range(sum(shard.groups))),
        labels=truth.labels,
        classes=truth.names,
        label_sets=truth.sets,
        read=lambda position: images.read(*rows[position]),
        notes=notes,
    )


class _Groups:
    """The row groups of images that were read last; safe for threads."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._kept: OrderedDict[tuple[Path, int], pa.Array | pa.ChunkedArray] = OrderedDict()
        self._failed: dict[tuple[Path, int], str] = {}
        self._lock = threading.Lock()

    def read(self, shard: Shard, group: int, row: int) -> bytes:
        """Return one encoded image; raise OSError if it is unreadable."""
        with self._lock:
            column = self._column(shard, group)
        encoded = column[row].as_py()
        if not isinstance(encoded, bytes):
            raise OSError("the row holds no image; if it holds a path, give the files themselves")
        check_image_size(len(encoded))
        return encoded

    def _column(self, shard: Shard, group: int) -> pa.Array | pa.ChunkedArray:
        key = (shard.path, group)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key in self._failed:  # A second attempt for each row of the group would take too long.
            raise OSError(self._failed[key])
        try:
            column = self._load(shard, group)
        except DatasetError as error:
            self._failed[key] = str(error)
            raise OSError(str(error)) from error
        if len(column) != shard.groups[group]:
            raise OSError(f"{shard.path} changed while it was in use")
        self._kept[key] = column
        while len(self._kept) > _GROUPS_KEPT:
            self._kept.popitem(last=False)
        return column


def features_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the description of each column by Hugging Face's library; empty if there is none."""
    try:
        content = parse_json((metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return {}
    return features_in(content.get("info") if isinstance(content, dict) else None)


def features_in(info: object) -> dict[str, Any]:
    """Return the description of each column in a `dataset_info.json`; empty if there is none."""
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def image_column(schema: pa.Schema, features: dict[str, Any], path: Path) -> str:
    """Return the column of encoded images, a leaf such as `image.bytes`.

    Raises:
        DatasetError: There is none, or there are several.
    """
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


def label_column(schema: pa.Schema, features: dict[str, Any], path: Path) -> str:
    """Return the column of labels; raise DatasetError if there is none."""
    import pyarrow.types as kinds

    def fits(kind: pa.DataType) -> bool:
        is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        return bool(
            kinds.is_integer(kind)
            or kinds.is_string(kind)
            or kinds.is_large_string(kind)
            or (kinds.is_dictionary(kind) and kinds.is_string(kind.value_type))
            or (is_list and not kinds.is_nested(kind.value_type) and fits(kind.value_type))
        )

    fitting = [field.name for field in schema if fits(field.type)]
    known = [name for name in LABEL_COLUMNS if name in fitting]
    declared = [name for name in fitting if _kind(_item(features.get(name))) == "ClassLabel"]
    for names in (declared, [name for name in known if name in declared][:1], known[:1]):
        if len(names) == 1 and "." not in names[0]:
            return names[0]
    raise DatasetError(
        f"{path} has no column of labels (its columns: {_listed(schema)})",
        "store whole numbers or class names in a column named label",
    )


def _item(feature: object) -> object:
    """Return the description of the items of a list, or of a column that is none."""
    inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
    return inner[0] if isinstance(inner, list) and len(inner) == 1 else inner


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _listed(schema: pa.Schema) -> str:
    text = ", ".join(schema.names)
    return json.dumps(text if len(text) <= 200 else f"{text[:200]}...")


def class_names(feature: object, path: Path) -> tuple[str, ...] | None:
    """Return the class names of a column's description, if it has them; raise DatasetError if they are not unique."""
    feature = _item(feature)
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DatasetError(f"{path} does not give each class a unique name", "write its labels again")
    return tuple(names)
