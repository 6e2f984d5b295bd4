"""Crops at other offsets of a square that is somewhat larger than the crop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robench.suites import MAP_AXIS
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Constants, perturbation
from robench.transforms.warps import PaddedBatch
from robench.transforms.warps import crop as centre_crop
from robench.types import Images, Shape

__all__ = ["circular", "crop", "diagonal", "offset_map"]

_SOURCE = "Zhang 2019, arXiv:1904.11486"
_SPAN = {"224": 32, "299": 42, "64": 9, "32": 4}
"""Margin of the square in pixels: a crop of s comes from a square of int(s / 0.875)."""
_PAIRS: Constants = {"frames": tuple(range(10))}


@perturbation(levels={name: {**_PAIRS, "span": span} for name, span in _SPAN.items()}, axis="frame", source=_SOURCE)
def crop(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int], span: int) -> Iterator[Images]:
    """Five pairs of crops at random offsets, drawn for each image."""
    for frame in frames:
        down, right = (draws.integers(f"{frame}/{axis}", 0, span, ()).reshape(-1) for axis in ("down", "right"))
        rows, columns = (torch.arange(side, device=batch.pixels.device) for side in input_size)
        yield _gather(batch.pixels, down[:, None] + rows, right[:, None] + columns)


@perturbation(levels={name: {**_PAIRS, "span": 3} for name in _SPAN}, axis="frame", source=_SOURCE)
def circular(
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int], span: int
) -> Iterator[Images]:
    """Five pairs of the centre crop, rolled by at most `span` pixels, drawn for each image."""
    images = centre_crop(batch, input_size)
    height, width = input_size
    rows, columns = (torch.arange(side, device=images.device) for side in input_size)
    for frame in frames:
        down, right = (draws.integers(f"{frame}/{axis}", -span, span + 1, ()).reshape(-1) for axis in ("down", "right"))
        yield _gather(images, (rows - down[:, None]) % height, (columns - right[:, None]) % width)


@perturbation(
    levels={name: {"frames": tuple(range(span + 1))} for name, span in _SPAN.items()}, axis="px", source=_SOURCE
)
def diagonal(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Crops at equal offsets on both axes."""
    height, width = input_size
    for offset in frames:
        yield batch.pixels[:, :, offset : offset + height, offset : offset + width].contiguous()


def _offsets(span: int) -> tuple[int, ...]:
    step = max(1, span // 8)
    return tuple(range(0, span + 1, step))


@perturbation(
    levels={
        name: {"frames": tuple((down, right) for down in _offsets(span) for right in _offsets(span))}
        for name, span in _SPAN.items()
    },
    axis=MAP_AXIS,
    source=_SOURCE,
)
def offset_map(
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[tuple[int, int]]
) -> Iterator[Images]:
    """Crops at a grid of offsets, row by row."""
    height, width = input_size
    for down, right in frames:
        yield batch.pixels[:, :, down : down + height, right : right + width].contiguous()


def _gather(images: Images, rows: Tensor, columns: Tensor) -> Images:
    """Return (b, c, h', w') at the rows (b, h') and columns (b, w') of (b, c, h, w)."""
    index = (
        (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    )
    return images.flatten(2).gather(2, index).reshape(len(images), -1, rows.shape[1], columns.shape[1])
