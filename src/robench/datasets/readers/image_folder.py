"""A folder of class folders, as torchvision's ImageFolder reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image
from robench.datasets.io.directories import ARRAY_SUFFIX, files_below, image_suffixes, visible_folders
from robench.datasets.readers.base import Reader
from robench.datasets.readers.label_table import skipped_tables
from robench.errors import DatasetError
from robench.suites import SUITES

__all__ = ["FOLDER"]

_RELEASED = 3
"""Fewest class folders with names of corruptions that mark a released dataset."""
_GROUPS = 10
"""A released dataset has fewer folders of corruptions (noise, blur, …); only such folders are searched."""


def _matches(path: Path) -> bool:
    return path.is_dir() and bool(visible_folders(path))


def _read(root: Path) -> ImageDataset:
    """List the images below `root`: each folder in it is a class, labelled by its position in the sorted names.

    Names that are all whole numbers are sorted as numbers. Images may be in subfolders of a class folder, in any format that
    Pillow reads, or arrays (.npy) if there are no others. Hidden files are skipped, and files of other types with a note.
    """
    try:
        folders = visible_folders(root)
        is_numeric = all(name.isascii() and name.isdigit() and len(name) <= 9 for name in folders)
        if is_numeric:
            # The folders of ImageNet V2 are 0 to 999; sorted as text, 10 would come before 2.
            folders.sort(key=int)
        _refuse_released(root, folders)
        paths: list[str] = []
        labels: list[int] = []
        others: list[tuple[str, int]] = []
        for label, folder in enumerate(folders):
            for file in files_below(root / folder):
                if file.suffix.lower() in image_suffixes():
                    paths.append(file.relative_to(root).as_posix())
                    labels.append(label)
                else:
                    others.append((file.relative_to(root).as_posix(), label))
        arrays = [(path, label) for path, label in others if path.lower().endswith(ARRAY_SUFFIX)]
        if arrays and not paths:  # Next to images, arrays are usually features of them.
            paths, labels = [path for path, _ in arrays], [label for _, label in arrays]
            others = [(path, label) for path, label in others if path not in set(paths)]
        dead = sorted(file.name for file in root.iterdir() if file.is_symlink() and not file.exists())
    except OSError as error:
        raise DatasetError(
            f"cannot list {error.filename or root}: {error.strerror or error}", "check its permissions"
        ) from error
    if not paths:
        raise DatasetError(
            f"{root} has {len(folders)} class folders but no file with the extension of an image",
            "if the folders hold shards, give one of them",
        )
    notes = skipped_tables(root)
    if is_numeric and folders != sorted(folders):
        notes.insert(
            0, "class folders are whole numbers and sorted as such (torchvision's ImageFolder sorts them as text)"
        )
    if others:
        notes.append(f"skipped {len(others)} files without the extension of an image, for example {others[0][0]}")
    counts = Counter(labels)
    if empty := [folder for label, folder in enumerate(folders) if not counts[label]]:
        notes.append(f"class folders without an image: {len(empty):,}, for example {empty[0]}")
    if dead:
        notes.append(f"skipped {len(dead)} broken links, for example {dead[0]}")
    return ImageDataset(
        name=root.resolve().name,
        paths=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(folders),
        read=lambda position: read_image(root / paths[position]),
        notes=tuple(notes),
    )


def _refuse_released(root: Path, folders: list[str]) -> None:
    """Raise DatasetError for a folder of corrupted images, whose corruptions would be read as classes."""
    known = {name for suite in SUITES.values() for name in (*suite.corruptions, *suite.extra)}
    corruptions = {*folders} & known
    if len(folders) < _GROUPS:
        corruptions |= {name for folder in folders for name in visible_folders(root / folder)} & known
    if len(corruptions) >= _RELEASED:
        raise DatasetError(
            f"{root} looks like a released dataset of corrupted images ({', '.join(sorted(corruptions)[:3])}, …)",
            "give it with --released DIR, and the clean images with --data",
        )


FOLDER = Reader("folder", "a folder of class folders, as torchvision's ImageFolder reads it", _matches, _read)
