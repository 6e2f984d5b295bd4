"""A picture for a network that runs at another size, and frames with the information of smaller pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robench.draws import Draws
from robench.images import resize
from robench.perturbation import perturbation
from robench.rectangles import Rectangles, crop
from robench.suites import RESOLUTIONS, SMALL_RESOLUTIONS
from robench.types import Images

__all__ = ["information", "network", "untreated"]

_SIZES = {"224": RESOLUTIONS, "299": RESOLUTIONS, "64": SMALL_RESOLUTIONS, "32": SMALL_RESOLUTIONS}
"""A run takes those up to the side of its frames, or its own."""


@perturbation(
    levels={name: {"frames": sizes} for name, sizes in _SIZES.items()},
    axis="px",
    source="Touvron et al. 2019, arXiv:1906.06423",
)
def information(pictures: Rectangles, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Shrink the crop to so many pixels a side, and enlarge it again; bilinear, antialiased."""
    images = crop(pictures, side)
    for size in frames:
        yield images if size == side else resize(resize(images, (size, size)), (side, side))


@perturbation(
    levels={name: {"frames": (0,)} for name in _SIZES}, axis="", source="Touvron et al. 2019, arXiv:1906.06423"
)
def network(pictures: Rectangles, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Run the network itself at another input size, on the same part of the picture."""
    for _ in frames:
        yield crop(pictures, side)


@perturbation(
    levels={name: {"frames": (0,)} for name in _SIZES}, axis="", source="Touvron et al. 2019, arXiv:1906.06423"
)
def untreated(pictures: Rectangles, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Run the network as `network` does, but without the treatment bn-resolution: comes with it."""
    for _ in frames:
        yield crop(pictures, side)
