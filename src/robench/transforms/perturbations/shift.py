"""Frames of a square somewhat larger than the crop: the crop at other offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robench.suites import MAP_AXIS, map_offset, map_place
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Constants, perturbation
from robench.transforms.warps import PaddedBatch
from robench.transforms.warps import crop as middle
from robench.types import Images

__all__ = ["circular", "crop", "diagonal", "offset_map"]

_SOURCE = "Zhang 2019, arXiv:1904.11486"
_SPAN = {"224": 32, "299": 42, "64": 9, "32": 4}
"""By how many pixels the square is larger than the crop: a side s is cut out of int(s / 0.875)."""
_PAIRS: Constants = {"frames": tuple(range(10))}


@perturbation(levels={name: {**_PAIRS, "span": span} for name, span in _SPAN.items()}, axis="frame", source=_SOURCE)
def crop(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int], span: int) -> Iterator[Images]:
    """Five pairs of crops at random offsets, drawn for each image."""
    for frame in frames:
        down, right = (draws.integers(f"{frame}/{axis}", 0, span, ()).reshape(-1) for axis in ("down", "right"))
        yield _cut(pictures.pixels, side, down, right)


@perturbation(levels={name: {**_PAIRS, "span": 3} for name in _SPAN}, axis="frame", source=_SOURCE)
def circular(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int], span: int) -> Iterator[Images]:
    """Five pairs of the middle crop rolled around by at most `span` pixels, drawn for each image."""
    images = middle(pictures, side)
    rows = torch.arange(side, device=images.device)
    for frame in frames:
        down, right = (draws.integers(f"{frame}/{axis}", -span, span + 1, ()).reshape(-1) for axis in ("down", "right"))
        yield _picked(images, (rows - down[:, None]) % side, (rows - right[:, None]) % side)


@perturbation(
    levels={name: {"frames": tuple(range(span + 1))} for name, span in _SPAN.items()}, axis="px", source=_SOURCE
)
def diagonal(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Crops at the same offset on both axes."""
    for offset in frames:
        yield pictures.pixels[:, :, offset : offset + side, offset : offset + side].contiguous()


def _offsets(span: int) -> tuple[int, ...]:
    step = max(1, span // 8)
    return tuple(range(0, span + 1, step))


@perturbation(
    levels={
        name: {
            "frames": tuple(map_place(down, right) for down in _offsets(span) for right in _offsets(span)),
        }
        for name, span in _SPAN.items()
    },
    axis=MAP_AXIS,
    source=_SOURCE,
)
def offset_map(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Crops at a grid of offsets, row by row."""
    for frame in frames:
        down, right = map_offset(frame)
        yield pictures.pixels[:, :, down : down + side, right : right + side].contiguous()


def _cut(images: Images, side: int, down: Tensor, right: Tensor) -> Images:
    steps = torch.arange(side, device=images.device)
    return _picked(images, down[:, None] + steps, right[:, None] + steps)


def _picked(images: Images, rows: Tensor, columns: Tensor) -> Images:
    """(b, 3, h, w) at rows (b, h') and columns (b, w')."""
    place = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)[:, None].expand(-1, 3, -1)
    return images.flatten(2).gather(2, place).reshape(len(images), 3, rows.shape[1], columns.shape[1])
