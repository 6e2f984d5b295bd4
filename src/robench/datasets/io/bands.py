"""Images of other bands than RGB, or of more than 8 bits: TIFF by tifffile, .npy, and the modes of Pillow that hold them."""

from __future__ import annotations

import logging
import math
import zlib
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image

from robench.errors import DatasetError
from robench.suites.geometry import PixelFormat

__all__ = ["is_array", "is_tiff", "npy_image", "planes_of", "read_array"]

for _library in ("PIL", "tifffile"):
    # They also log what is wrong with a file, and Python prints that if no handler takes it.
    logging.getLogger(_library).addHandler(logging.NullHandler())

_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_VALUES = 2**29
"""Most values of an image, as many as Pillow decodes at most as RGB."""
_PAGES = 2**12
"""Most pages of a TIFF file; a page is usually a band."""
_BANDS = 2**10
_DEFLATE = (8, 32946)
_COMPRESSIONS = (1, 32773, *_DEFLATE)
"""TIFF's numbers of no compression, PackBits and Deflate, which tifffile reads itself."""


def is_tiff(encoded: bytes) -> bool:
    """Return whether an encoded image is a TIFF file."""
    return encoded.startswith(_TIFF)


def is_array(encoded: bytes, pixels: PixelFormat) -> bool:
    """Return whether an encoded image is read as an array of numbers, because Pillow lacks its bands or its values."""
    return encoded.startswith(_NPY) or (
        is_tiff(encoded) and (pixels.data_range is not None or pixels.bands not in (1, 3))
    )


def npy_image(row: NDArray[Any]) -> bytes:
    """Encode an image as a .npy file; the bytes are the same on every machine."""
    header = BytesIO()
    descr = npy_format.dtype_to_descr(row.dtype)
    npy_format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": row.shape})
    return header.getvalue() + row.tobytes()


def read_array(encoded: bytes) -> NDArray[Any]:
    """Return the numbers of a .npy or TIFF file, (h, w) or with an axis of bands first or last.

    Raises:
        DatasetError: The file is damaged, holds something else than one image, or needs tifffile.
    """
    try:
        array = _npy(encoded) if encoded.startswith(_NPY) else _tiff(encoded)
    except DatasetError:
        raise
    except Exception as error:  # Neither library promises a base class of its errors for damaged files.
        raise DatasetError("it is damaged, or no image of plain numbers") from error
    array = array.reshape([side for side in array.shape if side != 1] if array.ndim > 3 else array.shape)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "buif":
        raise DatasetError(f"it holds {array.dtype} of shape {array.shape}, which is no image")
    return array


def _npy(encoded: bytes) -> NDArray[Any]:
    file = BytesIO(encoded)
    version = npy_format.read_magic(file)
    read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
    shape, is_fortran, dtype = read_header(file)
    _check_size(shape)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(encoded) - file.tell():
        raise DatasetError("it does not have the length that its header claims")
    return np.frombuffer(encoded, dtype, offset=file.tell()).reshape(shape, order="F" if is_fortran else "C")


def _tiff(encoded: bytes) -> NDArray[Any]:
    if find_spec("tifffile") is None:
        raise DatasetError("it needs tifffile: pip install 'robench[bands]'")
    import tifffile

    # Only the pages of this file count: OME and similar metadata can name other files.
    kinds: Any = dict.fromkeys(("is_ome", "is_mmstack", "is_ndtiff", "is_imagej", "is_lsm", "is_scanimage"), False)
    with tifffile.TiffFile(BytesIO(encoded), _multifile=False, **kinds) as file:
        pages = file.pages
        for number, page in enumerate(pages):
            if number >= _PAGES:
                raise DatasetError(f"it has more than {_PAGES} pages")
            _check_page(page, encoded)
        series = file.series[0]
        _check_size(series.shape)
        return np.asarray(series.asarray(maxworkers=1))


