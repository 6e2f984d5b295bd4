"""Datasets: readers of file layouts, selection of samples, and the decode cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from robench.arguments import path_of
from robench.datasets.cache.decode import Hashes, decode, decode_few, decode_one, decoders, find_decoded, hash_images
from robench.datasets.cache.image_stack import Decoded, ImageStack, copy_padded
from robench.datasets.checks import are_small, common_small_side, double_resize_note
from robench.datasets.class_mapping import fit_classes
from robench.datasets.cue_conflict import as_cue_conflict
from robench.datasets.dataset import ImageDataset, LabelSets, Origin, map_classes, select
from robench.datasets.io.bounded import os_error
from robench.datasets.io.ignored import ignored_notes
from robench.datasets.label_file import relabel
from robench.datasets.readers.arrow import ARROW
from robench.datasets.readers.base import Reader
from robench.datasets.readers.cifar import CIFAR
from robench.datasets.readers.demo import read_demo
from robench.datasets.readers.ilsvrc import ILSVRC
from robench.datasets.readers.image_folder import FOLDER
from robench.datasets.readers.label_table import LABEL_TABLE
from robench.datasets.readers.numpy_arrays import ARRAYS
from robench.datasets.readers.objectnet import OBJECTNET
from robench.datasets.readers.parquet import PARQUET
from robench.datasets.readers.tiny_imagenet import TINY_IMAGENET
from robench.datasets.readers.unlabelled import read_unlabelled
from robench.datasets.readers.webdataset import WEBDATASET
from robench.datasets.released import CheckedFiles, Name, check_released, find_released, read_released, released_names
from robench.errors import DatasetError
from robench.runs.files import cache_folder

__all__ = [
    "EMBEDDED",
    "READERS",
    "CheckedFiles",
    "Decoded",
    "Hashes",
    "ImageDataset",
    "ImageSet",
    "ImageStack",
    "LabelSets",
    "Name",
    "Origin",
    "Reader",
    "are_small",
    "as_cue_conflict",
    "cache_folder",
    "check_released",
    "common_small_side",
    "copy_padded",
    "decode",
    "decode_few",
    "decode_one",
    "decoders",
    "double_resize_note",
    "find_decoded",
    "find_released",
    "fit_classes",
    "hash_images",
    "ignored_notes",
    "open_dataset",
    "read_released",
    "released_names",
    "select",
]

ImageSet = ImageDataset
"""Alias of `ImageDataset`."""

EMBEDDED: dict[str, Callable[[], ImageDataset]] = {"demo": read_demo}
"""Datasets that need no files, by name."""

READERS: tuple[Reader, ...] = (
    CIFAR,
    PARQUET,
    ARROW,
    WEBDATASET,
    ARRAYS,
    TINY_IMAGENET,
    ILSVRC,
    LABEL_TABLE,
    OBJECTNET,
    FOLDER,
)
"""Readers in the order in which they are tried; a folder of class folders comes last because any folder matches it."""

_HINT = (
    "give a folder of class folders or with labels.csv, a CIFAR folder, a .csv, .tsv, .txt, .jsonl, .npy, .npz, .arrow, "
    ".parquet or .tar file, or demo (see `robench list datasets`)"
)


def open_dataset(
    data: str | Path,
    class_map: str | Path | None = None,
    labelled: bool = True,
    labels: str | Path | None = None,
) -> ImageDataset:
    """Open a dataset; no image is decoded, and nothing in the files is executed.

    Args:
        data: Name of an embedded dataset, or a path, which the first matching reader opens.
        class_map: File for `map_classes`; None to keep the labels.
        labelled: Whether the labels count. Otherwise the images may also be a flat folder or a list of paths, and all have class 0.
        labels: File for `relabel`, with which the images may also be a flat folder; None to keep the labels.

    Returns:
        The paths and labels of the images, which are read later.

    Raises:
        ArgumentError: An argument has a wrong type.
        DatasetError: No reader matches, or the files are damaged.
    """
    data = data if isinstance(data, str) else path_of("the dataset", data, "a path, or the name of an embedded dataset")
    names = None if class_map is None else path_of("--class-map", class_map)
    if not str(data):
        raise DatasetError("the dataset has an empty name", _HINT)
    file = None if labels is None else path_of("--labels", labels)
    if isinstance(data, str) and data in EMBEDDED:
        images = EMBEDDED[data]()
    elif labelled and file is None:
        images = _read(Path(data))
    else:
        images = _read_unlabelled(Path(data), keep=labelled)
        labelled = labelled and bool(images.classes)
    images = replace(
        images,
        root=None if str(data) in EMBEDDED else Path(data),
        origin=(data, names if file is None else None, labelled),
    )
    if file is not None and not labelled:
        images = relabel(images, file)
    images = images if names is None else map_classes(images, names)
    return relabel(images, file) if file is not None and labelled else images


def _read(path: Path) -> ImageDataset:
    try:
        reader = next((reader for reader in READERS if reader.matches(path)), None)
        if reader is None:
            raise DatasetError(_unknown(path), _HINT)
    except OSError as error:
        raise os_error(path, error) from error
    images = reader.read(path)
    # Tables are UTF-8, but names of files and JSON texts need not be.
    names = (images.name, *images.classes, *images.paths)
    invalid = next((name for name in names if name != name.encode(errors="ignore").decode()), None)
    if invalid is not None:
        raise DatasetError(f"{path} contains a name that is not UTF-8, {invalid!r}", "rename it")
    return images


def _read_unlabelled(path: Path, keep: bool = False) -> ImageDataset:
    """Read a dataset by the first matching reader, or else as a flat folder or a list of paths.

    Args:
        path: The images.
        keep: Whether to keep the labels of a dataset that has some; the classes of others are then empty.
    """
    try:
        images = _read(path)
        if keep:
            return images
    except DatasetError:
        found = read_unlabelled(path)
        if found is None:
            raise
        images = found
    return replace(
        images,
        labels=np.zeros(len(images), np.int64),
        classes=() if keep else ("0",),
        label_sets=None,
        groups=None,
        file_labels=None,
    )


def _unknown(path: Path) -> str:
    if path.is_dir():
        return f"{path} has no class folders and matches no other layout"
    if path.exists():
        return f"{path} is a file that no reader knows"
    return f"there is no dataset {path}"
