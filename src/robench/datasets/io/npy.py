"""NumPy's array files."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from robench.datasets.io.bounded import REDOWNLOAD, open_regular, os_error, read_part
from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["ArrayFile", "open_array", "read_labels", "read_names"]

_HEADER_BYTES = 2**12
_LABEL_BYTES = 2**28


@dataclass(frozen=True)
class ArrayFile:
    """An array of plain numbers in C order with the length that its header claims.

    Attributes:
        path: The file.
        shape: Shape of the array.
        dtype: Type of the values.
        offset: Position of the first value, in bytes.
        content: Content that `offset` refers to; None if it is the file's.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    content: bytes | None = field(default=None, repr=False)

    def row(self, index: int) -> NDArray[Any]:
        """Read one row of the array, of `shape[1:]`; raise OSError if the file is cut off meanwhile."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        return np.frombuffer(self._read(index * size, size), self.dtype).reshape(self.shape[1:])

    def read(self, limit: int) -> NDArray[Any]:
        """Read the whole array.

        Raises:
            DatasetError: It has more than `limit` bytes, or the file is not readable.
        """
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > limit:
            raise DatasetError(
                f"{self.path} has an array of {size} bytes, more than the limit of {limit}",
                "give one label for each image",
            )
        try:
            return np.frombuffer(self._read(0, size), self.dtype).reshape(self.shape)
        except OSError as error:
            raise os_error(self.path, error) from error

    def _read(self, start: int, size: int) -> bytes:
        start += self.offset
        return read_part(self.path, start, size) if self.content is None else self.content[start : start + size]


def open_array(path: Path, offset: int = 0, size: int | None = None, content: bytes | None = None) -> ArrayFile:
    """Read the header of an array.

    Args:
        path: The file.
        offset: Position of the header in the file, in bytes.
        size: Number of bytes of the header and the array; None for the whole file.
        content: Header and array, if they are not in the file as such.

    Raises:
        DatasetError: The array is not in C order, does not hold plain numbers, or has another length than claimed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote.
            if content is None:
                with open_regular(path) as (file, file_size):
                    file.seek(offset)
                    # numpy reads a header of up to 4 GB before it checks the length.
                    start = BytesIO(file.read(_HEADER_BYTES))
            else:
                start, file_size = BytesIO(content[:_HEADER_BYTES]), len(content)
            version = npy_format.read_magic(start)
            read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
            shape, is_fortran, dtype = read_header(start)
    except OSError as error:
        raise os_error(path, error) from error
    except Exception as error:  # numpy parses a header as a Python literal, and promises no base class of its errors.
        raise DatasetError(f"{path} is not a NumPy array of plain numbers", REDOWNLOAD) from error
    if dtype.hasobject:
        raise DatasetError(f"{path} holds Python objects, which could run code", "save plain numbers")
    if is_fortran and len(shape) > 1:
        raise DatasetError(f"{path} is stored column by column", "save it again with numpy.ascontiguousarray")
    expected = file_size if size is None else size
    if min(shape, default=0) < 0 or start.tell() + math.prod(shape) * dtype.itemsize != expected:
        raise DatasetError(f"{path} does not have the length that its header claims", REDOWNLOAD)
    return ArrayFile(path, shape, dtype, offset + start.tell(), content)


def read_labels(array: ArrayFile, source: str) -> tuple[Ints, int | None]:
    """Read labels: whole numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, k).

    Args:
        array: The array.
        source: Description of the array, for errors.

    Returns:
        (n,) int64 labels; values of 2**63 and above become negative. And k; None for whole numbers.

    Raises:
        DatasetError: The array holds anything else.
    """
    shape, kind = array.shape, array.dtype.kind
    if kind in "iu" and all(shape) and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        return array.read(_LABEL_BYTES).reshape(-1).astype(np.int64), None
    if kind in "iufb" and len(shape) == 2 and all(shape) and shape[1] > 1:
        rows = array.read(_LABEL_BYTES)
        if np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all():
            return rows.argmax(axis=1).astype(np.int64), shape[1]
    raise DatasetError(
        f"{source} holds {array.dtype} of shape {shape}, but labels are whole numbers of shape (n,) or (n, 1), "
        "or one-hot rows",
        "convert them by astype(int) before saving",
    )


def read_names(array: ArrayFile, source: str) -> list[str] | None:
    """Read texts of shape (n,) or (n, 1); None for an array of another type.

    Args:
        array: The array.
        source: Description of the array, for errors.

    Raises:
        DatasetError: A text is damaged.
    """
    if array.dtype.kind != "U" or array.shape[1:] not in ((), (1,)):
        return None
    try:
        return [str(name) for name in array.read(_LABEL_BYTES).reshape(-1).tolist()]
    except (ValueError, SystemError) as error:  # A number that is no character.
        raise DatasetError(f"{source} holds damaged texts", REDOWNLOAD) from error
