"""Image formats that robench reads."""

from __future__ import annotations

import re
from functools import lru_cache

from PIL import Image

from robench.errors import DatasetError

__all__ = ["check_scans", "image_formats"]

# EPS starts Ghostscript, which runs the image as a program; an IPTC file holds an image of any format, including EPS.
# Pillow only recognises WMF, BUFR, GRIB, HDF5 and MPEG. Common formats come first because Pillow tries each in turn.
_FORMATS = (
    "JPEG PNG BMP GIF PPM WEBP TIFF AVIF BLP DIB CUR PCX DCX DDS FITS FLI FTEX GBR JPEG2000 ICNS ICO IM IMT MCIDAS MSP PCD "
    "PIXAR PSD QOI SGI SPIDER SUN TGA XBM XPM XVTHUMB"
)

_SCANS = 200
"""Most scans of a JPEG. Encoders write about ten; each takes a few bytes and a pass over the whole image."""

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""The code of a JPEG marker; within a scan, 0 and 0xD0 to 0xD7 after 0xFF do not start a segment."""


@lru_cache(maxsize=1)
def image_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that Pillow decodes itself, for `Image.open`."""
    Image.init()
    return tuple(name for name in _FORMATS.split() if name in Image.OPEN)


def check_scans(encoded: bytes) -> None:
    """Raise DatasetError for a JPEG whose many scans would take minutes to decode."""
    # The quick count comes first; metadata and trailing bytes may contain the marker too.
    if encoded.startswith(b"\xff\xd8") and encoded.count(b"\xff\xda") > _SCANS and _count_scans(encoded) > _SCANS:
        raise DatasetError(f"it is a JPEG of more than {_SCANS} scans, which would take minutes to decode")


def _count_scans(encoded: bytes) -> int:
    """Count the scans of a JPEG before its end marker."""
    count, position = 0, 2
    while (match := _MARKER.search(encoded, position)) is not None:
        position = match.end()
        code = match[1][0]
        if code == 0xD9:  # end of the image
            break
        count += code == 0xDA
        if code not in (0x01, 0xD8):  # All other segments have a length, which includes its own two bytes.
            position += max(2, int.from_bytes(encoded[position : position + 2], "big"))
    return count
