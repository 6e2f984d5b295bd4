"""Definition of a corruption of C-bar: published values, grey levels in float64, square images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from robench.suites import C_BAR_VALUES
from robench.transforms.corruptions.base import Corruption, corruption, severities
from robench.transforms.draws import Draws
from robench.transforms.filters import pad
from robench.types import Images

__all__ = ["Levels", "bilinear", "c_bar", "steps"]

Levels: TypeAlias = Tensor
"""(b, 3, n, n) float64 grey levels, 0..255, of images with an even side n."""


def c_bar(
    *, random: bool = True, interpolates: bool = True, **strengths: float
) -> Callable[[Callable[..., Levels]], Corruption]:
    """Turn a kernel on square grey levels into a corruption of the suites of C-bar that have its name.

    The published code takes squares only. Any other image lies in the middle of the smallest enclosing square of even side,
    whose remaining pixels repeat its edge. Results are clipped and truncated.

    Args:
        random: Whether the kernel draws.
        interpolates: Whether constants between those of two severities are meaningful.
        strengths: The value of each constant at strength 10. Constants are proportional to the published values.
    """

    def wrap(kernel: Callable[..., Levels]) -> Corruption:
        @functools.wraps(kernel)
        def on_square(images: Images, draws: Draws, **params: float) -> Images:
            height, width = images.shape[2:]
            side = max(height, width) + max(height, width) % 2
            top, left = (side - height) // 2, (side - width) // 2
            levels = images.double()
            if (height, width) != (side, side):
                levels = pad(levels, (left, side - width - left, top, side - height - top))
            corrupted = kernel(levels, draws, **params)[:, :, top : top + height, left : left + width]
            return corrupted.clamp(0, 255).to(torch.uint8)

        levels = {
            suite: severities(
                **{
                    name: tuple(value * full / 10 for value in values[kernel.__name__])
                    for name, full in strengths.items()
                }
            )
            for suite, values in C_BAR_VALUES.items()
            if kernel.__name__ in values
        }
        source = "arXiv:2102.11273; facebookresearch/augmentation-corruption ba4d5a5 (definitions; MIT)"
        return corruption(levels=levels, source=source, values="uint8", random=random, interpolates=interpolates)(
            on_square
        )

    return wrap


def steps(levels: Levels) -> tuple[Tensor, Tensor]:
    """Return the row (n, 1) and column (1, n) numbers of the pixels, float64."""
    positions = torch.arange(levels.shape[-1], dtype=torch.float64, device=levels.device)
    return positions[:, None], positions[None]


def bilinear(levels: Levels, rows: Tensor, columns: Tensor) -> Levels:
    """Sample bilinearly at float64 rows and columns that broadcast to (b, n, n).

    Each neighbour outside the image is black by itself, so the border fades over one pixel.
    """
    side = levels.shape[-1]
    padded = torch.nn.functional.pad(levels, (2, 2, 2, 2)).flatten(2)
    first, fractions = [], []
    for positions in (rows, columns):
        whole = positions.floor()
        fractions.append((positions - whole)[:, None])
        first.append(whole.clamp_(-2, side).long() + 2)
    corner = (first[0] * (side + 4) + first[1]).expand(len(levels), side, side).reshape(len(levels), 1, -1)
    down, across = fractions
    lines = []
    for line in (0, side + 4):
        left, right = (
            padded.gather(2, (corner + (line + step)).expand(-1, 3, -1)).reshape(levels.shape) for step in (0, 1)
        )
        lines.append((1 - across) * left + across * right)
    return (1 - down) * lines[0] + down * lines[1]
