"""Locks between processes; a lock ends with its holder, however the holder ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from robench.runs.lock import hold_lock

__all__ = ["lock_shared", "locked", "unshared"]


@contextmanager
def locked(file: Path, waiting: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold a lock file, which is created and stays; yield whether it is held.

    Args:
        file: The lock file.
        waiting: Called once before waiting for another process or thread. Without it, the lock is not waited for.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(file, 0) as is_held:
        if is_held or waiting is None:
            yield is_held
            return
    waiting()
    with hold_lock(file):
        yield True


def lock_shared(file: IO[Any]) -> None:
    """Take a shared lock on an open file, which lasts until the file and its duplicates are closed.

    Windows needs none: it does not remove open files.
    """
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def unshared(file: Path) -> Iterator[bool]:
    """Yield whether no process holds a shared lock on a file; no process can take one until the block ends."""
    try:
        import fcntl

        opened = file.open("rb")
    except (ImportError, FileNotFoundError):
        yield True
        return
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_unshared = True
        except BlockingIOError:
            is_unshared = False
        yield is_unshared
