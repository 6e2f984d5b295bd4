"""Warps of images of different sizes in one batch: translation, rotation, shear, scale, tilt.

Every function returns the centred crop of the warped images, and computes no pixel outside it. Sampling is that of
Pillow's `Image.transform`. Pixels whose source lies outside are black, neighbours beyond the edge are clamped to it, and
values are truncated. Tilting samples as OpenCV does, which blends the black in.
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
from robench.types import Images, Shape

__all__ = ["Matrix", "PaddedBatch", "affine", "crop", "inverse_affine", "inverse_tilt", "perspective", "translate"]

Matrix: TypeAlias = tuple[float, ...]
"""Rows of a matrix in turn: 6 values of an affine map, 9 of a projective one."""


@dataclass(frozen=True)
class PaddedBatch:
    """Images of different sizes, each at the top left of its row.

    Attributes:
        pixels: (b, c, H, W) uint8, where H and W are the largest height and width.
        sizes: Height and width of each image.
    """

    pixels: Images
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, images: Images) -> PaddedBatch:
        """Return a batch of images of one size."""
        return cls(images, ((images.shape[2], images.shape[3]),) * len(images))

    def as_tensor(self, values: Sequence[Sequence[float]] | Sequence[float]) -> Tensor:
        """Return (b, ...) float64 on the device of the pixels."""
        return to_device(torch.tensor(values, dtype=torch.float64), self.pixels.device)

    def gather(self, y: Tensor, x: Tensor) -> Tensor:
        """Return (b, c, h, w) float64 at the rows y and columns x of each image, both (b, h, w) int64."""
        index = (y * self.pixels.shape[3] + x).flatten(1)[:, None].expand(-1, self.pixels.shape[1], -1)
        return self.pixels.flatten(2).gather(2, index).double().reshape(len(y), -1, *y.shape[1:])

    def grid(self, input_size: Shape) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the centred crop of each image, all float64.

        Returns:
            Rows (b, height, 1), columns (b, 1, width), heights (b, 1, 1) and widths (b, 1, 1).
        """
        height, width = (self.as_tensor([size[axis] for size in self.sizes])[:, None, None] for axis in (0, 1))
        top, left = (
            self.as_tensor([round((size[axis] - input_size[axis]) / 2) for size in self.sizes])[:, None, None]
            for axis in (0, 1)
        )
        rows, columns = (torch.arange(side, dtype=torch.float64, device=self.pixels.device) for side in input_size)
        return top + rows[None, :, None], left + columns[None, None, :], height, width


def crop(batch: PaddedBatch, input_size: Shape) -> Images:
    """Return the centres of the images: (b, c, *input_size)."""
    return translate(batch, input_size, 0)


def translate(batch: PaddedBatch, input_size: Shape, right: int) -> Images:
    """Move the images to the right by whole pixels; uncovered pixels are black."""
    y, x, height, width = batch.grid(input_size)
    x = x - right
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, columns = (_clamped(*axis).expand(-1, *input_size) for axis in ((y, height), (x, width)))
    values = batch.gather(rows, columns)
    return torch.where(inside[:, None], values, 0).to(torch.uint8)


def affine(batch: PaddedBatch, input_size: Shape, matrices: Sequence[Matrix]) -> Images:
    """Sample each image bilinearly through its matrix (a, b, c, d, e, f).

    The centre of pixel (x, y) is (x + 0.5, y + 0.5). Its source is (a x + b y + c, d x + e y + f).
    """
    y, x, height, width = batch.grid(input_size)
    a, b, c, d, e, f = batch.as_tensor(matrices)[:, :, None, None].unbind(1)
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
        first, second = (batch.gather(row, column) for column in columns)
        lines.append(first + (second - first) * dx)
    values = lines[0] + (lines[1] - lines[0]) * dy
    return torch.where(inside[:, None], values, 0).to(torch.uint8)


def inverse_affine(
    size: tuple[int, int], *, angle: float = 0, scale: float = 1, shear: float = 0
) -> tuple[float, float, float, float, float, float]:
    """Return the map from result to source for an image transformed about its centre.

    Args:
        size: Height and width of the image.
        angle: Clockwise rotation in degrees.
        scale: Factor.
        shear: Shear in degrees.

    Source: torchvision.transforms.functional.affine on PIL images.
    """
    x, y = size[1] * 0.5, size[0] * 0.5
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    cosine, sine = math.cos(turn), math.sin(turn)
    a, b = (-sine * lean + cosine) / scale, (cosine * lean + sine) / scale
    d, e = -sine / scale, cosine / scale
    return a, b, a * -x + b * -y + x, d, e, d * -x + e * -y + y


def inverse_tilt(size: tuple[int, int], degrees: float) -> Matrix:
    """Return the map from result to source for an image tilted about both axes, at a distance of its diagonal."""
    height, width = size
    focal = math.sqrt(width**2 + height**2)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    columns = []
    # The columns are the projections of the plane's two axes and of its origin.
    for x, y, near in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-width / 2, -height / 2, 1.0)):
        x, z = cosine * x - sine * near, sine * x + cosine * near
        y, z = cosine * y - sine * z, sine * y + cosine * z
        z = z + focal * near
        columns.append((focal * x + width / 2 * z, focal * y + height / 2 * z, z))
    matrix = np.array(columns).T
    return tuple(float(value) for value in np.linalg.inv(matrix).flat)


def perspective(batch: PaddedBatch, input_size: Shape, matrices: Sequence[Matrix]) -> Tensor:
    """Return (b, c, *input_size) float64 grey levels, sampled bilinearly through each projective matrix.

    Source: OpenCV, warpPerspective: the black beyond an edge is blended in.
    """
    y, x, height, width = batch.grid(input_size)
    m = batch.as_tensor(matrices)[:, :, None, None].unbind(1)
    depth = m[6] * x + m[7] * y + m[8]
    across, down = ((m[k] * x + m[k + 1] * y + m[k + 2]) / depth for k in (0, 3))
    left, top = across.floor(), down.floor()
    dx, dy = across - left, down - top
    total = torch.zeros((), dtype=torch.float64, device=batch.pixels.device)
    for row, weight_y in ((top, 1 - dy), (top + 1, dy)):
        for column, weight_x in ((left, 1 - dx), (left + 1, dx)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = torch.where(inside, weight_y * weight_x, 0)[:, None]
            total = total + batch.gather(_clamped(row, height), _clamped(column, width)) * weight
    return total


def _clamped(position: Tensor, size: Tensor) -> Tensor:
    return torch.minimum(position.clamp(min=0), size - 1).long()
