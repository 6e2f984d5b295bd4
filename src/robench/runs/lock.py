"""The lock of a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robench.errors import RunError
from robench.runs.files import translate_os_errors

__all__ = ["is_locked", "lock_run"]

_TIMEOUT = 1.0
"""Seconds to wait for the lock; longer than `is_locked` holds it on a busy machine."""


def is_locked(path: Path) -> bool | None:
    """Return whether a process writes the run in `path`; None if that cannot be known, as on some shared disks."""
    file = path / ".lock"
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


@contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Hold the run in `path` for writing; the lock ends with the process at the latest.

    Raises:
        RunError: Another process holds the run, or the lock file cannot be written.
    """
    lock = FileLock(path / ".lock", timeout=_TIMEOUT, poll_interval=0.01)
    try:
        with translate_os_errors(path):
            lock.acquire()
    except Timeout:
        raise RunError(
            f"another robench process is writing {path}", "wait for it to end, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
