"""Decoded images in memory or mapped from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.types import Ints

__all__ = ["Decoded", "ImageStack", "copy_padded"]


_LONG = 4
"""How many times the others' usual short side a picture may be long, to be taken with them."""


@dataclass(frozen=True)
class ImageStack:
    """Decoded images of one size, or each of its own, possibly memory-mapped.

    pixels: (n, 3, height, width) uint8; where `sizes` are given, all of them one after the other, (values,).
    sizes: (n, 2) height and width of each.
    """

    pixels: NDArray[np.uint8]
    sizes: Ints | None = None

    def groups(self, rows: Ints) -> list[Ints]:
        """Return the numbers of `rows`, in groups that are taken together: pictures much longer than the rest are alone.

        Every row of what `take` returns is as wide as the widest picture, so that one long one would multiply the memory.
        """
        if self.sizes is None:
            return [np.arange(len(rows))]
        sizes = self.sizes[rows]
        longest = sizes.max(axis=1)
        odd = longest > _LONG * np.median(sizes.min(axis=1))
        together = np.flatnonzero(~odd)
        return [*([together] if len(together) else []), *np.flatnonzero(odd)[:, None]]

    def take(self, rows: Ints) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
        """Return some images, (k, 3, H, W) uint8, each in the top left of its row, and the height and width of each."""
        if self.sizes is None:
            height, width = self.pixels.shape[2:]
            return np.ascontiguousarray(self.pixels[rows]), [(height, width)] * len(rows)
        taken = np.zeros((len(rows), 3, *self.sizes[rows].max(axis=0)), np.uint8)
        return taken, copy_padded(taken, self.pixels, self.sizes, rows)


def copy_padded(taken: Any, pixels: Any, sizes: Ints, rows: Ints) -> list[tuple[int, int]]:
    """Copy some of the images that lie one after the other in `pixels` each to the top left of a row of `taken`.

    Both are arrays or both tensors; sizes: of all images.  Returns height and width of those copied.
    """
    ends = 3 * sizes.prod(axis=1).cumsum()
    for target, row in zip(taken, rows.tolist(), strict=True):
        height, width = sizes[row].tolist()
        target[:, :height, :width] = pixels[ends[row] - 3 * height * width : ends[row]].reshape(3, height, width)
    return [(height, width) for height, width in sizes[rows].tolist()]


@dataclass(frozen=True)
class Decoded:
    """Decoded images: number k of `images` is the sample at position `positions[k]`.

    unreadable: reason by position in `positions`; such rows are black.
    """

    images: ImageStack
    unreadable: dict[int, str]
