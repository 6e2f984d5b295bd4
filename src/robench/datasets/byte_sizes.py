"""Sizes in bytes as text."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "parse_bytes"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)


def format_bytes(size: int) -> str:
    """Return a size with a decimal unit: `7.5 GB`, `150.5 MB`, `512 B`."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def parse_bytes(text: str) -> int | None:
    """Return the bytes of `50GB`, `800MB`, `2GiB` or a plain number; None for any other text."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    number, prefix, binary = match.groups()
    power = " kmgt".index(prefix.lower()) if prefix else 0
    # A number of any length fits a whole number; a float may be infinite.
    return int(min(float(number) * (1024 if binary else 1000) ** power, 2.0**64))
