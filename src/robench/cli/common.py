"""Lists of the command line, and numpy's threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from robench.display.console import print_notes
from robench.errors import OptionError

__all__ = ["found_runs", "limit_blas_threads", "names", "numbers"]

T = TypeVar("T", int, float)


def names(values: Sequence[str] | None) -> list[str] | None:
    """Split the values of a list option at commas; None stays None.

    Raises:
        OptionError: The list is empty.
    """
    if not values:
        return None
    parts = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if not parts:
        raise OptionError(f"a list has no values: {values[0]!r}", "omit the option for its default")
    return parts


def numbers(values: Sequence[str] | None, option: str, kind: Callable[[str], T]) -> list[T] | None:
    """Split the values of a list option at commas into numbers, and expand ranges of whole numbers; None stays None.

    Args:
        values: The texts from the command line.
        option: Name of the option, for the error.
        kind: Type of the numbers, int or float.

    Raises:
        OptionError: The list is empty, or a value is not a number.
    """
    parts = names(values)
    if parts is None:
        return None
    try:
        return [number for part in parts for number in _expand(part, kind)]
    except ValueError:
        forms = "1,3 or 1-3" if kind is int else "0.5,0.5,0.5"
        raise OptionError(f"{option} takes numbers, not {','.join(parts)!r}", f"write them as {forms}") from None


def _expand(part: str, kind: Callable[[str], T]) -> list[T]:
    """Return the numbers of `3`, or of the range `1-3` of whole numbers."""
    first, dash, last = part.partition("-")
    if kind is int and first and dash:
        if int(first) > int(last):
            raise ValueError(part)
        return [kind(str(number)) for number in range(int(first), int(last) + 1)]
    return [kind(part)]


def limit_blas_threads() -> None:
    """Keep numpy's matrix products on one thread, unless numpy is imported already or the user chose a number.

    Threads wait for each other by spinning. On an idle machine they save a tenth of a second; on a shared one they take five
    times as long.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def found_runs(paths: Sequence[Path]) -> list[Path]:
    """Replace folders of runs by the finished runs in them, as `find_runs` does, and print a note on those left out."""
    from robench.runs.find import find_runs

    return find_runs(paths, on_skip=lambda note: print_notes([note]))
