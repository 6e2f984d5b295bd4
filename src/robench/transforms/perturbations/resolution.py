"""A picture for a network that runs at another size, frames with the information of smaller pictures, copies moved by a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from robench.suites import RESOLUTIONS, SMALL_RESOLUTIONS
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.resize import resize
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images

__all__ = ["best_of_k", "information", "network", "untreated"]

_SIZES = {"224": RESOLUTIONS, "299": RESOLUTIONS, "64": SMALL_RESOLUTIONS, "32": SMALL_RESOLUTIONS}
"""A run takes those up to the side of its frames, or its own."""


@perturbation(
    levels={name: {"frames": sizes} for name, sizes in _SIZES.items()},
    axis="px",
    source="Touvron et al. 2019, arXiv:1906.06423",
)
def information(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Shrink the crop to so many pixels a side, and enlarge it again; bilinear, antialiased."""
    images = crop(pictures, side)
    for size in frames:
        yield images if size == side else resize(resize(images, (size, size)), (side, side))


@perturbation(
    levels={name: {"frames": (0,)} for name in _SIZES}, axis="", source="Touvron et al. 2019, arXiv:1906.06423"
)
def network(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Run the network itself at another input size, on the same part of the picture."""
    for _ in frames:
        yield crop(pictures, side)


@perturbation(
    levels={name: {"frames": (0,)} for name in _SIZES}, axis="", source="Touvron et al. 2019, arXiv:1906.06423"
)
def untreated(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Run the network as `network` does, but without any treatment: comes with those of every size, such as bn-resolution."""
    for _ in frames:
        yield crop(pictures, side)


@perturbation(
    levels={name: {"frames": tuple(range(9))} for name in _SIZES}, axis="copy", source="robench (docs/decisions/019)"
)
def best_of_k(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Copies of the network's usual input, moved by one pixel each, in another direction; the first is not."""
    images = crop(pictures, side)
    steps = torch.arange(side, device=images.device)
    for copy in frames:
        down, right = _moved(copy)
        rows, columns = (steps - down).clamp(0, side - 1), (steps - right).clamp(0, side - 1)
        yield images.index_select(2, rows).index_select(3, columns)


def _moved(copy: int) -> tuple[int, int]:
    """How far down and to the right, px, a copy is moved: 0 not at all, 1 to 8 by one pixel, the next 16 by two, and so on.

    In a ring those along one axis come first, and the edge is repeated where a picture leaves.
    """
    ring = next(ring for ring in range(copy + 1) if copy < (2 * ring + 1) ** 2)
    offsets = range(-ring, ring + 1)
    places = [(down, right) for down in offsets for right in offsets if max(abs(down), abs(right)) == ring]
    return sorted(places, key=lambda place: (abs(place[0]) + abs(place[1]), place))[copy - max(2 * ring - 1, 0) ** 2]
