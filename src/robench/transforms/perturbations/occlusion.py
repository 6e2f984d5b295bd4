"""Frames of a picture of which ever more is covered: one rectangle, or the squares of a grid, by covered area.

What is covered by a small area stays covered by a larger one: a rectangle keeps its place in the picture and its shape for as
long as that fits, a grid its phase. So the curve of one picture is not broken by other draws. Areas are exact but for the
rounding of sides to whole pixels. All of it is whole numbers, equal on every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robench.transforms.device import to_device
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images

__all__ = ["grid", "noise_rectangle", "rectangle"]

_ERASING = "Zhong et al. 2017, arXiv:1708.04896 (Random Erasing)"
_GRIDMASK = "Chen et al. 2020, arXiv:2001.04086 (GridMask)"
_LEVELS = {
    name: {"frames": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)} for name in ("224", "299", "64", "32")
}
"""Random Erasing trains with .02 to .4 of the picture; the larger areas show where the network gives up."""

_FILL = (124, 116, 104)
"""ImageNet's mean in grey levels: about zero after any model's normalisation, which is what GridMask multiplies by and what
torchvision's RandomErasing fills with. It is one colour for every model and picture, so that rows of two models compare and
that the cover tells nothing of what lies under it, as the picture's own mean would."""

_RATIOS = tuple(0.3 ** (1 - step / 32) for step in range(65))
"""Height by width, 0.3 to 1/0.3 as in Random Erasing; evenly spaced in the logarithm, as torchvision and timm draw it, so that
lying and standing rectangles are equally frequent: the published code draws the ratio itself evenly, three of four standing."""

_UNITS = (2, 4)
"""Fewest and most units of a grid along a side. Whole ones, of which the same part is covered at every phase; GridMask's own, 96
to 224 px of 224, are 1 to 2.3 a side, so that a few large squares and a finer pattern are both measured here."""


@perturbation(levels=_LEVELS, axis="area", source=_ERASING)
def rectangle(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Cover a rectangle with ImageNet's mean colour; area: its share of the picture."""
    images = crop(pictures, side)
    for area in frames:
        yield torch.where(_inside(side, draws, area), _mean_colour(images), images)


@perturbation(levels=_LEVELS, axis="area", source=_ERASING)
def noise_rectangle(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Cover a rectangle with uniform noise, what Random Erasing trains best with; area: its share of the picture."""
    images = crop(pictures, side)
    noise = (draws.int16("fill", tuple(images.shape[1:])) & 255).to(torch.uint8)
    for area in frames:
        yield torch.where(_inside(side, draws, area), noise, images)


@perturbation(levels=_LEVELS, axis="area", source=_GRIDMASK)
def grid(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Cover the squares of a regular grid with ImageNet's mean colour; area: their share of the picture."""
    images = crop(pictures, side)
    ranks = [_ranks(side, draws, axis) for axis in ("down", "right")]
    for area in frames:
        rows = round(side * math.sqrt(area))
        columns = round(side * side * area / rows) if rows else 0
        covered = (ranks[0] < rows)[:, None, :, None] & (ranks[1] < columns)[:, None, None, :]
        yield torch.where(covered, _mean_colour(images), images)


def _ranks(side: int, draws: Draws, axis: str) -> Tensor:
    """(b, side) int64: lines of the picture in the order in which a growing grid covers them, 0 first.

    From the middles of its squares outwards, so that the number of lines, and with it the area, is the same in all pictures.
    """
    units = draws.integers("units", _UNITS[0], _UNITS[1] + 1, ())[:, None]
    phase = draws.integers(f"phase/{axis}", 0, 2 * side, ())[:, None]
    line = torch.arange(side, device=units.device)
    # A unit is 2 * side steps long, a pixel as many steps as there are units.
    step = ((2 * line + 1) * units + phase) % (2 * side)
    distance = (2 * step + 1 - 2 * side).abs()
    return (distance * side + line).argsort(dim=1).argsort(dim=1)


def _inside(side: int, draws: Draws, area: float) -> Tensor:
    """(b, 1, side, side) bool: the rectangles of an area, each anywhere where all of it lies within its picture."""
    shape = draws.integers("ratio", 0, len(_RATIOS), ())
    sizes = to_device(torch.tensor([_size(side, area, ratio) for ratio in _RATIOS]), shape.device)[shape]
    place = torch.arange(side, device=shape.device)
    inside = []
    for axis, size in zip(("down", "right"), sizes.unbind(1), strict=True):
        # The same draw for every area: it moves up by at most as much as the rectangle grows.
        start = draws.integers(axis, 0, side - size + 1, ())
        inside.append((place >= start[:, None]) & (place < (start + size)[:, None]))
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]


def _size(side: int, area: float, ratio: float) -> tuple[int, int]:
    """Height and width in pixels; where a side would be longer than the picture, it is as long and the other one makes up."""
    height, width = (side * min(1, max(area, math.sqrt(area * one))) for one in (ratio, 1 / ratio))
    return round(height), round(width)


def _mean_colour(images: Images) -> Images:
    """(3, 1, 1) uint8 on the device of the images."""
    return to_device(torch.tensor(_FILL, dtype=torch.uint8), images.device)[:, None, None]
