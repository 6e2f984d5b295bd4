"""Listings of folders: visible folders, visible files, and image file extensions."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from PIL import Image

from robench.datasets.io.image_formats import image_formats
from robench.errors import DatasetError

__all__ = ["ARRAY_SUFFIX", "files_below", "folders_in", "image_suffixes", "names_in", "visible_folders"]


ARRAY_SUFFIX = ".npy"
"""Extension of an image that is stored as an array. Other arrays have it too, so that it is none of `image_suffixes`."""


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of all entries of a folder; empty if it cannot be listed."""
    return [entry.name for entry in _entries(folder)]


def folders_in(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones; empty if it cannot be listed."""
    return [entry.name for entry in _entries(folder) if _is_folder(entry) and not entry.name.startswith(".")]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def visible_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones; links to folders count.

    Raises:
        OSError: The folder cannot be listed.
        DatasetError: A link leads to a folder that contains it.
    """
    with os.scandir(folder) as entries:
        folders = [entry for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
        for entry in folders:
            if entry.is_symlink():
                _check_link(entry.path)
        return sorted(entry.name for entry in folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _check_link(link: str) -> None:
    """Raise DatasetError for a link to a folder that contains it, which would repeat all images below that folder."""
    target, parent = Path(os.path.realpath(link)), Path(os.path.abspath(link)).parent  # noqa: PTH100 - keep links
    if target in [*map(Path.resolve, (parent, *parent.parents)), *parent.resolve().parents]:
        raise DatasetError(f"{link} is a link to a folder that contains it, {target}", "remove the link")


def files_below(folder: Path) -> list[Path]:
    """Return all visible files below `folder`, sorted by folder, then by name; links are followed.

    Raises:
        OSError: A folder cannot be listed.
        DatasetError: A link leads to a folder that contains it.
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
    """Return the file extensions of the readable formats, lower case, with their dot."""
    formats = image_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)
