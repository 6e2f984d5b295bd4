"""Resolution: the network at other input sizes, images with less information, copies moved by a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from robench.suites import RESOLUTIONS, SMALL_RESOLUTIONS
from robench.suites.geometry import height_width, scaled
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.resize import resize
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images, Shape

__all__ = ["best_of_k", "information", "network", "untreated"]

_SIZES = {"224": RESOLUTIONS, "299": RESOLUTIONS, "64": SMALL_RESOLUTIONS, "32": SMALL_RESOLUTIONS}
"""Sizes in pixels; a run takes those up to the size of its frames, or its own list."""


@perturbation(
    levels={name: {"frames": sizes} for name, sizes in _SIZES.items()},
    axis="px",
    source="Touvron et al. 2019, arXiv:1906.06423",
)
def information(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Shrink the crop and enlarge it again, bilinear with antialiasing; frames are the short sides in pixels."""
    images = crop(batch, input_size)
    own = min(input_size)
    for side in frames:
        small = scaled(input_size, side / own)
        yield images if side == own else resize(resize(images, height_width(small)), input_size)


@perturbation(
    levels={name: {"frames": (0,)} for name in _SIZES}, axis="", source="Touvron et al. 2019, arXiv:1906.06423"
)
def network(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Run the network at another input size, on the same part of the image."""
    for _ in frames:
        yield crop(batch, input_size)


untreated = replace(
    network,
    name="untreated",
    summary="Run the network as `network` does but without treatment; runs with each treatment that depends on the size.",
)


@perturbation(
    levels={name: {"frames": tuple(range(9))} for name in _SIZES}, axis="copy", source="robench (docs/decisions/019)"
)
def best_of_k(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Copy the network's usual input; each copy but the first is moved by one pixel in another direction."""
    images = crop(batch, input_size)
    for copy in frames:
        rows, columns = (
            (torch.arange(side, device=images.device) - offset).clamp(0, side - 1)
            for side, offset in zip(input_size, _offset(copy), strict=True)
        )
        yield images.index_select(2, rows).index_select(3, columns)


def _offset(copy: int) -> tuple[int, int]:
    """Return the offset of a copy in pixels, down and right.

    Copy 0 is not moved, copies 1 to 8 are moved by one pixel, the next 16 by two, and so on. In each ring, the offsets
    along one axis come first. Edge pixels repeat.
    """
    ring = next(ring for ring in range(copy + 1) if copy < (2 * ring + 1) ** 2)
    offsets = range(-ring, ring + 1)
    pairs = [(down, right) for down in offsets for right in offsets if max(abs(down), abs(right)) == ring]
    return sorted(pairs, key=lambda pair: (abs(pair[0]) + abs(pair[1]), pair))[copy - max(2 * ring - 1, 0) ** 2]