def _check_page(page: Any, encoded: bytes) -> None:
    """Refuse a page whose content is larger than it claims: a few bytes can hold gigabytes."""
    _check_size(page.shape)
    if int(page.compression) not in _COMPRESSIONS:
        raise DatasetError(
            f"its TIFF compression is number {int(page.compression)}; save it uncompressed or with Deflate"
        )
    if int(page.compression) not in _DEFLATE:
        return
    limit = math.prod(page.shape) * page.dtype.itemsize
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        decoder = zlib.decompressobj()
        decoder.decompress(encoded[offset : offset + size], limit + 1)
        if decoder.unconsumed_tail:
            raise DatasetError("its compressed content is larger than its header claims")


def _check_size(shape: tuple[int, ...]) -> None:
    if not all(side > 0 for side in shape) or math.prod(shape) > _VALUES:
        raise DatasetError(f"it claims the shape {shape}, which is no image, or one of more than {_VALUES} values")


def planes_of(image: NDArray[Any] | Image.Image, pixels: PixelFormat) -> tuple[NDArray[np.uint8], bool]:
    """Return the bands of an image as 8-bit planes.

    Args:
        image: Numbers of `read_array`, or an image that Pillow has opened.
        pixels: The bands and the range of values that the network takes.

    Returns:
        (bands, h, w), and whether colours became grey.

    Raises:
        DatasetError: The image has other bands, or values that 8 bits do not hold without a range.
    """
    if isinstance(image, Image.Image):
        image = _array_of(image, pixels)
    planes = _to_bytes(_bands_first(image, pixels.bands), pixels)
    if len(planes) == pixels.bands:
        return planes, False
    if len(planes) == 1 and pixels.bands == 3:
        return planes.repeat(3, axis=0), False
    if len(planes) == 3 and pixels.bands == 1:
        grey = Image.merge("RGB", [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]).convert("L")
        return np.asarray(grey)[None], True
    raise DatasetError(f"it has {len(planes)} bands, but the model takes {pixels.bands}")


def _array_of(image: Image.Image, pixels: PixelFormat) -> NDArray[Any]:
    is_deep = any("16" in str(part) for part in getattr(image, "tile", ()))  # Known until the image is loaded.
    if pixels.data_range is not None and is_deep and image.mode in ("RGB", "RGBA"):
        raise DatasetError("Pillow reads only 8 of the 16 bits of its colours; save it as TIFF or .npy")
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F", "L", "RGB"):
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode in ("1", "LA", "La") else "RGB"))


def _bands_first(array: NDArray[Any], bands: int) -> NDArray[Any]:
    """Return (bands, h, w); the axis with the wanted length is that of the bands, else the shorter one of first and last."""
    if array.ndim == 2:
        return array[None]
    first, last = array.shape[0], array.shape[2]
    is_last = last == bands if (first == bands) != (last == bands) else last <= first
    array = array.transpose(2, 0, 1) if is_last else array
    if len(array) > _BANDS:
        raise DatasetError(f"it has the shape {array.shape}, but the model takes {bands} bands")
    return array


def _to_bytes(planes: NDArray[Any], pixels: PixelFormat) -> NDArray[np.uint8]:
    if planes.dtype == np.uint8 and pixels.data_range is None:
        return np.ascontiguousarray(planes)
    if planes.dtype.kind == "b":
        return np.where(planes, np.uint8(255), np.uint8(0))
    low, high = float(planes.min()), float(planes.max())
    if not math.isfinite(low + high):
        raise DatasetError("it has values that are not finite")
    if pixels.data_range is not None:
        start, end = pixels.data_range
        levels = (planes.astype(np.float64) - start) / (end - start) * 255
        return np.floor(levels.clip(0, 255) + 0.5).astype(np.uint8)
    if planes.dtype.kind == "f" or low < 0 or high > 255:
        raise DatasetError(f"its values are {low:g} to {high:g}, not 0 to 255; give --data-range LOW,HIGH")
    return planes.astype(np.uint8)
