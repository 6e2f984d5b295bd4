"""Whether the pictures of a dataset were made for the geometry that they are put through."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from robench.datasets.cache.decode import DECODE_ERRORS
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.image_formats import image_formats
from robench.suites.geometry import Geometry
from robench.types import Ints

__all__ = ["double_resize_note"]

_LOOKED_AT = 16


def double_resize_note(images: ImageDataset, positions: Ints, geometry: Geometry) -> str | None:
    """Say that the pictures are already of the size of the crop, if some evenly spread ones are, and would be enlarged first."""
    side, resize = geometry.crop, geometry.resize
    if side is None or resize is None or resize in (side, (side, side)):
        return None
    few = positions[np.arange(min(_LOOKED_AT, len(positions))) * len(positions) // min(_LOOKED_AT, len(positions))]
    sizes = set()
    for position in few.tolist():
        try:
            with Image.open(BytesIO(images.read(position)), formats=image_formats()) as image:
                sizes.add(image.size)
        except DECODE_ERRORS:
            continue  # The run itself says which images cannot be read.
    if sizes != {(side, side)}:
        return None
    whole = "x".join(map(str, resize)) if isinstance(resize, tuple) else resize
    return (
        f"the images of {images.name} are {side}x{side} px already, and are enlarged to {whole} and cut to {side} again, which "
        f"costs accuracy: give released -C and -P files by --released DIR, other cut images with --geometry model --resize {side}"
    )
