"""The validation images of Tiny ImageNet as published: `val/images/*.JPEG`, with labels in `val/val_annotations.txt`.

Each line holds the name of an image, the WordNet id of its class and a box. `wnids.txt`, next to `val`, lists all classes.
"""

from __future__ import annotations

from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_limited
from robench.datasets.readers.base import Reader
from robench.datasets.readers.image_files import ImageFiles
from robench.datasets.readers.label_table import LabelTable, is_flat, labelled_images
from robench.datasets.readers.table_rows import first_row, read_rows
from robench.errors import DatasetError

__all__ = ["TINY_IMAGENET"]

_LABELS = "val_annotations.txt"
_COLUMNS = (0, 1)
_CLASS_BYTES = 2**20


def _matches(path: Path) -> bool:
    return _find(path) is not None


def _read(path: Path) -> ImageDataset:
    table = _find(path)
    assert table is not None
    folder = table.file.parent
    notes = [f"labels from {table.file}; the classes are sorted by WordNet id, as their training folders are"]
    if path.is_dir() and folder not in (path, path.parent):
        notes.append("only the validation images; give the folder train to evaluate the training images")
    names = _class_names(folder.parent / "wnids.txt")
    return labelled_images(path, table, read_rows(table.file, table.images.has, _COLUMNS), notes, names)


def _find(path: Path) -> LabelTable | None:
    """Return the labels of a folder `tiny-imagenet-200`, `val` or `images`, or of the file itself, with the images."""
    if path.name == _LABELS:
        folders = [path.parent]
    elif path.is_dir():
        folders = [path, path / "val"]
        if path.name == "images" and is_flat(path):
            folders.append(path.parent)
    else:
        return None
    for folder in folders:
        if (folder / _LABELS).is_file():
            for root in (folder / "images", folder):
                images = ImageFiles(root)
                if _names_an_image(folder / _LABELS, images):
                    return LabelTable(folder / _LABELS, images)
    return None


def _names_an_image(file: Path, images: ImageFiles) -> bool:
    try:
        row = first_row(file, images.has, _COLUMNS)
    except DatasetError:
        return False
    return row is not None and images.has(row.name)


def _class_names(file: Path) -> list[str]:
    """Return the sorted classes of a file with one in each line; empty if there is no such file."""
    if not file.is_file():
        return []
    return sorted({*read_limited(file, _CLASS_BYTES).decode(errors="replace").split()})


TINY_IMAGENET = Reader(
    "tiny-imagenet",
    "Tiny ImageNet as published: tiny-imagenet-200, its val (images and val_annotations.txt) or val/images",
    _matches,
    _read,
)
