"""A folder of class folders, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from robench.data.image_set import ImageSet
from robench.errors import DatasetError

__all__ = ["read_folder"]


def read_folder(root: Path) -> ImageSet:
    """List the images below `root`: every folder in it is a class, labelled by its place in the sorted names.

    Images may lie deeper inside a class folder, in any format that Pillow reads. Hidden files are passed over, and so are
    files of other types, with a note.
    """
    if not root.exists():
        raise DatasetError(f"there is no dataset {root}: give a folder of class folders")
    if not root.is_dir():
        raise DatasetError(f"{root} is a file: give a folder of class folders")
    try:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
        if not folders:
            raise DatasetError(f"{root} has no class folders: put the images of each class into a folder of its own")
        paths, labels, other = [], [], []
        for label, folder in enumerate(folders):
            for file in _files(root / folder):
                if file.suffix.lower() in _image_suffixes():
                    paths.append(file.relative_to(root).as_posix())
                    labels.append(label)
                else:
                    other.append(file.relative_to(root).as_posix())
    except OSError as error:
        raise DatasetError(f"cannot list {root}: {error}") from error
    odd = next((name for name in (*folders, *paths, *other) if not _is_text(name)), None)
    if odd is not None:
        raise DatasetError(
            f"{root} holds a name that is not UTF-8, {odd.encode(errors='replace').decode()!r}: rename it"
        )
    if not paths:
        raise DatasetError(f"{root} has {len(folders)} class folders but no image in them (by file extension)")
    return ImageSet(
        name=root.resolve().name,
        paths=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(folders),
        read=lambda position: (root / paths[position]).read_bytes(),
        notes=(*_other_note(other), *_empty_note(folders, labels)),
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _files(folder: Path) -> list[Path]:
    """All visible files below `folder`, sorted by folder, then by name; links are followed, loops are not."""
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return sorted(found, key=lambda file: file.parts)


@lru_cache(maxsize=1)
def _image_suffixes() -> frozenset[str]:
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _other_note(other: list[str]) -> list[str]:
    if not other:
        return []
    return [f"passed over {len(other)} files that are no images by their extension, for example {other[0]}"]


def _empty_note(folders: list[str], labels: list[int]) -> list[str]:
    counts = Counter(labels)
    empty = [folder for label, folder in enumerate(folders) if not counts[label]]
    return [f"{len(empty)} class folders hold no image, for example {empty[0]}"] if empty else []
