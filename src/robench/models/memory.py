"""Memory of the machine."""

from __future__ import annotations

import os

__all__ = ["OUT_OF_MEMORY", "physical_memory"]

OUT_OF_MEMORY = "needs more memory than is available"
"""End of every problem that reports a lack of memory; the sandbox adds its limit."""


def physical_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
