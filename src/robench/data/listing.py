"""What lies in a folder: its visible folders, the files below it, and which of them are images."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from PIL import Image

from robench.data.formats import image_formats

__all__ = ["files_below", "image_suffixes", "visible_folders"]


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without the hidden ones; links to folders count."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def files_below(folder: Path) -> list[Path]:
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
def image_suffixes() -> frozenset[str]:
    """Endings of files in the formats that are read, lower case, with their dot."""
    formats = image_formats()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)
