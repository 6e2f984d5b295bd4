"""Pictures of different sizes in one batch, and what is cut out of their middle: moved, turned, sheared, scaled, tilted.

Every function returns the centred crop of the warped pictures, and computes no pixel beside it. Sampling is Pillow's
(`Image.transform`): a pixel whose source lies outside is black, neighbours beyond the edge are clamped to it, values are
truncated; tilting is OpenCV's, which blends the black in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from robench.transforms.device import to_device
from robench.types import Images

__all__ = ["Matrix", "PaddedBatch", "affine", "crop", "inverse_affine", "inverse_tilt", "perspective", "translate"]

Matrix: TypeAlias = tuple[float, ...]
"""Row by row: 6 values of an affine map, 9 of a projective one."""


@dataclass(frozen=True)
class PaddedBatch:
    """A batch of pictures, each in the top left of its row.

    pixels: (b, 3, H, W) uint8, H and W the largest height and width.  sizes: (height, width) of each.
    """

    pixels: Images
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, images: Images) -> PaddedBatch:
        """Take images that are all of one size."""
        return cls(images, ((images.shape[2], images.shape[3]),) * len(images))

    def as_tensor(self, values: Sequence[Sequence[float]] | Sequence[float]) -> Tensor:
        """(b, ...) float64 on the device of the pixels, for arithmetic with (b, rows, columns)."""
        return to_device(torch.tensor(values, dtype=torch.float64), self.pixels.device)

    def gather(self, y: Tensor, x: Tensor) -> Tensor:
        """(b, 3, rows, columns) float64 at the whole places y, x (b, rows, columns) int64 of each picture."""
        place = (y * self.pixels.shape[3] + x).flatten(1)[:, None].expand(-1, 3, -1)
        return self.pixels.flatten(2).gather(2, place).double().reshape(len(y), 3, *y.shape[1:])

    def grid(self, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows (b, side, 1) and columns (b, 1, side) of the centred crop, and heights and widths (b, 1, 1), all float64."""
        height, width = (self.as_tensor([size[axis] for size in self.sizes])[:, None, None] for axis in (0, 1))
        top, left = (
            self.as_tensor([round((size[axis] - side) / 2) for size in self.sizes])[:, None, None] for axis in (0, 1)
        )
        steps = torch.arange(side, dtype=torch.float64, device=self.pixels.device)
        return top + steps[None, :, None], left + steps[None, None, :], height, width


def crop(pictures: PaddedBatch, side: int) -> Images:
    """(b, 3, side, side): the middles of the pictures as they are."""
    return translate(pictures, side, 0)


def translate(pictures: PaddedBatch, side: int, right: int) -> Images:
    """Move the pictures to the right by whole pixels; what they leave behind is black."""
    y, x, height, width = pictures.grid(side)
    x = x - right
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = pictures.gather(*(_clamped(one, most).expand(-1, side, side) for one, most in ((y, height), (x, width))))
    return torch.where(inside[:, None], values, 0).to(torch.uint8)


def affine(pictures: PaddedBatch, side: int, matrices: Sequence[Matrix]) -> Images:
    """Sample each picture, bilinear, where its matrix (a, b, c, d, e, f) takes the places of the result.

    The middle of pixel (x, y) is x + 0.5, y + 0.5, and comes from (a x + b y + c, d x + e y + f) of the picture.
    """
    y, x, height, width = pictures.grid(side)
    a, b, c, d, e, f = pictures.as_tensor(matrices)[:, :, None, None].unbind(1)
    across = a * (x + 0.5) + b * (y + 0.5) + c
    down = d * (x + 0.5) + e * (y + 0.5) + f
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    across, down = across - 0.5, down - 0.5
    left, top = across.floor(), down.floor()
    dx, dy = (across - left)[:, None], (down - top)[:, None]
    columns = [_clamped(left + step, width) for step in (0, 1)]
    rows = [_clamped(top + step, height) for step in (0, 1)]
    lines = []
    for row in rows:
        first, second = (pictures.gather(row, column) for column in columns)
        lines.append(first + (second - first) * dx)
    values = lines[0] + (lines[1] - lines[0]) * dy
    return torch.where(inside[:, None], values, 0).to(torch.uint8)


def inverse_affine(
    size: tuple[int, int], *, angle: float = 0, scale: float = 1, shear: float = 0
) -> tuple[float, float, float, float, float, float]:
    """Map of the result's places to a picture's that is turned clockwise, sheared (degrees) and scaled about its middle.

    Source: torchvision.transforms.functional.affine on PIL images.
    """
    x, y = size[1] * 0.5, size[0] * 0.5
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    cosine, sine = math.cos(turn), math.sin(turn)
    a, b = (-sine * lean + cosine) / scale, (cosine * lean + sine) / scale
    d, e = -sine / scale, cosine / scale
    return a, b, a * -x + b * -y + x, d, e, d * -x + e * -y + y


def inverse_tilt(size: tuple[int, int], degrees: float) -> Matrix:
    """Map of the result's places to a picture's that is tilted about both axes, seen from as far as its diagonal is long."""
    height, width = size
    focal = math.sqrt(width**2 + height**2)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    columns = []
    # Where the two axes and the origin of the picture's plane go.
    for x, y, near in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-width / 2, -height / 2, 1.0)):
        x, z = cosine * x - sine * near, sine * x + cosine * near
        y, z = cosine * y - sine * z, sine * y + cosine * z
        z = z + focal * near
        columns.append((focal * x + width / 2 * z, focal * y + height / 2 * z, z))
    matrix = np.array(columns).T
    return tuple(float(value) for value in np.linalg.inv(matrix).flat)


def perspective(pictures: PaddedBatch, side: int, matrices: Sequence[Matrix]) -> Tensor:
    """(b, 3, side, side) float64 grey levels of each picture, bilinear, where its matrix takes the places of the result.

    Source: OpenCV, warpPerspective: the black beyond an edge is blended in.
    """
    y, x, height, width = pictures.grid(side)
    m = pictures.as_tensor(matrices)[:, :, None, None].unbind(1)
    depth = m[6] * x + m[7] * y + m[8]
    across, down = ((m[k] * x + m[k + 1] * y + m[k + 2]) / depth for k in (0, 3))
    left, top = across.floor(), down.floor()
    dx, dy = across - left, down - top
    total = torch.zeros((), dtype=torch.float64, device=pictures.pixels.device)
    for row, weight_y in ((top, 1 - dy), (top + 1, dy)):
        for column, weight_x in ((left, 1 - dx), (left + 1, dx)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = torch.where(inside, weight_y * weight_x, 0)[:, None]
            total = total + pictures.gather(_clamped(row, height), _clamped(column, width)) * weight
    return total


def _clamped(place: Tensor, size: Tensor) -> Tensor:
    return torch.minimum(place.clamp(min=0), size - 1).long()
