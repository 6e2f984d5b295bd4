"""Folders that Hugging Face's `save_to_disk` writes, and Arrow files of its cache: streams of record batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.arrow_stream import Batch, stream_index
from robench.datasets.io.bounded import REDOWNLOAD, os_error, read_limited, read_part
from robench.datasets.io.directories import folders_in
from robench.datasets.readers.base import Reader
from robench.datasets.readers.columns import (
    Shard,
    class_names,
    features_in,
    features_of,
    image_column,
    label_column,
    rows_of_shards,
)
from robench.datasets.readers.labels import parse_json
from robench.datasets.readers.splits import choose_name, choose_split
from robench.errors import DatasetError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARROW"]

_JSON_BYTES = 2**26
_STATE, _INFO, _PARTS = "state.json", "dataset_info.json", "dataset_dict.json"


def _matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".arrow"
    return path.is_dir() and ((path / _PARTS).is_file() or (bool(_arrow_files(path)) and not folders_in(path)))


def _arrow_files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.arrow") if not file.name.startswith(".")]


def _read(path: Path) -> ImageDataset:
    if (path / _PARTS).is_file():
        return _read_part(path)
    files, notes = _files(path) if path.is_dir() else ([path], ())
    streams = _Streams()
    shards = [streams.open(file) for file in files]
    labels = [label for shard in shards for group in range(len(shard.groups)) for label in streams.labels(shard, group)]
    return rows_of_shards(path, shards, labels, streams.images, notes)


def _read_part(path: Path) -> ImageDataset:
    """Read the test split, else the validation split, of a folder of several datasets."""
    splits = [name for name in folders_in(path) if _arrow_files(path / name)]
    split = choose_name(splits) if splits else None
    if split is None:
        raise DatasetError(f"{path} holds several datasets ({', '.join(splits)})", "give the folder of one")
    images = _read(path / split)
    others = ", ".join(name for name in splits if name != split)
    note = (f"only the {split} images; give another folder to evaluate it ({others})",) if others else ()
    return replace(images, name=path.resolve().name, notes=(*images.notes, *note))


def _files(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Return the files of a folder in the order of `state.json`, and notes."""
    if not (folder / _STATE).is_file():
        return choose_split(_arrow_files(folder))
    state = _json(folder / _STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DatasetError(f"{folder} selects rows by index", "save it again after flatten_indices()")
    entries = state.get("_data_files")
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    # A name with a folder would lead elsewhere.
    files = [folder / Path(name).name for name in names if isinstance(name, str) and Path(name).name]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None or not files:
        raise DatasetError(f"{folder} lacks {missing.name if missing else 'data files'}", REDOWNLOAD)
    return files, ()


def _json(file: Path) -> dict[str, object]:
    try:
        content = parse_json(read_limited(file, _JSON_BYTES))
    except ValueError as error:
        raise DatasetError(f"{file} cannot be read ({one_line(error)})", REDOWNLOAD) from error
    return content if isinstance(content, dict) else {}


class _Streams:
    """Opened streams: the schema and the record batches of each file."""

    def __init__(self) -> None:
        self._opened: dict[Path, tuple[pa.Schema, list[Batch]]] = {}

    def open(self, path: Path) -> Shard:
        import pyarrow as pa

        message, batches = stream_index(path)
        with _arrow_errors(path):
            schema = pa.ipc.read_schema(pa.py_buffer(message))
        info = path.parent / _INFO
        features = features_of(schema.metadata) or (features_in(_json(info)) if info.is_file() else {})
        label = label_column(schema, features, path)
        self._opened[path] = schema, batches
        rows = tuple(batch.rows for batch in batches)
        return Shard(path, image_column(schema, features, path), label, class_names(features.get(label), path), rows)

    def labels(self, shard: Shard, group: int) -> list[object]:
        labels: list[object] = self._column(shard, group, shard.label).to_pylist()
        return labels

    def images(self, shard: Shard, group: int) -> pa.Array:
        return self._column(shard, group, shard.image)

    def _column(self, shard: Shard, group: int, name: str) -> pa.Array:
        """Return a column of a record batch after a check of all its values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        schema, batches = self._opened[shard.path]
        batch = batches[group]
        try:
            content = read_part(shard.path, batch.offset, batch.size)
        except OSError as error:
            raise os_error(shard.path, error) from error
        with _arrow_errors(shard.path):
            outer, _, inner = name.partition(".")
            column = pa.ipc.read_record_batch(pa.py_buffer(content), schema).column(outer)
            column.validate(full=True)
            if len(column) != batch.rows:
                raise ValueError("a batch has another number of rows than it claims")
            return pc.struct_field(column, inner) if inner else column


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    """Translate errors of pyarrow to DatasetError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise DatasetError(f"{path} cannot be read as Arrow ({one_line(error)})", REDOWNLOAD) from error


ARROW = Reader(
    "arrow",
    "a folder of Hugging Face's save_to_disk, of one dataset or of several splits, or an .arrow file: columns image and label",
    _matches,
    _read,
)
