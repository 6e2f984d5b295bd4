"""Exclusive locks between processes, and the lock of a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robench.errors import RunError
from robench.runs.files import translate_os_errors

__all__ = ["hold_lock", "is_locked", "lock_run"]

_TIMEOUT = 1.0
"""Seconds to wait for the lock; longer than `is_locked` holds it on a busy machine."""


@contextmanager
def hold_lock(file: Path, timeout: float = -1) -> Iterator[bool]:
    """Hold a lock file, which is created and stays; yield whether it is held. The lock ends with the process at the latest.

    Args:
        file: The lock file.
        timeout: Seconds to wait for another process or thread; a negative number waits without limit.
    """
    lock = FileLock(file, timeout=timeout, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_locked(path: Path) -> bool | None:
    """Return whether a process writes the run in `path`; None if that cannot be known, as on some shared disks."""
    file = path / ".lock"
    if not file.exists():
        return False
    try:
        with hold_lock(file, 0) as is_held:
            return not is_held
    except (OSError, NotImplementedError):
        return None


@contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Hold the run in `path` for writing; the lock ends with the process at the latest.

    Raises:
        RunError: Another process holds the run, or the lock file cannot be written.
    """
    with ExitStack() as stack:
        with translate_os_errors(path):
            is_held = stack.enter_context(hold_lock(path / ".lock", _TIMEOUT))
        if not is_held:
            raise RunError(f"another robench process is writing {path}", "wait for it to end, or choose another --out")
        yield
