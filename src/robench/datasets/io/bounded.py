"""Bounded reads of regular files.

A file from an unknown source may be a pipe that never ends, or a sparse file of 100 GB that takes no disk space.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from robench.datasets.byte_sizes import format_bytes
from robench.errors import DatasetError

__all__ = [
    "IMAGES",
    "IMAGE_BYTES",
    "REDOWNLOAD",
    "check_image_size",
    "file_size",
    "open_regular",
    "os_error",
    "read_image",
    "read_limited",
    "read_part",
]

IMAGE_BYTES = 2**30
"""Largest encoded image; a larger one is unreadable."""

IMAGES = 20_000_000
"""Most images of a dataset, 1.5 times the size of ImageNet-21k: a small file can claim to hold any number."""

REDOWNLOAD = "copy or download it again"


def read_image(path: Path) -> bytes:
    """Return the content of an encoded image file.

    Raises:
        OSError: The file is not readable, not regular or too large.
    """
    with open_regular(path) as (file, size):
        check_image_size(size)
        return _read_exactly(file, 0, size)


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Return `size` bytes at `offset` of a file, usually an encoded image.

    The file is read, not mapped: a mapped file that becomes shorter ends the process.

    Raises:
        OSError: The part is too large, or the file is cut off.
    """
    check_image_size(size)
    with open_regular(path) as (file, _):
        return _read_exactly(file, offset, size)


def read_limited(path: Path, limit: int) -> bytes:
    """Return the content of a small file, for example of labels.

    Raises:
        DatasetError: The file is not readable, or has more than `limit` bytes.
    """
    try:
        with open_regular(path) as (file, size):
            if size > limit:
                raise DatasetError(
                    f"{path} has {format_bytes(size)}, more than the limit of {format_bytes(limit)}",
                    "check that it is the file you meant",
                )
            return _read_exactly(file, 0, size)
    except OSError as error:
        raise os_error(path, error) from error


def file_size(path: Path) -> int:
    """Return the size of a readable regular file in bytes, or raise DatasetError."""
    try:
        with open_regular(path) as (_, size):
            return size
    except OSError as error:
        raise os_error(path, error) from error


def check_image_size(size: int) -> None:
    """Raise OSError if an encoded image of `size` bytes is too large to be read."""
    if size > IMAGE_BYTES:
        raise OSError(f"it has {format_bytes(size)}, more than an encoded image may have ({format_bytes(IMAGE_BYTES)})")


def os_error(path: Path, error: OSError) -> DatasetError:
    """Return an error of the operating system as a DatasetError about `path`."""
    return DatasetError(f"cannot read {path}: {error.strerror or error}", "check the path and its permissions")


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[FileIO, int]]:
    """Open a regular file, unbuffered; yield it with its size in bytes.

    Raises:
        OSError: The file cannot be opened, or is not regular.
    """
    with FileIO(path, opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is a folder, a pipe or a device, not a file")
        yield file, status.st_size


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; by default, opening a named pipe waits for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_exactly(file: FileIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    parts = []
    while size > 0:
        part = file.read(size)
        if not part:
            raise OSError("it ends too early: copy or download it again")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
