"""Plausibility checks of a dataset."""

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

_CHECKED = 16
"""Most images that are checked."""


def double_resize_note(images: ImageDataset, positions: Ints, geometry: Geometry) -> str | None:
    """Return a note if the images already have the size of the crop, so that resizing enlarges them first.

    Args:
        images: The dataset.
        positions: Positions of the samples; a few evenly spread ones are checked.
        geometry: Resize and crop to apply.
    """
    side, resize = geometry.crop, geometry.resize
    if side is None or resize is None or resize in (side, (side, side)):
        return None
    count = min(_CHECKED, len(positions))
    sizes = set()
    for position in positions[np.arange(count) * len(positions) // count].tolist():
        try:
            with Image.open(BytesIO(images.read(position)), formats=image_formats()) as image:
                sizes.add(image.size)
        except DECODE_ERRORS:
            continue  # The run reports unreadable images.
    if sizes != {(side, side)}:
        return None
    enlarged = "x".join(map(str, resize)) if isinstance(resize, tuple) else resize
    return (
        f"the images of {images.name} already have {side}x{side} px; they are enlarged to {enlarged} and cropped to {side} "
        "again, which costs accuracy: "
        f"give released -C and -P files by --released DIR, other cropped images with --geometry model --resize {side}"
    )
