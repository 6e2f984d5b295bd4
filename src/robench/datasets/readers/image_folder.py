"""A folder of class folders, as torchvision's ImageFolder reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image
from robench.datasets.io.directories import files_below, image_suffixes, visible_folders
from robench.datasets.readers.base import Reader
from robench.datasets.readers.label_table import tables_in
from robench.errors import DatasetError
from robench.suites import SUITES

__all__ = ["FOLDER"]

_RELEASED = 3
"""So many class folders with names of corruptions are no coincidence."""
_GROUPS = 10
"""A released tree has its corruptions in few folders (noise, blur, …): only then is it worth looking into them."""


def _matches(path: Path) -> bool:
    return path.is_dir() and bool(visible_folders(path))


def _read(root: Path) -> ImageDataset:
    """List the images below `root`: every folder in it is a class, labelled by its place in the sorted names.

    Names that all are whole numbers are sorted as numbers. Images may lie deeper inside a class folder, in any format that
    Pillow reads. Hidden files are passed over, and so are files of other types, with a note.
    """
    try:
        folders = _class_folders(root)
        _refuse_released(root, folders)
        paths, labels, other = [], [], []
        for label, folder in enumerate(folders):
            for file in files_below(root / folder):
                if file.suffix.lower() in image_suffixes():
                    paths.append(file.relative_to(root).as_posix())
                    labels.append(label)
                else:
                    other.append(file.relative_to(root).as_posix())
    except OSError as error:
        raise DatasetError(f"cannot list {error.filename or root}: {error.strerror or error}") from error
    if not paths:
        raise DatasetError(
            f"{root} has {len(folders)} class folders but no image in them (by file extension): if they hold shards, name one of them"
        )
    return ImageDataset(
        name=root.resolve().name,
        paths=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(folders),
        read=lambda position: read_image(root / paths[position]),
        notes=(
            *_order_note(folders),
            *_table_note(root),
            *_other_note(other),
            *_empty_note(folders, labels),
            *_dead_note(root),
        ),
    )


def _class_folders(root: Path) -> list[str]:
    """Names of the visible folders in `root`, sorted; as numbers if all of them are."""
    names = visible_folders(root)
    # ImageNet V2 calls its folders 0 to 999: as texts, 10 would come before 2.
    return sorted(names, key=int) if _are_numbers(names) else names


def _are_numbers(names: list[str]) -> bool:
    return all(name.isascii() and name.isdigit() and len(name) <= 9 for name in names)


def _refuse_released(root: Path, folders: list[str]) -> None:
    """DatasetError for a tree of corrupted images: its corruptions would be taken for classes."""
    known = {name for suite in SUITES.values() for name in (*suite.corruptions, *suite.extra)}
    found = {*folders} & known
    if len(folders) < _GROUPS:
        found |= {name for folder in folders for name in visible_folders(root / folder)} & known
    if len(found) >= _RELEASED:
        raise DatasetError(
            f"{root} looks like a released set of corrupted images ({', '.join(sorted(found)[:3])}, …): "
            "give it with --released DIR, and the clean images with --data"
        )


def _order_note(folders: list[str]) -> list[str]:
    if not _are_numbers(folders) or folders == sorted(folders):
        return []
    return ["class folders are whole numbers and sorted as such (torchvision's ImageFolder sorts them as text)"]


def _table_note(root: Path) -> list[str]:
    return [
        f"classes from folders; {table.name} was passed over: name that file to take its labels"
        for table in tables_in(root)
    ]


def _other_note(other: list[str]) -> list[str]:
    if not other:
        return []
    return [f"passed over {len(other)} files that are no images by their extension, for example {other[0]}"]


def _empty_note(folders: list[str], labels: list[int]) -> list[str]:
    counts = Counter(labels)
    empty = [folder for label, folder in enumerate(folders) if not counts[label]]
    return [f"{len(empty)} class folders hold no image, for example {empty[0]}"] if empty else []


def _dead_note(root: Path) -> list[str]:
    dead = sorted(one.name for one in root.iterdir() if one.is_symlink() and not one.exists())
    return [f"passed over {len(dead)} links that lead nowhere, for example {dead[0]}"] if dead else []


FOLDER = Reader("folder", "a folder of class folders, as torchvision's ImageFolder reads it", _matches, _read)
