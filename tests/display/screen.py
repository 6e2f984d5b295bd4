"""A terminal of fixed size, as far as rich's live displays use one: text, lines, the cursor and erasing."""

from __future__ import annotations

import re

__all__ = ["Screen"]

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[^\[]|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """The screen of a terminal of `width` x `height` after a stream of characters, and the lines that scrolled out of it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.history: list[str] = []
        self.rows = [" " * width for _ in range(height)]
        self.row = self.column = 0
        self.wraps = 0
        self.cursor_shown = True

    @property
    def lines(self) -> list[str]:
        """All lines since the beginning, without trailing spaces and empty lines at the end."""
        lines = [line.rstrip() for line in (*self.history, *self.rows)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def feed(self, text: str) -> None:
        """Interpret a stream; the terminal turns \\n into \\r\\n."""
        for argument, command, newline, characters in _TOKEN.findall(text):
            if command:
                self._command(argument, command)
            elif newline == "\r":
                self.column = 0
            elif newline:
                self._line_feed()
            for character in characters:
                if self.column == self.width:
                    self.wraps += 1
                    self._line_feed()
                row = self.rows[self.row]
                self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
                self.column += 1

    def _line_feed(self) -> None:
        self.column = 0
        if self.row == self.height - 1:
            self.history.append(self.rows.pop(0))
            self.rows.append(" " * self.width)
        else:
            self.row += 1

    def _command(self, argument: str, command: str) -> None:
        count = int(argument or 1) if argument.isdigit() or not argument else 0
        if command == "A":
            self.row = max(self.row - count, 0)
        elif command == "B":
            self.row = min(self.row + count, self.height - 1)
        elif command == "K":
            assert argument == "2", "only whole lines are erased"
            self.rows[self.row] = " " * self.width
        elif argument == "?25":
            self.cursor_shown = command == "h"
        else:
            assert command == "m", f"ESC[{argument}{command}"
