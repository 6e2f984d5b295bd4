"""Datasets: readers in one explicit table, the choice of samples, and the decode cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robench.data.cache import Decoded, Hashes, Stack, cache_folder, decode, decode_few, decode_one, hash_images
from robench.data.demo import read_demo
from robench.data.folder import read_folder
from robench.data.image_set import ImageSet, map_classes, select
from robench.errors import DatasetError

__all__ = [
    "EMBEDDED",
    "Decoded",
    "Hashes",
    "ImageSet",
    "Stack",
    "cache_folder",
    "decode",
    "decode_few",
    "decode_one",
    "hash_images",
    "open_dataset",
    "select",
]

EMBEDDED: dict[str, Callable[[], ImageSet]] = {"demo": read_demo}
"""Datasets that need no files, by name."""


def open_dataset(data: str | Path, class_map: Path | None = None) -> ImageSet:
    """Open an embedded dataset by name, or a folder of class folders; DatasetError where that fails."""
    if not str(data):
        raise DatasetError("the dataset has an empty name: give a folder of class folders")
    images = EMBEDDED[data]() if isinstance(data, str) and data in EMBEDDED else read_folder(Path(data))
    return images if class_map is None else map_classes(images, Path(class_map))
