"""Consoles, notes and titled tables."""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

__all__ = ["as_text", "is_unlimited", "print_notes", "sentence", "stderr", "stdout", "titled_table"]

_WIDTH = 100
"""Width of tables in characters if the output is not a terminal."""


_COMMANDS = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�"
)
"""Characters that control a terminal or turn the direction of a text, without tab and newline."""


class _Console(Console):
    """A console that prints no control characters of names in files, and passes a closed pipe on to the command."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, with `�` in place of control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=segment.text.translate(_COMMANDS))

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would exit with 1."""
        raise BrokenPipeError


def is_unlimited(console: Console) -> bool:
    """Return whether nobody has set a width, so that each sentence is a line of the file."""
    return not console.is_terminal and "COLUMNS" not in os.environ


def stdout() -> Console:
    """Return the console for tables and JSON."""
    console = _Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return _Console(highlight=False, emoji=False, markup=False, width=_WIDTH)


def stderr() -> Console:
    """Return the console for progress and notes."""
    return _Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def as_text(draw: Callable[[Console], Iterable[RenderableType]]) -> str:
    """Return what `draw` returns for a console of 100 characters, as text without trailing spaces."""
    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        for part in draw(console):
            console.print(part, crop=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


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


def sentence(text: str, console: Console, style: str) -> Text:
    """Return a sentence that breaks between words of different facts only, or not at all where nobody has set a width."""
    if is_unlimited(console):
        return Text(text, style, no_wrap=True, overflow="ignore")
    kept = re.sub(
        r"(?<=\d) (?=%|pp)|(?<=%) (?=CI)|(?<=CI) | to (?=-?[\d.])|(?<=\b[pn]) (?=[=<])|(?<=[=<]) ", _together, text
    )
    lines = textwrap.wrap(kept, console.width, break_long_words=False, break_on_hyphens=False)
    return Text("\n".join(lines).replace("\xa0", " "), style)


def _together(match: re.Match[str]) -> str:
    return match[0].replace(" ", "\xa0")
