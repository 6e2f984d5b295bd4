"""Reading the plain values of a pickle without unpickling it.

Python's reader calls whatever a pickle names, and a restricted one still hashes and sizes what the file says. This one knows
only the operations that make containers, texts and numbers; a call that the pickle asks for stays a description of it, and
one that no array of numbers needs is a reason to refuse the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Call", "read_pickle"]

_GLOBALS = frozenset(
    f"numpy{name}"
    for name in (
        ".ndarray",
        ".dtype",
        # numpy's two ways to pickle an array, the second of protocol 5; numpy.core became numpy._core.
        ".core.multiarray._reconstruct",
        "._core.multiarray._reconstruct",
        ".core.numeric._frombuffer",
        "._core.numeric._frombuffer",
    )
)
"""What a pickled array names. None of it is looked up."""

_BYTES = frozenset(("_codecs.encode", "__builtin__.bytes", "builtins.bytes"))
"""How Python 3 writes bytes in protocol 2: as a call with the text of the same character codes, or with nothing."""

_STEPS = 2_000_000
"""Ten times what the largest CIFAR batch takes."""

_COUNTED = {
    0x55: ("<B", "bytes"),  # SHORT_BINSTRING, text of Python 2
    0x54: ("<I", "bytes"),  # BINSTRING
    0x43: ("<B", "bytes"),  # SHORT_BINBYTES
    0x42: ("<I", "bytes"),  # BINBYTES
    0x8E: ("<Q", "bytes"),  # BINBYTES8
    0x96: ("<Q", "bytes"),  # BYTEARRAY8
    0x8C: ("<B", "text"),  # SHORT_BINUNICODE
    0x58: ("<I", "text"),  # BINUNICODE
    0x8A: ("<B", "whole"),  # LONG1
}
"""Operations that are followed by a length and so many bytes: format of the length, and what the bytes are."""

_FROM_BYTES: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "text": bytes.decode,
    "whole": lambda data: int.from_bytes(data, "little", signed=True),
}

_NUMBERS = {0x4B: "<B", 0x4D: "<H", 0x4A: "<i", 0x47: ">d"}  # BININT1, BININT2, BININT, BINFLOAT
_CONSTANTS = {0x4E: None, 0x88: True, 0x89: False}  # NONE, NEWTRUE, NEWFALSE
_STORES = {0x71: "<B", 0x72: "<I"}  # BINPUT, LONG_BINPUT
_FETCHES = {0x68: "<B", 0x6A: "<I"}  # BINGET, LONG_BINGET
_TUPLES = {0x29: 0, 0x85: 1, 0x86: 2, 0x87: 3}  # EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3


@dataclass
class Call:
    """A call that a pickle asks for and that is not made.

    name: of what would be called, with its module.  state: what the result would be given afterwards.
    """

    name: str
    arguments: object
    state: object = None


@dataclass(frozen=True)
class _Global:
    name: str


class _Mark:
    """Where on the stack a list of values begins."""


def read_pickle(content: bytes) -> object:
    """Return what a pickle (protocol 2 and above) holds: containers, texts, numbers, None and `Call`s.

    Texts of Python 2 are bytes; keys are texts only. ValueError for a damaged pickle, and for one that names anything but
    numpy's arrays or needs any other operation.
    """
    try:
        return _interpret(content)
    except (IndexError, KeyError, struct.error, OverflowError) as error:
        raise ValueError("it is damaged or cut off") from error


def _interpret(content: bytes) -> object:
    stack: list[object] = []
    memo: dict[int, object] = {}
    place = 0
    room = len(
        content
    )  # What a pickle makes of texts is no more than it holds, unless it uses one text again and again.

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(form, content, place)
        place += struct.calcsize(form)
        result: int = value
        return result

    def run(size: int) -> bytes:
        nonlocal place
        if not 0 <= size <= len(content) - place:
            raise IndexError
        place += size
        return content[place - size : place]

    def line() -> str:
        return run(content.find(b"\n", place, place + 256) + 1 - place)[:-1].decode()

    def marked() -> list[object]:
        at = len(stack) - 1
        while not isinstance(stack[at], _Mark):
            at -= 1
            if at < 0:
                raise IndexError
        values = stack[at + 1 :]
        del stack[at:]
        return values

    for _ in range(_STEPS):
        code = content[place]
        place += 1
        if code == 0x2E:  # STOP
            return stack.pop()
        if code in _COUNTED:
            form, kind = _COUNTED[code]
            stack.append(_FROM_BYTES[kind](run(take(form))))
        elif code in _NUMBERS:
            stack.append(take(_NUMBERS[code]))
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _STORES:
            memo[take(_STORES[code])] = stack[-1]
        elif code == 0x94:  # MEMOIZE
            memo[len(memo)] = stack[-1]
        elif code in _FETCHES:
            stack.append(memo[take(_FETCHES[code])])
        elif code in _TUPLES:
            start = len(stack) - _TUPLES[code]
            if start < 0:
                raise IndexError
            stack[start:] = [tuple(stack[start:])]
        elif code == 0x74:  # TUPLE
            stack.append(tuple(marked()))
        elif code == 0x7D:  # EMPTY_DICT
            stack.append({})
        elif code == 0x5D:  # EMPTY_LIST
            stack.append([])
        elif code == 0x28:  # MARK
            stack.append(_Mark())
        elif code == 0x61:  # APPEND
            value = stack.pop()
            _extend(stack[-1], [value])
        elif code == 0x65:  # APPENDS
            values = marked()
            _extend(stack[-1], values)
        elif code == 0x73:  # SETITEM
            values = [stack.pop(-2), stack.pop()]
            _fill(stack[-1], values)
        elif code == 0x75:  # SETITEMS
            values = marked()
            _fill(stack[-1], values)
        elif code == 0x63:  # GLOBAL
            stack.append(_global(line(), line()))
        elif code == 0x93:  # STACK_GLOBAL
            name, module = stack.pop(), stack.pop()
            stack.append(_global(module, name))
        elif code == 0x52:  # REDUCE
            arguments, called = stack.pop(), stack.pop()
            if not isinstance(called, _Global):
                raise ValueError("it calls something that has no name")
            if called.name in _BYTES:
                made = _bytes(arguments)
                room -= len(made)
                if room < 0:
                    raise ValueError("it makes more bytes than it holds")
                stack.append(made)
            else:
                stack.append(Call(called.name, arguments))
        elif code == 0x62:  # BUILD
            state, built = stack.pop(), stack[-1]
            if not isinstance(built, Call):
                raise ValueError("it gives a state to something that has none")
            built.state = state
        elif code == 0x80:  # PROTO
            run(1)
        elif code == 0x95:  # FRAME
            run(8)
        else:
            raise ValueError(f"it asks for the operation {code:#04x}, which no batch needs")
    raise ValueError("it has more steps than any batch needs")


def _global(module: object, name: object) -> _Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("it names something by no text")  # To write out anything nested can take for ever.
    if f"{module}.{name}" not in _GLOBALS | _BYTES:
        raise ValueError(f"it names {f'{module}.{name}'[:80]!r}, which is no part of an array")
    return _Global(f"{module}.{name}")


def _bytes(arguments: object) -> bytes:
    match arguments:
        case ():
            return b""
        case (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
    raise ValueError("it makes bytes of something else than their text")


def _extend(values: object, more: list[object]) -> None:
    if not isinstance(values, list):
        raise ValueError("it appends to something that is no list")
    values += more


def _fill(table: object, pairs: list[object]) -> None:
    """Set keys and values that alternate; keys are texts, since hashing anything nested can take for ever."""
    if not isinstance(table, dict) or len(pairs) % 2:
        raise ValueError("it sets keys of something that is no dict")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | bytes):
            raise ValueError("it has keys that are no texts")
        table[key] = value
