"""Images in one NumPy array, with the labels in another: how CIFAR-10.1 and the like are published."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from robench.data.bounded import IMAGES, file_size, read_listing, read_part
from robench.data.image_set import ImageSet
from robench.data.labels import numbered
from robench.data.pixmap import pixmap
from robench.data.reader import Reader
from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["ARRAYS"]

_HEADER_BYTES = 2**16
_FIELDS = (
    r"'descr'\s*:\s*'([^']{1,10})'",
    r"'fortran_order'\s*:\s*(True|False)\b",
    r"'shape'\s*:\s*\(([\dL\s,]{0,200})\)",
)
"""Type, order and shape in the header of an .npy file; whole numbers of Python 2 end in L."""
_LABEL_BYTES = 2**28


def _matches(path: Path) -> bool:
    return path.suffix.lower() == ".npy" and path.is_file()


def _read(path: Path) -> ImageSet:
    shape, kind, offset = _header(path)
    size = math.prod(shape)
    if kind.lstrip("|<>=") != "u1" or len(shape) != 4 or shape[3] != 3 or size == 0:
        raise DatasetError(
            f"{path} holds {kind} of shape {shape}: give an array of images, uint8 of shape (n, height, width, 3)"
        )
    if offset + size != file_size(path):
        raise DatasetError(f"{path} has not the length that its header says: copy or download it again")
    count, height, width, _ = shape
    if count > IMAGES:
        raise DatasetError(f"{path} holds {count} images: more than {IMAGES} are not read")
    beside = _labels_beside(path)
    labels = _labels(beside)
    if len(labels) != count:
        raise DatasetError(
            f"{path} has {count} images, and {beside} has {len(labels)} labels: they must be equally many"
        )
    found, classes = numbered(labels, lambda position: f"{beside}, row {position}")
    digits = len(str(count - 1))

    def read(position: int) -> bytes:
        data = read_part(path, offset + position * height * width * 3, height * width * 3)
        return pixmap(np.frombuffer(data, np.uint8).reshape(height, width, 3))

    return ImageSet(
        name=path.stem,
        paths=tuple(f"{path.stem}/{row:0{digits}d}.ppm" for row in range(count)),
        labels=found,
        classes=classes,
        read=read,
        notes=(f"labels from {beside.name}",),
    )


def _labels_beside(path: Path) -> Path:
    """The file of labels that belongs to a file of images."""
    named = [path.stem.replace(word, "labels") for word in ("images", "data") if word in path.stem]
    files = [path.with_name(f"{stem}.npy") for stem in (*named, "labels")]
    found = next((file for file in files if file.is_file() and file != path), None)
    if found is None:
        raise DatasetError(f"{path} has no labels beside it: put them into {files[0]}, one whole number an image")
    return found


def _labels(path: Path) -> Ints:
    shape, kind, offset = _header(path)
    if not re.fullmatch(r"[<>|=]?[iu][1248]", kind, re.ASCII) or len(shape) != 1 or shape[0] == 0:
        raise DatasetError(f"{path} holds {kind} of shape {shape}: labels are whole numbers of shape (n,)")
    dtype = np.dtype(kind)
    content = read_listing(path, _LABEL_BYTES)
    if offset + shape[0] * dtype.itemsize != len(content):
        raise DatasetError(f"{path} has not the length that its header says: copy or download it again")
    labels = np.frombuffer(content, dtype, offset=offset)
    # What does not fit into 64 bits with a sign becomes negative, and is refused as such.
    return labels.astype(np.int64)


def _header(path: Path) -> tuple[tuple[int, ...], str, int]:
    """Shape, type (as `<i8`) and place of the data of an .npy file in C order.

    NumPy's own reader evaluates the header as a Python literal, and warns of those that Python 2 wrote.
    """
    try:
        start = read_part(path, 0, min(file_size(path), _HEADER_BYTES))
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
    return shape, kind, offset


ARRAYS = Reader(
    "arrays",
    "a .npy file of images, (n, height, width, 3) uint8, with labels.npy or …labels….npy beside it",
    _matches,
    _read,
)
