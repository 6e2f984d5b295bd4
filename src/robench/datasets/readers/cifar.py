"""CIFAR-10 and CIFAR-100 as published: batches of pixels in Python pickles."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import REDOWNLOAD, read_limited
from robench.datasets.io.ppm import pixmap
from robench.datasets.io.safe_pickle import Call, read_pickle
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import numbered
from robench.errors import DatasetError

__all__ = ["CIFAR"]

_BATCH_BYTES = 400 * 2**20
"""Most bytes of a batch; the largest published one, CIFAR-100's `train`, has 155 MB."""


@dataclass(frozen=True)
class _Kind:
    """Layout of CIFAR-10 or CIFAR-100.

    Attributes:
        folder: Name of the published folder.
        test: File of the test batch.
        meta: File with the class names.
        labels: Key of the labels in a batch.
        names: Key of the class names in `meta`.
        classes: Number of classes.
    """

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
    """Return the test batches of a folder of batches, or of such folders in it."""
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
        raise DatasetError(
            f"{path} holds both CIFAR-10 and CIFAR-100", f"give {batches[0].parent} or {batches[1].parent}"
        )
    if not batches[0].is_file():
        raise DatasetError(
            f"{batches[0].parent} lacks the test batch {batches[0].name}",
            "download it again, or give another batch's file",
        )
    note = f"only {batches[0].name}, the test images; give another batch's file to evaluate it"
    return _read_batch(batches[0], (note,))


def _read_batch(path: Path, notes: tuple[str, ...]) -> ImageDataset:
    """List one batch in its own order, which the published corrupted files share."""
    batch = _mapping(path)
    kind = next((kind for kind in _KINDS if kind.labels in batch), None)
    if kind is None:
        raise DatasetError(
            f"{path} is not a CIFAR batch: it lacks `labels` and `fine_labels`",
            "give a batch of cifar-10-batches-py or cifar-100-python",
        )
    rows = _pixels(batch.get("data"), path)
    values = batch[kind.labels]
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DatasetError(f"{path}: `{kind.labels}` is not a list of whole numbers", REDOWNLOAD)
    if len(values) != len(rows):
        raise DatasetError(f"{path} has {len(rows)} images, but {len(values)} labels", REDOWNLOAD)
    names = _names(path.parent / kind.meta, kind)
    labels, classes = numbered(values, lambda position: f"{path}, row {position}", names)
    return ImageDataset(
        name=f"cifar{kind.classes}-{path.stem}",
        paths=tuple(f"{path.stem}/{row:05d}.ppm" for row in range(len(rows))),
        labels=labels,
        classes=classes,
        read=lambda position: pixmap(rows[position].reshape(3, 32, 32).transpose(1, 2, 0)),
        notes=notes,
    )


def _mapping(path: Path) -> dict[str, object]:
    """Return the dict in a pickle, with its keys as text."""
    try:
        content = read_pickle(read_limited(path, _BATCH_BYTES))
    except ValueError as error:
        raise DatasetError(
            f"{path} cannot be read as a CIFAR batch, and nothing in it was executed: {error}", REDOWNLOAD
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(
            f"{path} is not a CIFAR batch: it holds no dict", "give a batch of cifar-10-batches-py or cifar-100-python"
        )
    return {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def _names(meta: Path, kind: _Kind) -> tuple[str, ...]:
    if not meta.is_file():
        return tuple(map(str, range(kind.classes)))
    values = _mapping(meta).get(kind.names)
    names: tuple[str, ...] = ()
    if isinstance(values, list) and all(isinstance(name, str | bytes) for name in values):
        with suppress(UnicodeDecodeError):
            names = tuple(name.decode() if isinstance(name, bytes) else name for name in values)
    if len(set(names)) != kind.classes:
        raise DatasetError(f"{meta} does not name {kind.classes} classes in `{kind.names}`", REDOWNLOAD)
    return names


def _pixels(value: object, path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a batch, (n, 3072) uint8: red, green, blue planes of 32 x 32.

    The description of the array in the pickle is only compared. The real numpy.dtype takes its flags from such a state, and
    could follow a pointer from the file.
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
            (bytes(data) | bytearray(data), Call("numpy.dtype", ("u1", *_)), (int(rows), 3072), "C"),
        ) if rows > 0 and rows * 3072 == len(data):
            return np.frombuffer(data, np.uint8).reshape(rows, 3072)
    raise DatasetError(f"{path}: `data` is not a uint8 array with 3072 columns", REDOWNLOAD)


CIFAR = Reader(
    "cifar",
    "CIFAR-10 or CIFAR-100 as published: cifar-10-batches-py or cifar-100-python (its test batch), or one batch file",
    _matches,
    _read,
)
