"""The image formats that are read: those that Pillow decodes itself, and no others."""

from __future__ import annotations

import re
from functools import lru_cache

from PIL import Image

from robench.errors import DatasetError

__all__ = ["check_scans", "image_formats"]

# EPS starts Ghostscript, a program that the picture programs; an IPTC file holds a picture of any format, EPS too. WMF, BUFR,
# GRIB, HDF5 and MPEG are only recognised. The commonest come first, since each is tried in turn.
_FORMATS = (
    "JPEG PNG BMP GIF PPM WEBP TIFF AVIF BLP DIB CUR PCX DCX DDS FITS FLI FTEX GBR JPEG2000 ICNS ICO IM IMT MCIDAS MSP PCD "
    "PIXAR PSD QOI SGI SPIDER SUN TGA XBM XPM XVTHUMB"
)

_SCANS = 200
"""Encoders make about ten scans; each goes over the whole picture again, and takes only a few bytes of the file."""

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""The code of a JPEG's marker; within a scan, 0 and 0xD0 to 0xD7 after 0xFF are no new segment."""


@lru_cache(maxsize=1)
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats, for `Image.open`; without those that the installed Pillow does not have."""
    Image.init()
    return tuple(name for name in _FORMATS.split() if name in Image.OPEN)


def check_scans(encoded: bytes) -> None:
    """DatasetError for a JPEG with so many scans that decoding it would take minutes."""
    # Counted quickly first: metadata, and what follows the picture, may hold these two bytes as well.
    if encoded.startswith(b"\xff\xd8") and encoded.count(b"\xff\xda") > _SCANS and _scans(encoded) > _SCANS:
        raise DatasetError(f"it is a JPEG of more than {_SCANS} scans, which would take minutes to decode")


def _scans(encoded: bytes) -> int:
    """How many scans a JPEG has up to its end marker."""
    count, place = 0, 2
    while (found := _MARKER.search(encoded, place)) is not None:
        place = found.end()
        code = found[1][0]
        if code == 0xD9:  # the end of the picture
            break
        count += code == 0xDA
        if code not in (0x01, 0xD8):  # All others have a length, which counts itself.
            place += max(2, int.from_bytes(encoded[place : place + 2], "big"))
    return count
