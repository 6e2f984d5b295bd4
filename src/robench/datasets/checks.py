"""Plausibility checks of a dataset."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image

from robench.datasets.cache.decode import DECODE_ERRORS
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.image_formats import image_formats
from robench.suites.geometry import Geometry, height_width, size_text
from robench.types import Ints

__all__ = ["are_small", "common_small_side", "double_resize_note"]

_CHECKED = 16
"""Most images that are checked."""
_SMALL = 96
"""Largest side in pixels at which datasets store all images at the input size of their models, that of STL-10."""


def common_small_side(images: ImageDataset) -> int | None:
    """Return the side in pixels if all images are squares of one small size, else None; evenly spread ones are checked."""
    sizes = _sizes(images, np.arange(len(images)), 8 * _CHECKED)
    width, height = sizes.pop() if len(sizes) == 1 else (0, 0)
    return width if 0 < width == height <= _SMALL else None


def are_small(images: ImageDataset) -> bool:
    """Return whether no image is larger than the inputs of small models; evenly spread ones are checked."""
    sizes = _sizes(images, np.arange(len(images)), 8 * _CHECKED)
    return bool(sizes) and max(map(max, sizes)) <= _SMALL


def double_resize_note(images: ImageDataset, positions: Ints, geometry: Geometry) -> str | None:
    """Return a note if the images already have the size of the crop, so that resizing enlarges them first.

    Args:
        images: The dataset.
        positions: Positions of the samples; a few evenly spread ones are checked.
        geometry: Resize and crop to apply.
    """
    crop, resize = geometry.crop, geometry.resize
    if crop is None or resize is None or height_width(resize) == height_width(crop):
        return None
    height, width = height_width(crop)
    if _sizes(images, positions, _CHECKED) != {(width, height)}:
        return None
    own = size_text(crop)
    return (
        f"the images of {images.name} already have {height}x{width} px; they are enlarged to {size_text(resize)} and cropped to "
        f"{own} again, which costs accuracy: "
        f"give released -C and -P files by --released DIR, other cropped images with --geometry model --resize {own}"
    )


def _sizes(images: ImageDataset, positions: Ints, count: int) -> set[tuple[int, int]]:
    """Return the widths and heights of at most `count` evenly spread images; a run reports unreadable ones."""
    count, sizes = min(count, len(positions)), set()
    for position in positions[np.arange(count) * len(positions) // max(count, 1)].tolist():
        with suppress(*DECODE_ERRORS), Image.open(BytesIO(images.read(position)), formats=image_formats()) as image:
            sizes.add(image.size)
    return sizes
