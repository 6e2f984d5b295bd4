"""The error tree. Everything here is the user's to mend: the CLI prints one line and exits 2.

RobenchError
├── OptionError       an option's value, or two options that do not go together
├── CheckpointError   a model, its weights or its architecture
├── DatasetError      images, labels, lists of samples
├── RunError          a run directory: refused, locked, incomplete, not writable
├── TableError        a table whose columns are not the declared ones
└── DeviceError       a device that is absent or too small
    └── OutOfMemory   a batch that is too large for it: a smaller one may do

Errors of libraries are translated where they are raised; whatever is not in this tree is an internal error (exit 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CheckpointError",
    "DatasetError",
    "DeviceError",
    "OptionError",
    "OutOfMemory",
    "RobenchError",
    "RunError",
    "TableError",
    "one_line",
    "printable",
    "ran_out_of_memory",
    "unknown_name",
]


class RobenchError(Exception):
    """Base of all errors that the user can fix.

    Attributes:
        problem: What is wrong, in one clause.
        hint: What to do about it, preferably a command; empty if there is nothing to add.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem, self.hint = problem, hint

    def __str__(self) -> str:
        """Return `problem; hint` on one line, with control characters escaped."""
        return printable("; ".join(filter(None, (self.problem, self.hint))))


class OptionError(RobenchError):
    """An option has a value it cannot have, or contradicts another one."""


class CheckpointError(RobenchError):
    """A model, its weights file or its architecture cannot be used."""


class DatasetError(RobenchError):
    """Images, labels or a list of samples cannot be used."""


class RunError(RobenchError):
    """A run directory cannot be read, written or resumed."""


class TableError(RobenchError):
    """A table does not have the declared columns."""


class DeviceError(RobenchError):
    """The requested device is absent or too small."""


class OutOfMemory(DeviceError):  # noqa: N818 - torch's error already has the longer name.
    """A device ran out of memory at a batch that can be made smaller."""


def printable(text: str) -> str:
    """Return a text as one line without control characters: names that a file chose may break lines or steer a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that says `name` is no known `kind`, suggests the nearest, whatever its case, and lists the rest."""
    names = sorted(set(known))
    spelled = {one.casefold(): one for one in names}
    near = get_close_matches(name.casefold(), spelled, n=1)
    suggestion = f"; did you mean {spelled[near[0]]!r}?" if near else ""
    return f"unknown {kind} {name!r}{suggestion} (known: {', '.join(names)})"


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's has a class of its own on a GPU alone, on a CPU it is in the text."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def one_line(error: Exception) -> str:
    """Return the text of a library's error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
