"""The portable pixmap format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pixmap"]


def pixmap(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (h, w, 3) RGB or (h, w) grey, uint8, without loss; the bytes are the same on every machine."""
    height, width = pixels.shape[:2]
    return b"P%d %d %d 255\n" % (6 if pixels.ndim == 3 else 5, width, height) + pixels.tobytes()
