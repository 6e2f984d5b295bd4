"""NumPy's array files."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from robench.datasets.io.bounded import REDOWNLOAD, open_regular, os_error, read_limited, read_part
from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["ArrayFile", "open_array", "read_integers"]

_HEADER_BYTES = 2**12
_LABEL_BYTES = 2**28


@dataclass(frozen=True)
class ArrayFile:
    """An .npy file in C order with the length that its header claims.

    Attributes:
        path: The file.
        shape: Shape of the array.
        dtype: Type of the values.
        offset: Position of the first value in the file, in bytes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def row(self, index: int) -> NDArray[np.uint8]:
        """Read one row of a uint8 array, of `shape[1:]`; raise OSError if the file is cut off meanwhile."""
        size = math.prod(self.shape[1:])
        data = read_part(self.path, self.offset + index * size, size)
        return np.frombuffer(data, np.uint8).reshape(self.shape[1:])


def open_array(path: Path) -> ArrayFile:
    """Read the header of an .npy file.

    Raises:
        DatasetError: The array is not in C order, does not hold plain numbers, or has another length than claimed.
    """
    try:
        with open_regular(path) as (file, size), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote.
            start = BytesIO(file.read(_HEADER_BYTES))  # numpy reads a header of up to 4 GB before it checks the length.
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
    if min(shape, default=0) < 0 or start.tell() + math.prod(shape) * dtype.itemsize != size:
        raise DatasetError(f"{path} does not have the length that its header claims", REDOWNLOAD)
    return ArrayFile(path, shape, dtype, start.tell())


def read_integers(path: Path) -> Ints:
    """Read a file of whole numbers, (n,) int64; values of 2**63 and above become negative.

    Raises:
        DatasetError: The file holds anything else.
    """
    array = open_array(path)
    if array.dtype.kind not in "iu" or len(array.shape) != 1 or not array.shape[0]:
        raise DatasetError(
            f"{path} holds {array.dtype} of shape {array.shape}, but labels are whole numbers of shape (n,)"
        )
    values = np.frombuffer(read_limited(path, _LABEL_BYTES), array.dtype, count=array.shape[0], offset=array.offset)
    return values.astype(np.int64)
