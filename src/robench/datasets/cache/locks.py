"""Locks between processes that end with their holder, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_same_file", "locked"]


@contextmanager
def locked(file: Path, waiting: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold a lock file, and tell whether it is held.

    A lock that another process or thread holds is waited for, after `waiting` is called once; without `waiting` it is
    left alone, and what is told is False. The file is removed on release.
    """
    handle = _hold(file, waiting)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            file.unlink(missing_ok=True)
            os.close(handle)


def _hold(file: Path, waiting: Callable[[], object] | None) -> int | None:
    told = False
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    os.close(handle)
                    return None
                if not told:
                    waiting()
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            if is_same_file(handle, file):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # Its last holder has removed it meanwhile, so whoever comes next would lock another file.


def is_same_file(handle: int, file: Path) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
