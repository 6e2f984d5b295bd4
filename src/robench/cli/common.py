"""Consoles and lists of the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from robench.errors import OptionError

__all__ = ["limit_blas_threads", "names", "numbers", "print_notes", "stderr", "stdout", "titled_table"]

T = TypeVar("T", int, float)

_WIDTH = 100
"""Width of tables in characters if the output is not a terminal."""


class _Console(Console):
    """A console that passes a closed pipe on to the command."""

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would exit with 1."""
        raise BrokenPipeError


def stdout() -> Console:
    """Return the console for tables and JSON."""
    console = _Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return _Console(highlight=False, emoji=False, markup=False, width=_WIDTH)


def stderr() -> Console:
    """Return the console for progress and notes."""
    return _Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def print_notes(notes: Sequence[str], kind: str = "note") -> None:
    """Print each note, or each message of another kind, on a line of stderr."""
    for note in notes:
        stderr().print(f"{kind}: {note}")


def titled_table(title: str, caption: str | None = None) -> Table:
    """Return a table that is at least as wide as its title, which rich would fold otherwise."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        min_width=len(title),
    )


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
    """Split the values of a list option at commas into numbers; None stays None.

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
        return [kind(part) for part in parts]
    except ValueError:
        raise OptionError(f"{option} takes numbers separated by commas, not {','.join(parts)!r}") from None


def limit_blas_threads() -> None:
    """Keep numpy's matrix products on one thread, unless numpy is imported already or the user chose a number.

    Threads wait for each other by spinning. On an idle machine they save a tenth of a second; on a shared one they take five
    times as long.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
