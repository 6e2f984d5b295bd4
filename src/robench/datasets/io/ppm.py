"""The portable pixmap format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pixmap"]


def pixmap(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w, 3) uint8 RGB as PPM, without loss; the bytes are the same on every machine."""
    height, width = pixels.shape[:2]
    return b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
