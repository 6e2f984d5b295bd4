"""Images in a NumPy array with labels in another, as CIFAR-10.1 is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import IMAGES
from robench.datasets.io.npy import open_array, read_integers
from robench.datasets.io.ppm import pixmap
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import numbered
from robench.errors import DatasetError

__all__ = ["ARRAYS"]

_PIXELS = 2 * 89_478_485
"""Most pixels of one image, as for Pillow."""


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".npy" and path.is_file()


def _read(path: Path) -> ImageDataset:
    array = open_array(path)
    if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3 or not all(array.shape):
        raise DatasetError(
            f"{path} holds {array.dtype} of shape {array.shape}", "give uint8 images of shape (n, height, width, 3)"
        )
    count, height, width, _ = array.shape
    if count > IMAGES or height * width > _PIXELS:
        raise DatasetError(
            f"{path} holds {count} images of {height}x{width} pixels, more than {IMAGES} images or {_PIXELS} pixels"
        )
    label_file = _find_labels(path)
    file_labels = read_integers(label_file)
    if len(file_labels) != count:
        raise DatasetError(f"{path} has {count} images, but {label_file} has {len(file_labels)} labels")
    labels, classes = numbered(file_labels, lambda position: f"{label_file}, row {position}")
    digits = len(str(count - 1))
    return ImageDataset(
        name=path.stem,
        paths=tuple(f"{path.stem}/{row:0{digits}d}.ppm" for row in range(count)),
        labels=labels,
        classes=classes,
        read=lambda position: pixmap(array.row(position)),
        notes=(f"labels from {label_file.name}",),
    )


def _find_labels(path: Path) -> Path:
    """Return the file of labels for a file of images."""
    stems = [path.stem.replace(word, "labels") for word in ("images", "data") if word in path.stem]
    files = [path.with_name(f"{stem}.npy") for stem in (*stems, "labels")]
    label_file = next((file for file in files if file.is_file() and file != path), None)
    if label_file is None:
        raise DatasetError(f"{path} has no file of labels", f"write {files[0]} with one whole number for each image")
    return label_file


ARRAYS = Reader(
    "arrays",
    "a .npy file of images, (n, height, width, 3) uint8, with labels.npy or …labels….npy in the same folder",
    _matches,
    _read,
)
