"""Memory of the process and of the machine."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

__all__ = ["keep_freed_memory", "physical_memory", "ran_out_of_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
_MOST = 1 << 25
"""Largest block, in bytes, that glibc can be told to take from its heap: 32 MiB."""


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next batch, once in a process; where it is not glibc, nothing happens.

    By default it hands the buffers of every batch back to the system and asks for them again, and the system clears them:
    a third of a run's time on small images. The peak stays as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_MMAP_THRESHOLD, _MOST)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's has a class of its own on a GPU alone, on a CPU it is in the text."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def physical_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
