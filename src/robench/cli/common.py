"""What several verbs share: reading lists, and the console of each stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console

from robench.errors import OptionError

__all__ = ["limit_blas_threads", "names", "numbers", "stderr", "stdout"]

T = TypeVar("T", int, float)

_WIDTH = 100
"""Columns of a table that does not go to a terminal."""


class _Console(Console):
    """A console that leaves it to the command what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Rich would exit with 1 here."""
        raise BrokenPipeError


def stdout() -> Console:
    """The console for tables and JSON."""
    console = _Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return _Console(highlight=False, emoji=False, markup=False, width=_WIDTH)


def stderr() -> Console:
    """The console for progress and notes."""
    return _Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def names(values: Sequence[str] | None) -> list[str] | None:
    """Split a list option: repeated, separated by commas, or both; None where it was not given."""
    if not values:
        return None
    found = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if not found:
        raise OptionError(f"an empty list was given: {values[0]!r}")
    return found


def numbers(values: Sequence[str] | None, option: str, kind: Callable[[str], T]) -> list[T] | None:
    """Split a list option of numbers."""
    parts = names(values)
    if parts is None:
        return None
    try:
        return [kind(part) for part in parts]
    except ValueError:
        raise OptionError(f"{option} takes numbers separated by commas, not {','.join(parts)!r}") from None


def limit_blas_threads() -> None:
    """Keep numpy's matrix products on one thread, where numpy is not imported yet and the user has not said otherwise.

    Threads wait for one another without letting others run: they save a tenth of a second on a machine of one's own, and take
    five times as long on a shared one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
