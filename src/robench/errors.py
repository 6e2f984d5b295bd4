"""The error tree below RobenchError.

- OptionError: invalid or contradicting options
- CheckpointError: a model, its weights or its architecture
- DatasetError: images, labels or a list of samples
- RunError: a run directory that is locked, incomplete or not writable
- TableError: a table with other columns
- DeviceError: a device that is absent or too small
- OutOfMemory, a DeviceError: a batch too large for the device

The user can fix every error of this tree. Texts name options as flags, such as `--limit`; outside the command line,
`str(error)` shows the keyword `limit` instead. The CLI prints its problem and its hint and exits with 2. Errors of libraries are translated
into these classes at their source; any other exception is an internal error (exit code 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
    "flags_shown",
    "one_line",
    "printable",
    "ran_out_of_memory",
    "unknown_name",
    "with_notes",
    "with_option_names",
]


class RobenchError(Exception):
    """Base of all errors that the user can fix.

    Attributes:
        problem: The problem in one clause.
        hint: The solution, preferably a command; may be empty.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem, self.hint = problem, hint

    def __str__(self) -> str:
        """Return `problem; hint` on one line, with control characters escaped."""
        return with_option_names(printable("; ".join(filter(None, (self.problem, self.hint)))))


class OptionError(RobenchError):
    """An option is invalid, or contradicts another one."""


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


class OutOfMemory(DeviceError):  # noqa: N818 - torch has an OutOfMemoryError
    """A device ran out of memory, and a smaller batch may fit."""


_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
_shows_flags: ContextVar[bool] = ContextVar("_shows_flags", default=False)


@contextmanager
def flags_shown() -> Iterator[None]:
    """Name options as flags (`--per-class`, for the command line) instead of keywords (`per_class`) inside the context."""
    token = _shows_flags.set(True)
    try:
        yield
    finally:
        _shows_flags.reset(token)


def with_option_names(text: str) -> str:
    """Return a text that names options as flags with the names that the user knows; see `flags_shown`."""
    return text if _shows_flags.get() else _OPTION.sub(lambda match: match[1].replace("-", "_"), text)


def printable(text: str) -> str:
    """Return a text with control characters escaped, because names from files could break lines or control a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the problem that `name` is not a known `kind`, and a hint with the most similar name, else with all names.

    Args:
        kind: The kind of name, such as `suite` or `corruption of suite 'cifar-c'`.
        name: The unknown name.
        known: All names.
    """
    names = sorted(set(known))
    spelled = {known_name.casefold(): known_name for known_name in names}
    near = get_close_matches(name.casefold(), spelled, n=1)
    noun, of, owner = kind.partition(" of ")
    hint = f"did you mean {spelled[near[0]]!r}?" if near else f"choose one of {', '.join(names)}"
    return f"unknown {noun} {name!r}{of}{owner}", hint


@contextmanager
def with_notes(notes: Iterable[str]) -> Iterator[None]:
    """Add notes to a RobenchError that leaves the context, because they may explain it. The CLI prints them before the error."""
    try:
        yield
    except RobenchError as error:
        for note in notes:
            error.add_note(printable(note))
        raise


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; torch has a class for its own allocator on a GPU, but only texts elsewhere."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and _MEMORY.search(str(error)) is not None)
    )


_MEMORY = re.compile(
    "can't allocate memory"  # torch on a CPU
    "|CUDA(?: driver)? error: out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"  # kernels, page-locked memory
    "|Triton Error \\[CUDA\\]: out of memory"
    "|CU(?:BLAS|DNN|FFT|SOLVER|SPARSE)_(?:STATUS_)?ALLOC_FAILED"
    "|CUDNN_STATUS_INTERNAL_ERROR_\\w*ALLOCATION_FAILED"
    "|HIP error: out of memory|MPS backend out of memory"
)
"""Texts of errors for memory that no class of errors tells apart."""


def one_line(error: Exception) -> str:
    """Return the text of a library's error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
