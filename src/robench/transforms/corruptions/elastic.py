"""Elastic deformation."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.transforms.corruptions.base import PUBLISHED, Params, corruption, severities
from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.transforms.filters import sample, smooth
from robench.types import FloatImages

__all__ = ["displaced", "elastic_transform", "smooth_noise"]


def _levels(
    size: int, alpha: tuple[float, ...], sigma: tuple[float, ...], affine: tuple[float, ...]
) -> tuple[Params, ...]:
    """Convert the published constants, fractions of `size`, to pixels; images of other sizes use the same pixels."""
    return severities(
        alpha=tuple(size * value for value in alpha),
        sigma=tuple(size * value for value in sigma),
        affine=tuple(size * value for value in affine),
    )


_LARGE = ((2, 2, 0.05, 0.07, 0.12), (0.7, 0.08, 0.01, 0.01, 0.01), (0.1, 0.2, 0.02, 0.02, 0.02))


@corruption(
    levels={
        "224": _levels(244, *_LARGE),
        "299": _levels(360, *_LARGE),
        "64": _levels(64, (0, 0.05, 0.1, 0.1, 0.16), (0, 0.3, 0.08, 0.03, 0.03), (0.08, 0.06, 0.06, 0.03, 0.02)),
        "32": _levels(32, (0, 0.05, 0.08, 0.1, 0.1), (0, 0.2, 0.06, 0.04, 0.03), (0.08, 0.07, 0.06, 0.05, 0.03)),
    },
    source=PUBLISHED,
    random=True,
    interpolates=False,
    per_band=True,
)
def elastic_transform(images: FloatImages, draws: Draws, *, alpha: float, sigma: float, affine: float) -> FloatImages:
    """Displace three points by up to `affine` pixels and the image with them, then every pixel by a smooth random field.

    Severities 1 and 2 bend the whole image, 3 to 5 bend it locally, so errors need not rise from 2 to 3. The field has the
    amplitude `alpha` and a Gaussian of `sigma` pixels.
    """
    height, width = images.shape[2:]
    y, x = _affine_grid(draws.uniform("affine", (3, 2)).double() * (2 * affine) - affine, height, width)
    images = sample(images, _mirror_101(y, height), _mirror_101(x, width))
    if not alpha:
        return images
    right, down = (smooth_noise(draws, name, (height, width), (sigma, sigma)) * alpha for name in ("right", "down"))
    return displaced(images, right, down)


def smooth_noise(draws: Draws, name: str, size: tuple[int, int], sigma: tuple[float, float]) -> Tensor:
    """Return (b, h, w) uniform noise, -1 to 1, blurred by a Gaussian of `sigma` pixels down and across."""
    noise = draws.uniform(name, size) * 2 - 1
    return smooth(noise[:, None], sigma, truncate=3)[:, 0]


def displaced(images: FloatImages, right: Tensor, down: Tensor) -> FloatImages:
    """Sample each pixel `right` and `down` pixels away, both (b, h, w); images mirror at the edges (b a | a b)."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device)[:, None] + down
    x = torch.arange(width, device=images.device) + right
    return sample(images, _mirror(y, height), _mirror(x, width))


def _affine_grid(offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the (b, h, w) source rows and columns of each pixel for (b, 3, 2) x and y offsets of three points."""
    across, down, reach = width // 2, height // 2, min(height, width) // 3
    corners = (across + reach, down + reach), (across + reach, down - reach), (across - reach, down - reach)
    points = offsets + constant(offsets.device, tuple, corners)
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 1]
    # The inverse map takes the edges between the points back to (0, -2 reach) and (-2 reach, 0).
    scale = 2 * reach / (first[:, 0] * second[:, 1] - second[:, 0] * first[:, 1])
    x = torch.arange(width, device=offsets.device) - points[:, 0, 0, None]
    y = torch.arange(height, device=offsets.device) - points[:, 0, 1, None]
    first, second = first * scale[:, None], second * scale[:, None]
    source_x = (across + reach + first[:, 1, None] * x)[:, None, :] - (first[:, 0, None] * y)[:, :, None]
    source_y = (down + reach + second[:, 0, None] * y)[:, :, None] - (second[:, 1, None] * x)[:, None, :]
    return source_y, source_x


def _mirror(positions: Tensor, length: int) -> Tensor:
    """Mirror positions beyond the edges into 0..length-1, with edge pixels repeated."""
    folded = _remainder(positions + 0.5, 2 * length)
    return torch.minimum(folded, 2 * length - folded).sub_(0.5).clamp_(0, length - 1)


def _mirror_101(positions: Tensor, length: int) -> Tensor:
    """Mirror positions beyond the edges into 0..length-1, with edge pixels not repeated."""
    folded = _remainder(positions, 2 * (length - 1))
    return torch.minimum(folded, 2 * (length - 1) - folded).clamp_(min=0)


def _remainder(positions: Tensor, period: int) -> Tensor:
    """Return positions less a multiple of `period`: 0 to `period` but for rounding; faster than `Tensor.remainder`."""
    return (positions / -period).ceil_().mul_(period).add_(positions)
