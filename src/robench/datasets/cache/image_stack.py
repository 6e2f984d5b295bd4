"""Decoded images in memory or mapped from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.types import Ints

__all__ = ["Decoded", "ImageStack", "copy_padded"]

_LONG = 4
"""An image is long if its long side exceeds this multiple of the median short side."""


@dataclass(frozen=True)
class ImageStack:
    """Decoded images, possibly memory-mapped.

    Attributes:
        pixels: uint8, (n, bands, height, width); if `sizes` is given, all values of all images one after the other, (values,).
        sizes: (n, 2) height and width of each image; None if all images have one size.
        bands: Number of channels.
    """

    pixels: NDArray[np.uint8]
    sizes: Ints | None = None
    bands: int = 3

    def groups(self, rows: Ints) -> list[Ints]:
        """Group indices into `rows` for separate calls of `take`; each long image is alone.

        `take` pads all images to the size of the largest, so that one long image would multiply the memory.
        """
        if self.sizes is None:
            return [np.arange(len(rows))]
        sizes = self.sizes[rows]
        is_long = sizes.max(axis=1) > _LONG * np.median(sizes.min(axis=1))
        others = np.flatnonzero(~is_long)
        return [*([others] if len(others) else []), *np.flatnonzero(is_long)[:, None]]

    def take(self, rows: Ints) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
        """Return some images.

        Args:
            rows: (k,) rows of the stack.

        Returns:
            (k, bands, H, W) uint8 with each image at the top left, and height and width of each image.
        """
        if self.sizes is None:
            height, width = self.pixels.shape[2:]
            return np.ascontiguousarray(self.pixels[rows]), [(height, width)] * len(rows)
        padded = np.zeros((len(rows), self.bands, *self.sizes[rows].max(axis=0)), np.uint8)
        return padded, copy_padded(padded, self.pixels, self.sizes, rows)


def copy_padded(padded: Any, pixels: Any, sizes: Ints, rows: Ints) -> list[tuple[int, int]]:
    """Copy some images to the top left of the rows of `padded`.

    Args:
        padded: (k, bands, H, W) array or tensor to copy to.
        pixels: (values,) array or tensor of all images, one after the other.
        sizes: (n, 2) height and width of all images.
        rows: (k,) images to copy.

    Returns:
        Height and width of each copied image.
    """
    bands = padded.shape[1]
    ends = bands * sizes.prod(axis=1).cumsum()
    for target, row in zip(padded, rows.tolist(), strict=True):
        height, width = sizes[row].tolist()
        target[:, :height, :width] = pixels[ends[row] - bands * height * width : ends[row]].reshape(
            bands, height, width
        )
    return [(height, width) for height, width in sizes[rows].tolist()]


@dataclass(frozen=True)
class Decoded:
    """Decoded images of a dataset.

    Attributes:
        images: Images; row k is the sample at position `positions[k]` of the call.
        unreadable: Reason by position of each unreadable image, whose row is black.
        ignored: Number of images by ignored property, see `ignored_notes`.
    """

    images: ImageStack
    unreadable: dict[int, str]
    ignored: dict[str, int]
