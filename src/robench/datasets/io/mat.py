"""Arrays of structs in MATLAB files (version 5), read without allocating what the file claims.

scipy allocates an array of objects from the dimensions in the file before it reads any.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robench.datasets.io.bounded import REDOWNLOAD, read_limited
from robench.errors import DatasetError

__all__ = ["read_structs"]

_FILE_BYTES = 2**24
_UNPACKED_BYTES = 2**26
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
"""Types of elements."""
_STRUCT, _TEXT = 2, 4
"""Classes of matrices; numbers have the classes 6 to 15."""
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}

Value = str | float | None


def read_structs(path: Path, variable: str) -> list[dict[str, Value]]:
    """Read an array of structs: texts and single numbers by field; other values are None.

    Raises:
        DatasetError: The file is damaged, or has no such variable.
    """
    content = read_limited(path, _FILE_BYTES)
    try:
        if content[126:128] != b"IM":
            raise ValueError("it is not a little-endian file of version 5")
        for kind, data in _elements(content[_HEADER_BYTES:]):
            for parts in [_parts(data)] if kind == _MATRIX else _unpacked(data) if kind == _COMPRESSED else []:
                if _class(parts) == _STRUCT and parts[2][1].decode("latin-1") == variable:
                    return _structs(parts)
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read as a MATLAB file ({error})", REDOWNLOAD) from error
    raise DatasetError(f"{path} has no array of structs {variable!r}", REDOWNLOAD)


Parts = list[tuple[int, bytes]]
"""Type and content of each element of a matrix: flags, dimensions, name, then values."""


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each element."""
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, position)
        start = position + 8
        if kind >> 16:  # An element of at most 4 bytes lies within its tag.
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        if start + size > len(data):
            raise ValueError("it is cut off")
        yield kind, data[start : start + size]
        position = start + size if kind == _COMPRESSED else start + size + -(start + size) % 8


def _parts(data: bytes) -> Parts:
    return list(_elements(data))


def _unpacked(data: bytes) -> list[Parts]:
    unpacked = zlib.decompressobj().decompress(data, _UNPACKED_BYTES)
    return [_parts(content) for kind, content in _elements(unpacked) if kind == _MATRIX]


def _class(parts: Parts) -> int:
    return parts[0][1][0]


def _structs(parts: Parts) -> list[dict[str, Value]]:
    (length,) = struct.unpack("<i", parts[3][1])
    names = parts[4][1]
    if length < 1:
        raise ValueError("a field has no name")
    fields = [names[start : start + length].split(b"\0")[0].decode("latin-1") for start in range(0, len(names), length)]
    values = [_value(_parts(data)) for kind, data in parts[5:] if kind == _MATRIX]
    if not fields or len(values) % len(fields):
        raise ValueError("it is cut off")
    return [
        dict(zip(fields, values[start : start + len(fields)], strict=True))
        for start in range(0, len(values), len(fields))
    ]


def _value(parts: Parts) -> Value:
    if len(parts) < 4:
        return None
    kind, data = parts[3]
    if _class(parts) == _TEXT and kind in _ENCODINGS:
        return data.decode(_ENCODINGS[kind])
    if _class(parts) > _TEXT and kind in _NUMBERS:
        numbers = np.frombuffer(data, _NUMBERS[kind])
        return float(numbers[0]) if len(numbers) == 1 else None
    return None
