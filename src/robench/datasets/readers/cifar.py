"""CIFAR-10 and CIFAR-100 as their authors publish them: batches of pixels in Python pickles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_limited
from robench.datasets.io.ppm import pixmap
from robench.datasets.io.safe_pickle import Call, read_pickle
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import numbered
from robench.errors import DatasetError

__all__ = ["CIFAR"]

_BATCH_BYTES = 400 * 2**20
"""The largest published batch, CIFAR-100's `train`, has 155 MB."""


@dataclass(frozen=True)
class _Kind:
    """One of the two sets: its folder, its test batch, the file with the names of its classes, and keys in these files."""

    folder: str
    test: str
    meta: str
    labels: str
    names: str
    classes: int


_KINDS = (
    _Kind("cifar-10-batches-py", "test_batch", "batches.meta", "labels", "label_names", 10),
    _Kind("cifar-100-python", "test", "meta", "fine_labels", "fine_label_names", 100),
)
_BATCHES = ("test_batch", "train", "test", *(f"data_batch_{number}" for number in range(1, 6)))


def _matches(path: Path) -> bool:
    if path.is_dir():
        return bool(_test_batches(path))
    if not path.is_file() or path.suffix not in ("", ".pkl", ".pickle"):
        return False
    if path.name in _BATCHES:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _test_batches(folder: Path) -> list[Path]:
    """The test batches in a folder of batches, or in such folders within it."""
    own = [
        folder / kind.test
        for kind in _KINDS
        if folder.name == kind.folder or ((folder / kind.meta).is_file() and (folder / kind.test).is_file())
    ]
    return own or [folder / kind.folder / kind.test for kind in _KINDS if (folder / kind.folder).is_dir()]


def _read(path: Path) -> ImageDataset:
    if not path.is_dir():
        return _read_batch(path, ())
    batches = _test_batches(path)
    if len(batches) > 1:
        raise DatasetError(f"{path} holds both CIFAR-10 and CIFAR-100: give {batches[0].parent} or {batches[1].parent}")
    if not batches[0].is_file():
        raise DatasetError(
            f"{batches[0].parent} lacks the test batch {batches[0].name}: download it again, or name a file"
        )
    note = f"{batches[0].name} alone, the test images; name another batch's file to evaluate that"
    return _read_batch(batches[0], (note,))


def _read_batch(path: Path, notes: tuple[str, ...]) -> ImageDataset:
    """List one batch in its own order, which is also the order of the published corrupted files."""
    batch = _mapping(path)
    kind = next((kind for kind in _KINDS if kind.labels in batch), None)
    if kind is None:
        raise DatasetError(f"{path} is no CIFAR batch: it lacks `labels` and `fine_labels`")
    rows = _pixels(batch.get("data"), path)
    labels = batch[kind.labels]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DatasetError(f"{path}: `{kind.labels}` is no list of whole numbers: download it again")
    if len(labels) != len(rows):
        raise DatasetError(f"{path} has {len(rows)} images and {len(labels)} labels: download it again")
    names = _names(path.parent / kind.meta, kind)
    found, classes = numbered(labels, lambda position: f"{path}, row {position}", names)
    return ImageDataset(
        name=f"cifar{kind.classes}-{path.stem}",
        paths=tuple(f"{path.stem}/{row:05d}.ppm" for row in range(len(rows))),
        labels=found,
        classes=classes,
        read=lambda position: pixmap(rows[position].reshape(3, 32, 32).transpose(1, 2, 0)),
        notes=notes,
    )


def _mapping(path: Path) -> dict[str, object]:
    """The dict in a pickle, its keys as text."""
    try:
        content = read_pickle(read_limited(path, _BATCH_BYTES))
    except ValueError as error:
        raise DatasetError(f"{path} cannot be read as a CIFAR batch, and nothing in it was run: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no CIFAR batch: it holds no dict")
    return {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def _names(meta: Path, kind: _Kind) -> tuple[str, ...]:
    if not meta.is_file():
        return tuple(map(str, range(kind.classes)))
    values = _mapping(meta).get(kind.names)
    found = values if isinstance(values, list) else []
    texts = [name for name in found if isinstance(name, str | bytes)]
    try:
        names = tuple(name.decode() if isinstance(name, bytes) else name for name in texts)
    except UnicodeDecodeError:
        names = ()
    if len(texts) != len(found) or len(set(names)) != kind.classes:
        raise DatasetError(f"{meta} does not name {kind.classes} classes in `{kind.names}`: download it again")
    return names


def _pixels(value: object, path: Path) -> NDArray[np.uint8]:
    """Pixels of a batch, (n, 3072) uint8: red, green, blue planes of 32 x 32.

    What the pickle says about the array is only compared: the real numpy.dtype takes its flags from such a state, and could
    be made to follow a pointer that the file wrote.
    """
    match value:
        case Call(
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct",
            _,
            (1, (int(rows), 3072), Call("numpy.dtype", (b"u1" | "u1", *_)), bool(by_column), bytes(data)),
        ) if rows > 0 and rows * 3072 == len(data):
            return np.frombuffer(data, np.uint8).reshape((rows, 3072), order="F" if by_column else "C")
        case Call(
            "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer",
            (bytes(data), Call("numpy.dtype", ("u1", *_)), (int(rows), 3072), "C"),
        ) if rows > 0 and rows * 3072 == len(data):
            return np.frombuffer(data, np.uint8).reshape(rows, 3072)
    raise DatasetError(f"{path}: `data` is not an array of bytes with 3072 columns: download it again")


CIFAR = Reader(
    "cifar",
    "CIFAR-10 or CIFAR-100 as published: cifar-10-batches-py or cifar-100-python (its test batch), or one batch file",
    _matches,
    _read,
)
