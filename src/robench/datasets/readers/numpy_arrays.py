"""Images in one NumPy array, with the labels in another: how CIFAR-10.1 and the like are published."""

from __future__ import annotations

from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import IMAGES
from robench.datasets.io.npy import open_array, read_integers
from robench.datasets.io.ppm import pixmap
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import numbered
from robench.errors import DatasetError

__all__ = ["ARRAYS"]

_PIXELS = 2 * 89_478_485
"""Of one image: what Pillow refuses to decode."""


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".npy" and path.is_file()


def _read(path: Path) -> ImageDataset:
    array = open_array(path)
    if not array.is_bytes or len(array.shape) != 4 or array.shape[3] != 3 or not all(array.shape):
        raise DatasetError(
            f"{path} holds {array.kind} of shape {array.shape}: give an array of images, uint8 of shape (n, height, width, 3)"
        )
    count, height, width, _ = array.shape
    if count > IMAGES or height * width > _PIXELS:
        raise DatasetError(
            f"{path} holds {count} images of {height}x{width}: more than {IMAGES}, or of {_PIXELS} pixels, are not read"
        )
    beside = _labels_beside(path)
    labels = read_integers(beside)
    if len(labels) != count:
        raise DatasetError(
            f"{path} has {count} images, and {beside} has {len(labels)} labels: they must be equally many"
        )
    found, classes = numbered(labels, lambda position: f"{beside}, row {position}")
    digits = len(str(count - 1))

    return ImageDataset(
        name=path.stem,
        paths=tuple(f"{path.stem}/{row:0{digits}d}.ppm" for row in range(count)),
        labels=found,
        classes=classes,
        read=lambda position: pixmap(array.row(position)),
        notes=(f"labels from {beside.name}",),
    )


def _labels_beside(path: Path) -> Path:
    """The file of labels that belongs to a file of images."""
    named = [path.stem.replace(word, "labels") for word in ("images", "data") if word in path.stem]
    files = [path.with_name(f"{stem}.npy") for stem in (*named, "labels")]
    found = next((file for file in files if file.is_file() and file != path), None)
    if found is None:
        raise DatasetError(f"{path} has no labels beside it: put them into {files[0]}, one whole number an image")
    return found


ARRAYS = Reader(
    "arrays",
    "a .npy file of images, (n, height, width, 3) uint8, with labels.npy or …labels….npy beside it",
    _matches,
    _read,
)
