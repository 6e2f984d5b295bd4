"""The lock of a run directory."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robench.errors import RunError
from robench.runs.files import translate_os_errors

__all__ = ["is_locked", "lock_run"]


_GLANCE = 1.0
"""Seconds that are longer than it takes to look whether a lock is free."""


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the run in `path` for writing; None where this cannot be known, as on some shared disks."""
    try:
        handle = os.open(path / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not _take(handle, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(handle)


@contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Hold the run in `path` for writing; the lock ends with the process, however it ends.

    Raises:
        RunError: Another process holds the run.
    """
    with translate_os_errors(path):
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # `is_locked` holds the lock for a moment, which can be long on a busy machine.
        started = time.monotonic()
        while not _take(handle, fcntl.LOCK_EX):
            if time.monotonic() - started > _GLANCE:
                raise RunError(f"{path} is being written by another robench: wait for it, or choose another --out")
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)
