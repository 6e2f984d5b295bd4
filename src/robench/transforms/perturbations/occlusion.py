"""Occlusion of a growing area: one rectangle, or the squares of a grid.

Pixels covered at a small area stay covered at a larger one, so the curve of an image has no noise from other draws. A
rectangle keeps its position and shape for as long as it fits, and a grid keeps its phase. Areas are exact except for the
rounding of sides to whole pixels. All arithmetic is in integers, so it is equal on every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images, Shape

__all__ = ["grid", "noise_rectangle", "rectangle"]

_ERASING = "Zhong et al. 2017, arXiv:1708.04896 (Random Erasing)"
_GRIDMASK = "Chen et al. 2020, arXiv:2001.04086 (GridMask)"
_AREAS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Covered shares of the image. Random Erasing trains with .02 to .4; larger areas show where the network fails."""
_LEVELS = {name: {"frames": _AREAS} for name in ("224", "299", "64", "32")}

_FILL = (124, 116, 104)
"""ImageNet's mean in grey levels, which is about zero after the normalisation of any model.

GridMask multiplies by zero, and torchvision's RandomErasing fills with zero. One colour for every model and image makes
records of two models comparable. Unlike the mean of the image, it reveals nothing of the covered pixels.
"""

_LUMA = 117
"""Grey level of the same brightness, for images of other bands than RGB."""

_RATIOS = tuple(0.3 ** (1 - step / 32) for step in range(65))
"""Height by width, 0.3 to 1/0.3 as in Random Erasing, evenly spaced in the logarithm as in torchvision and timm.

Wide and tall rectangles are therefore equally frequent. The published code draws the ratio itself uniformly, which makes
three of four rectangles tall.
"""

_UNITS = (2, 4)
"""Fewest and most units of a grid along a side.

The covered share of whole units is equal at every phase. GridMask's own units, 96 to 224 px of 224, are 1 to 2.3 a side.
This range includes a few large squares and a finer pattern.
"""


@perturbation(levels=_LEVELS, axis="area", source=_ERASING)
def rectangle(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Cover a rectangle with ImageNet's mean colour; area: its share of the image."""
    images = crop(batch, input_size)
    for area in frames:
        yield torch.where(_inside(input_size, draws, area), _mean_colour(images), images)


@perturbation(levels=_LEVELS, axis="area", source=_ERASING)
def noise_rectangle(
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]
) -> Iterator[Images]:
    """Cover a rectangle with uniform noise, the best fill in Random Erasing; area: its share of the image."""
    images = crop(batch, input_size)
    noise = (draws.int16("fill", tuple(images.shape[1:])) & 255).to(torch.uint8)
    for area in frames:
        yield torch.where(_inside(input_size, draws, area), noise, images)


@perturbation(levels=_LEVELS, axis="area", source=_GRIDMASK)
def grid(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Cover the squares of a regular grid with ImageNet's mean colour; area: their share of the image."""
    images = crop(batch, input_size)
    height, width = input_size
    ranks = [_ranks(height, draws, "down"), _ranks(width, draws, "right")]
    for area in frames:
        rows = round(height * math.sqrt(area))
        columns = round(height * width * area / rows) if rows else 0
        covered = (ranks[0] < rows)[:, None, :, None] & (ranks[1] < columns)[:, None, None, :]
        yield torch.where(covered, _mean_colour(images), images)


def _ranks(side: int, draws: Draws, axis: str) -> Tensor:
    """Return (b, side) int64: the order in which a growing grid covers the lines of the image, 0 first.

    The grid grows from the centres of its squares, so that the number of lines, and the area, is equal for all images.
    """
    units = draws.integers("units", _UNITS[0], _UNITS[1] + 1, ())[:, None]
    phase = draws.integers(f"phase/{axis}", 0, 2 * side, ())[:, None]
    line = torch.arange(side, device=units.device)
    # A unit is 2 * side steps long, a pixel as many steps as there are units.
    step = ((2 * line + 1) * units + phase) % (2 * side)
    distance = (2 * step + 1 - 2 * side).abs()
    return (distance * side + line).argsort(dim=1).argsort(dim=1)


def _inside(input_size: Shape, draws: Draws, area: float) -> Tensor:
    """Return (b, 1, *input_size) bool: a rectangle of the area, anywhere inside each image."""
    shape = draws.integers("ratio", 0, len(_RATIOS), ())
    sizes = constant(shape.device, _sizes, input_size, area)[shape]
    inside = []
    for axis, side, size in zip(("down", "right"), input_size, sizes.unbind(1), strict=True):
        position = torch.arange(side, device=shape.device)
        # All areas share the draw, which moves up by at most the growth of the rectangle.
        start = draws.integers(axis, 0, side - size + 1, ())
        inside.append((position >= start[:, None]) & (position < (start + size)[:, None]))
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]


def _sizes(input_size: Shape, area: float) -> list[tuple[int, int]]:
    return [_size(input_size, area, ratio) for ratio in _RATIOS]


def _size(input_size: Shape, area: float, ratio: float) -> tuple[int, int]:
    """Return height and width in pixels; a side is at most that of the image, and the other one keeps the area."""
    height, width = (
        side * min(1, max(area, math.sqrt(area * shape)))
        for side, shape in zip(input_size, (ratio, 1 / ratio), strict=True)
    )
    return round(height), round(width)


def _mean_colour(images: Images) -> Images:
    """Return (3, 1, 1) uint8 on the device of the images; of other bands, (1, 1, 1) with the colour's luma."""
    fill = _FILL if images.shape[1] == 3 else (_LUMA,)
    return constant(images.device, tuple, fill).to(torch.uint8)[:, None, None]
