"""ImageNet's validation images in one folder, with a label in each line for the image of that number.

- `ILSVRC2012_validation_ground_truth.txt` of the development kit holds numbers in the order of the challenge. Networks have the
  sorted order of WordNet ids. `meta.mat` or `map_clsloc.txt`, next to it, maps the numbers.
- `imagenet_2012_validation_synset_labels.txt` of TensorFlow holds WordNet ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_limited
from robench.datasets.io.directories import folders_in, image_suffixes, names_in
from robench.datasets.io.mat import read_structs
from robench.datasets.readers.base import Reader
from robench.datasets.readers.image_files import ImageFiles
from robench.datasets.readers.label_table import IMAGE_FOLDERS, LabelTable, is_flat, labelled_images, tables_of
from robench.datasets.readers.splits import split_of
from robench.datasets.readers.table_rows import Row
from robench.errors import DatasetError

__all__ = ["ILSVRC"]

_NUMBERS = "ILSVRC2012_validation_ground_truth.txt"
_FILES = (_NUMBERS, "imagenet_2012_validation_synset_labels.txt")
_TEXT_BYTES = 2**24
_CLASSES = 1000
"""Classes of the challenge; `meta.mat` also lists the classes above them."""
_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
_KITS = re.compile(r"(ilsvrc.*)?devkit.*|data|labels|meta", re.IGNORECASE)
"""Folders of the development kit and its files."""


def _matches(path: Path) -> bool:
    if path.is_file():
        return path.name in _FILES
    return path.is_dir() and _truth(_images_in(path)) is not None and not tables_of(path)


def _images_in(folder: Path) -> Path:
    """Return the folder of validation images in a folder, which may be the folder itself."""
    inner = [folder / name for name in folders_in(folder)]
    named = [place for place in inner if split_of(place.name) == "validation" or place.name.lower() in IMAGE_FOLDERS]
    return next((place for place in (folder, *named) if is_flat(place) and _has_images(place)), folder)


def _has_images(folder: Path) -> bool:
    return any(map(_IMAGE.fullmatch, names_in(folder)))


def _read(path: Path) -> ImageDataset:
    truth = _truth(_images_in(path)) if path.is_dir() else path.absolute()
    assert truth is not None
    lines = read_limited(truth, _TEXT_BYTES).decode(errors="replace").split()
    wnids = _order(truth) if truth.name == _NUMBERS else {line: line for line in lines}
    unknown = next((number for number, line in enumerate(lines, 1) if line not in wnids), None)
    if unknown is not None:
        raise DatasetError(
            f"{truth.name}, line {unknown} has the unknown class {lines[unknown - 1]!r}",
            "download the development kit again",
        )
    root = _root(_images_in(path).absolute() if path.is_dir() else truth.parent)
    if root is None:
        raise DatasetError(
            f"there are no images named like ILSVRC2012_val_00000001.JPEG near {path}", "give their folder with --data"
        )
    labels = [wnids[line] for line in lines]
    note = f"labels from {truth}" + ("" if truth.name != _NUMBERS else ", mapped to the sorted order of WordNet ids")
    table = LabelTable(truth, ImageFiles(root))
    return labelled_images(path, table, _rows(root, labels, truth), [note], sorted({*wnids.values()}))


def _rows(root: Path, labels: list[str], truth: Path) -> Iterator[Row]:
    for name in names_in(root):
        if Path(name).suffix.lower() not in image_suffixes():
            continue
        match = _IMAGE.fullmatch(name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(labels):
            raise DatasetError(
                f"{root / name} has no label in {truth}, which has {len(labels)} lines",
                "name the images as published, ILSVRC2012_val_00000001.JPEG",
            )
        yield Row(number, name, labels[number - 1], False)


def _order(truth: Path) -> dict[str, str]:
    """Return the WordNet id of each number in the order of the challenge."""
    folder = truth.parent
    if (folder / "meta.mat").is_file():
        wnids = {
            f"{structs['ILSVRC2012_ID']:.0f}": structs["WNID"]
            for structs in read_structs(folder / "meta.mat", "synsets")
            if isinstance(structs.get("ILSVRC2012_ID"), float) and isinstance(structs.get("WNID"), str)
        }
        source = folder / "meta.mat"
    elif (folder / "map_clsloc.txt").is_file():
        source = folder / "map_clsloc.txt"
        rows = [line.split() for line in read_limited(source, _TEXT_BYTES).decode(errors="replace").splitlines()]
        wnids = {row[1]: row[0] for row in rows if len(row) > 1}
    else:
        raise DatasetError(
            f"{truth} numbers the classes in the order of the ILSVRC challenge, which is not the sorted order of WordNet ids "
            "that networks have",
            "copy meta.mat of the development kit next to it, or give a list of image names and WordNet ids",
        )
    order = {str(number): str(wnids.get(str(number))) for number in range(1, _CLASSES + 1)}
    if len(set(order.values())) < _CLASSES or "None" in order.values():
        raise DatasetError(
            f"{source} does not map the numbers 1 to {_CLASSES} to WordNet ids",
            "copy it from the development kit of ILSVRC2012 again",
        )
    return order


def _truth(folder: Path) -> Path | None:
    """Return the labels in a folder of images, or in a development kit next to or above it."""
    if not _has_images(folder):
        return None
    places = [folder]
    for parent in list(folder.absolute().parents)[:2]:
        kits = [parent / name for name in folders_in(parent) if _KITS.fullmatch(name)]
        places += [parent, *(place for kit in kits for place in (kit, kit / "data"))]
    return next((place / name for place in places for name in _FILES if (place / name).is_file()), None)


def _root(start: Path) -> Path | None:
    """Return the folder of images at or near a folder."""
    places = [start]
    for parent in (start, *list(start.parents)[:2]):
        places += [parent / name for name in folders_in(parent)]
    return next((place for place in places if _has_images(place)), None)


ILSVRC = Reader(
    "ilsvrc",
    "ImageNet's validation images in one folder, with the development kit (ILSVRC2012_validation_ground_truth.txt and meta.mat) "
    "in it or next to it",
    _matches,
    _read,
)
