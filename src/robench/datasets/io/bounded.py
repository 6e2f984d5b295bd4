"""Reading files that someone else made: only regular ones, and only as many bytes as make sense.

A file may be a pipe that never ends, or sparse and a hundred gigabytes long without taking any disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robench.errors import DatasetError

__all__ = [
    "IMAGES",
    "IMAGE_BYTES",
    "check_image_size",
    "file_size",
    "one_line",
    "read_image",
    "read_limited",
    "read_part",
]

IMAGE_BYTES = 2**30
"""What an encoded image may take; a larger one is unreadable."""

IMAGES = 20_000_000
"""What a set may have, half as many again as ImageNet-21k: a small file can claim to hold any number."""


def read_image(path: Path) -> bytes:
    """Return a file that is one encoded image; OSError with a reason where it is none that can be read."""
    with _opened(path) as (descriptor, size):
        check_image_size(size)
        return _exactly(descriptor, 0, size)


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Return the encoded image of `size` bytes at `offset` of a file; OSError where it is too large or cut off.

    Files are read, not mapped: a mapped file that becomes shorter ends the process.
    """
    check_image_size(size)
    with _opened(path) as (descriptor, _):
        return _exactly(descriptor, offset, size)


def read_limited(path: Path, limit: int) -> bytes:
    """Return a file of labels or the like; DatasetError where that fails or it has more than `limit` bytes."""
    try:
        with _opened(path) as (descriptor, size):
            if size > limit:
                raise DatasetError(f"{path} has {_amount(size)}, more than such a file can need ({_amount(limit)})")
            return _exactly(descriptor, 0, size)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error


def file_size(path: Path) -> int:
    """Size of a regular file that can be read, in bytes; DatasetError for anything else."""
    try:
        with _opened(path) as (_, size):
            return size
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error


def check_image_size(size: int) -> None:
    """OSError if an encoded image of `size` bytes would not be read."""
    if size > IMAGE_BYTES:
        raise OSError(f"it has {_amount(size)}, and an encoded image may have {_amount(IMAGE_BYTES)}")


def one_line(error: BaseException) -> str:
    """A library's message without its line breaks; the name of its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """A descriptor and the size of a regular file."""
    # Without O_NONBLOCK the opening of a named pipe waits for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is a folder, a pipe or a device, not a file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _exactly(descriptor: int, offset: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise OSError("it ends too early: copy or download it again")
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
