"""Images without labels: a flat folder, or a list of paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_image, read_limited
from robench.datasets.io.directories import files_below, image_suffixes
from robench.datasets.readers.image_files import ImageFiles
from robench.errors import DatasetError

__all__ = ["read_unlabelled"]

_LIST_SUFFIXES = (".txt", ".csv")
_LIST_BYTES = 2**30


def read_unlabelled(path: Path) -> ImageDataset | None:
    """List the images of a folder, or those that a text file names, one a line; None for any other path.

    Of a line such as `images/0.png -1` or `images/0.png,-1`, only the path counts.

    Raises:
        DatasetError: The folder or the file cannot be read, or a path in it is no image within the file's folder.
    """
    try:
        if path.is_dir():
            files = [file.relative_to(path).as_posix() for file in files_below(path)]
            root, names = path, [name for name in files if name.lower().endswith(tuple(image_suffixes()))]
        elif path.is_file() and path.suffix.lower() in _LIST_SUFFIXES:
            root, names = path.parent, list(_listed(path))
        else:
            return None
    except OSError as error:
        raise DatasetError(f"cannot list {path}: {error.strerror or error}") from error
    paths = tuple(sorted(dict.fromkeys(names)))
    if not paths:
        return None
    return ImageDataset(
        name=path.resolve().name if path.is_dir() else path.stem,
        paths=paths,
        labels=np.zeros(len(paths), np.int64),
        classes=("0",),
        read=lambda position: read_image(root / paths[position]),
    )


def _listed(file: Path) -> Iterator[str]:
    try:
        lines = read_limited(file, _LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 text", "save it as UTF-8") from error
    images = ImageFiles(file.parent)
    for number, line in enumerate(lines, 1):
        where, text = f"{file.name}, line {number}", line.strip()
        if not text:
            continue
        parts = (text, text.rsplit(",", 1)[0].strip(), text.rsplit(maxsplit=1)[0])
        name = next((part for part in parts if images.has(part)), parts[-1])
        path = images.find(name, where, may_lack_suffix=False)
        images.check(path, where)
        yield path
