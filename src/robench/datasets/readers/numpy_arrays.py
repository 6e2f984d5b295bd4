"""Images in a NumPy array with labels in another: .npy as CIFAR-10.1, .npz as CIFAR-10.2 and MedMNIST are published."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bands import npy_image
from robench.datasets.io.bounded import IMAGES
from robench.datasets.io.npy import ArrayFile, open_array, read_labels, read_names
from robench.datasets.io.npz import npz_array, npz_names
from robench.datasets.io.ppm import pixmap
from robench.datasets.readers.base import Reader
from robench.datasets.readers.labels import classes_of, numbered
from robench.datasets.readers.splits import SPLITS, choose_name
from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["ARRAYS"]

_PIXELS = 2 * 89_478_485
"""Most pixels of one image, as for Pillow."""
_IMAGE_ARRAYS = ("images", "image", "imgs", "data", "x", "arr_0")
_LABEL_ARRAYS = ("labels", "label", "fine_labels", "targets", "target", "y", "arr_1")
"""Names of arrays in an .npz file by preference, without the name of a split."""

Pixels = NDArray[Any]


def _matches(path: Path) -> bool:
    return path.suffix.lower() in (".npy", ".npz") and path.is_file()


def _read(path: Path) -> ImageDataset:
    if path.suffix.lower() == ".npz":
        (image_name, label_name), notes = _choose_arrays(path)
        images = npz_array(path, image_name)
        arrange, layout_notes = _layout(images)
        labels, source = npz_array(path, label_name), f"{path}, {label_name}"
    else:
        images = open_array(path)
        arrange, layout_notes = _layout(images)
        label_file = _find_labels(path)
        labels, source, notes = open_array(label_file), str(label_file), [f"labels from {label_file.name}"]
    numbers, classes = _classes(labels, source)
    count = images.shape[0]
    if len(numbers) != count:
        raise DatasetError(
            f"{path} has {count} images, but {source} has {len(numbers)} labels", "give one label for each image"
        )
    digits, suffix = len(str(count - 1)), ".ppm" if images.dtype == np.uint8 else ".npy"
    return ImageDataset(
        name=path.stem,
        paths=tuple(f"{path.stem}/{row:0{digits}d}{suffix}" for row in range(count)),
        labels=numbers,
        classes=classes,
        read=lambda position: arrange(images.row(position)),
        notes=(*notes, *layout_notes),
    )


def _classes(labels: ArrayFile, source: str) -> tuple[Ints, tuple[str, ...]]:
    """Return the class of each label, and the names of the classes."""

    def where(position: int) -> str:
        return f"{source}, row {position}"

    if names := read_names(labels, source):
        return classes_of(names, where)
    numbers, one_hot = read_labels(labels, source)
    return numbered(numbers, where, None if one_hot is None else tuple(map(str, range(one_hot))))


def _choose_arrays(path: Path) -> tuple[tuple[str, str], list[str]]:
    """Return the names of the images and of the labels in an .npz file, and notes."""
    names = npz_names(path)
    splits: dict[str, dict[str, str]] = {}
    for name in names:
        words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
        split = next((word for word in words if word in SPLITS), "")
        splits.setdefault(split, {})["_".join(word for word in words if word != split)] = name
    pairs = {
        split: (images, labels)
        for split, arrays in splits.items()
        if (images := _first(arrays, _IMAGE_ARRAYS)) and (labels := _first(arrays, _LABEL_ARRAYS))
    }
    listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
    if not pairs:
        raise DatasetError(
            f"{path} has no arrays of images and labels by a known name (its arrays: {listed})",
            "name them images and labels, or test_images and test_labels",
        )
    split = choose_name(pairs)
    if split is None:
        raise DatasetError(
            f"{path} holds several datasets (its arrays: {listed})", "save one pair of arrays as images and labels"
        )
    images, labels = pairs[split]
    notes = [f"images from the array {images}, labels from {labels}"]
    if len(pairs) > 1:
        others = ", ".join(sorted(repr(pair[0]) for other, pair in pairs.items() if other != split))
        notes.append(f"only the {split} images; save another split as a file of its own to evaluate it ({others})")
    return pairs[split], notes


def _first(arrays: Mapping[str, str], known: tuple[str, ...]) -> str | None:
    return next((arrays[name] for name in known if name in arrays), None)


def _layout(images: ArrayFile) -> tuple[Callable[[Pixels], bytes], list[str]]:
    """Return a function that encodes a row, and notes.

    Raises:
        DatasetError: The array does not hold images of 8 bits.
    """
    shape, notes = images.shape, []
    arrange: Callable[[Pixels], bytes]
    match shape:
        case (_, height, width, 3):
            arrange = pixmap
        case (_, 3, height, width):
            arrange = _channels_last
            notes.append("images are stored with their channels first, (n, 3, height, width)")
        case (_, height, width) | (_, height, width, 1) | (_, 1, height, width):
            arrange = _grey(height, width)
            notes.append("images are grey; a model of three channels gets three equal ones")
        case _:
            height = width = 0
    if images.dtype != np.uint8 or not height:  # The model's channels and --data-range decide later.
        arrange, height, width = npy_image, shape[1] if len(shape) > 2 else 0, math.prod(shape[2:])
    if images.dtype.kind not in "buif" or not all(shape) or not height or len(shape) > 4:
        raise DatasetError(
            f"{images.path} holds {images.dtype} of shape {shape}",
            "give images of shape (n, height, width, channels), (n, channels, height, width) or (n, height, width)",
        )
    if shape[0] > IMAGES or height * width > _PIXELS:
        raise DatasetError(
            f"{images.path} holds {shape[0]} images of {height}x{width} pixels, more than {IMAGES} images or {_PIXELS} pixels",
            "split the array, or save smaller images",
        )
    return arrange, notes


def _channels_last(row: Pixels) -> bytes:
    return pixmap(row.transpose(1, 2, 0))


def _grey(height: int, width: int) -> Callable[[Pixels], bytes]:
    return lambda row: pixmap(row.reshape(height, width))


def _find_labels(path: Path) -> Path:
    """Return the file of labels for a file of images."""
    stems = [path.stem.replace(word, "labels") for word in ("images", "data") if word in path.stem]
    if re.match("x(_|$)", path.stem, re.IGNORECASE):  # x_test.npy and y_test.npy
        stems.append(("y" if path.stem[0] == "x" else "Y") + path.stem[1:])
    files = [path.with_name(f"{stem}.npy") for stem in (*stems, "labels")]
    label_file = next((file for file in files if file.is_file() and file != path), None)
    if label_file is None:
        raise DatasetError(f"{path} has no file of labels", f"write {files[0]} with one whole number for each image")
    return label_file


ARRAYS = Reader(
    "arrays",
    "a .npy file of images, uint8 (n, height, width, 3), with labels.npy or …labels….npy in the same folder; or an .npz file "
    "of such arrays: images and labels, x_test and y_test, test_images and test_labels",
    _matches,
    _read,
)
