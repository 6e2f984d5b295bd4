"""What lies in a folder: its visible folders, the files below it, and which of them are images."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from PIL import Image

from robench.datasets.io.image_formats import image_formats
from robench.errors import DatasetError

__all__ = ["files_below", "image_suffixes", "visible_folders"]


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without the hidden ones; links to folders count, save those that lead up."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
        for entry in found:
            if entry.is_symlink():
                _check_link(entry.path)
        return sorted(entry.name for entry in found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _check_link(link: str) -> None:
    """DatasetError for a link to a folder that it lies in: all images below that would be there once more, in other classes."""
    target, place = Path(os.path.realpath(link)), Path(os.path.abspath(link)).parent  # noqa: PTH100 - links in it stay
    if target in [*map(Path.resolve, (place, *place.parents)), *place.resolve().parents]:
        raise DatasetError(f"{link} is a link to a folder that it lies in, {target}: remove it")


def files_below(folder: Path) -> list[Path]:
    """All visible files below `folder`, sorted by folder, then by name; links are followed, save those that lead up.

    OSError for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    found, seen = [], set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(f"{parent}/{name}"):  # noqa: PTH114 - once a folder, and Path is slow
                _check_link(f"{parent}/{name}")
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return sorted(found, key=lambda file: file.parts)


@lru_cache(maxsize=1)
def image_suffixes() -> frozenset[str]:
    """Endings of files in the formats that are read, lower case, with their dot."""
    formats = image_formats()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)
