"""NumPy's array files, read by robench itself: nothing of a header is evaluated, no file is mapped, only rows are read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.datasets.io.bounded import file_size, read_limited, read_part
from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["ArrayFile", "open_array", "read_integers"]

_HEADER_BYTES = 2**16
_LABEL_BYTES = 2**28
_FIELDS = (
    r"'descr'\s*:\s*'([^']{1,10})'",
    r"'fortran_order'\s*:\s*(True|False)\b",
    r"'shape'\s*:\s*\(([\dL\s,]{0,200})\)",
)
"""Type, order and shape in the header of an .npy file; whole numbers of Python 2 end in L."""


@dataclass(frozen=True)
class ArrayFile:
    """An .npy file in C order whose length is that of its header.

    kind: type of the values, as `<i8`.  offset: where in the file they begin.
    """

    path: Path
    shape: tuple[int, ...]
    kind: str
    offset: int

    @property
    def is_bytes(self) -> bool:
        """Whether the values are uint8."""
        return self.kind.lstrip("|<>=") == "u1"

    def row(self, number: int) -> NDArray[np.uint8]:
        """Read one row of an array of bytes, of `shape[1:]`; OSError where the file is cut off meanwhile."""
        size = math.prod(self.shape[1:])
        data = read_part(self.path, self.offset + number * size, size)
        return np.frombuffer(data, np.uint8).reshape(self.shape[1:])


def open_array(path: Path) -> ArrayFile:
    """Read the header of an .npy file; DatasetError where it holds no plain numbers in C order, or not so many.

    NumPy's own reader evaluates the header as a Python literal, and warns of those that Python 2 wrote.
    """
    try:
        size = file_size(path)
        start = read_part(path, 0, min(size, _HEADER_BYTES))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    width = {b"\x01": 2, b"\x02": 4, b"\x03": 4}.get(start[6:7], 0)
    offset = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    text = start[8 + width : offset].decode("latin-1")
    found = [re.search(pattern, text, re.ASCII) for pattern in _FIELDS]
    kind, fortran, sides = (match[1] if match else "" for match in found)
    if not start.startswith(b"\x93NUMPY") or not 8 < offset <= len(start) or not all(found):
        raise DatasetError(f"{path} is no NumPy array of plain numbers: copy or download it again")
    if "O" in kind:
        raise DatasetError(f"{path} holds Python objects, which could run code, and was refused: save plain numbers")
    numbers = [side for side in re.split(r"[\s,]+", sides) if side]
    if not all(re.fullmatch(r"\d{1,18}L?", side, re.ASCII) for side in numbers):
        raise DatasetError(f"{path} has no shape of whole numbers: copy or download it again")
    shape = tuple(int(side.rstrip("L")) for side in numbers)
    if fortran == "True" and len(shape) > 1:
        raise DatasetError(f"{path} is stored column by column: save it again with numpy.ascontiguousarray")
    width_of_value = re.fullmatch(r"[<>|=]?[a-zA-Z](\d{1,3})", kind, re.ASCII)
    if width_of_value is None or offset + math.prod(shape) * int(width_of_value[1]) != size:
        raise DatasetError(f"{path} has not the length that its header says: copy or download it again")
    return ArrayFile(path, shape, kind, offset)


def read_integers(path: Path) -> Ints:
    """Read a whole file of whole numbers, (n,) int64; DatasetError for anything else.

    What does not fit into 64 bits with a sign becomes negative.
    """
    array = open_array(path)
    if not re.fullmatch(r"[<>|=]?[iu][1248]", array.kind, re.ASCII) or len(array.shape) != 1 or array.shape[0] == 0:
        raise DatasetError(f"{path} holds {array.kind} of shape {array.shape}: labels are whole numbers of shape (n,)")
    content = read_limited(path, _LABEL_BYTES)
    values: NDArray[Any] = np.frombuffer(content, np.dtype(array.kind), count=array.shape[0], offset=array.offset)
    return values.astype(np.int64)
