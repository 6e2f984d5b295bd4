"""Pickles of plain values, read without calling anything that they name."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["Call", "read_pickle"]

_ARRAY_NAMES = frozenset(
    ["numpy.ndarray", "numpy.dtype"]
    # numpy pickles an array in two ways, the second in protocol 5; numpy.core became numpy._core.
    + [
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "numeric._frombuffer")
    ]
)
"""Names in the pickle of an array. None of them is looked up."""

_BYTES_NAMES = frozenset(("_codecs.encode", "__builtin__.bytes", "builtins.bytes"))
"""Python 3 writes bytes in protocol 2 as a call: with a text of the same character codes, or without arguments."""

_STEPS = 2_000_000
"""Most operations of a pickle, ten times as many as in the largest CIFAR batch."""

_OPERATIONS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 SHORT_BINUNICODE BINUNICODE "
    "EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 TUPLE EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS "
    "BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD"
)

_DAMAGE = (pickle.UnpicklingError, struct.error, EOFError, LookupError, TypeError, AttributeError, OverflowError, MemoryError)  # fmt: skip


@dataclass
class Call:
    """A call that a pickle asks for, and that is not made.

    Attributes:
        name: Function or class with its module.
        arguments: Arguments of the call.
        state: State that the pickle gives to the result.
    """

    name: str
    arguments: object
    state: object = None


@dataclass(frozen=True)
class _Name:
    """Placeholder for a function or class."""

    name: str


def read_pickle(content: bytes) -> object:
    """Return the containers, texts, numbers, None and `Call`s of a pickle of protocol 2 or above.

    Texts of Python 2 become bytes. Keys of dicts are text or bytes.

    Raises:
        ValueError: The pickle is damaged, names anything but numpy's arrays, or uses any other operation.
    """
    allowed = frozenset(_OPERATIONS.split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of escape sequences in damaged texts.
        for step, (operation, _, _) in enumerate(pickletools.genops(content)):
            if operation.name not in allowed:
                raise ValueError(f"it contains the operation {operation.name}, which no batch needs")
            if step == _STEPS:
                raise ValueError("it has more operations than any batch needs")
    try:
        return _Reader(content).load()
    except _DAMAGE as error:
        raise ValueError("it is damaged or cut off") from error


# Python's own subclass hook: the compiled Unpickler sizes its memo by the file's numbers, and hashes keys of any depth.
class _Reader(pickle._Unpickler):
    """Builds the values of a pickle whose operations are checked."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._room = len(content)  # Bytes made of text are at most as many as the file has, unless it repeats a text.

    def find_class(self, module: str, name: str) -> _Name:
        """Return a placeholder for a name in the pickle of an array."""
        if f"{module}.{name}" not in _ARRAY_NAMES | _BYTES_NAMES:
            raise ValueError(f"it names {f'{module}.{name}'[:80]!r}, which is no part of an array")
        return _Name(f"{module}.{name}")

    def _reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, _Name):
            raise ValueError("it calls a value that is not a function")
        if called.name not in _BYTES_NAMES:
            self.stack.append(Call(called.name, arguments))
            return
        match arguments:
            case ():
                encoded = b""
            case (str(text), "latin1" | "latin-1"):
                encoded = text.encode("latin-1")
            case _:
                raise ValueError("it makes bytes of a value that is not text")
        self._room -= len(encoded)
        if self._room < 0:
            raise ValueError("it makes more bytes than it holds")
        self.stack.append(encoded)

    def _build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if not isinstance(built, Call):
            raise ValueError("it gives a state to a value that has none")
        built.state = state

    def _set_items(self) -> None:
        pairs = self.pop_mark()
        self._fill(pairs[::2], pairs[1::2])

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key], [value])

    def _fill(self, keys: list[Any], values: list[Any]) -> None:
        if not all(isinstance(key, str | bytes) for key in keys):  # The hash of a nested tuple can take for ever.
            raise ValueError("it has keys that are not text")
        self.stack[-1].update(zip(keys, values, strict=True))

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.SETITEMS[0]: _set_items,
        pickle.SETITEM[0]: _set_item,
    }
