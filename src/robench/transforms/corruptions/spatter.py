"""Spatter of water or mud, and the image processing that the published water is drawn with, as OpenCV does it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.transforms.corruptions.base import corruption, severities
from robench.transforms.device import to_device
from robench.transforms.draws import Draws
from robench.transforms.filters import gaussian_blur, pad
from robench.types import FloatImages

__all__ = ["spatter", "water"]

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)


@corruption(
    levels={
        "224": severities(
            mean=(0.65, 0.65, 0.65, 0.65, 0.67),
            deviation=(0.3, 0.3, 0.3, 0.3, 0.4),
            sigma=(4, 3, 2, 1, 1),
            threshold=(0.69, 0.68, 0.68, 0.65, 0.65),
            strength=(0.6, 0.6, 0.5, 1.5, 1.5),
            mud=(0, 0, 0, 1, 1),
        ),
        "299": severities(
            mean=(0.65, 0.65, 0.65, 0.65, 0.67),
            deviation=(0.3, 0.3, 0.3, 0.3, 0.4),
            sigma=(4, 3.5, 3, 1.2, 1.2),
            threshold=(0.69, 0.68, 0.68, 0.65, 0.65),
            strength=(0.9, 0.9, 0.8, 1.8, 1.8),
            mud=(0, 0, 0, 1, 1),
        ),
        "64": severities(
            mean=(0.62, 0.65, 0.65, 0.65, 0.65),
            deviation=(0.1, 0.1, 0.3, 0.1, 0.1),
            sigma=(0.7, 0.8, 1, 0.7, 0.5),
            threshold=(0.7, 0.7, 0.69, 0.68, 0.67),
            strength=(0.6, 0.6, 0.6, 0.6, 0.6),
            mud=(0, 0, 0, 1, 1),
        ),
        "32": severities(
            mean=(0.62, 0.65, 0.65, 0.65, 0.65),
            deviation=(0.1, 0.1, 0.3, 0.1, 0.1),
            sigma=(0.7, 0.8, 1, 0.7, 0.5),
            threshold=(0.7, 0.7, 0.69, 0.69, 0.68),
            strength=(0.5, 0.5, 0.5, 0.6, 0.6),
            mud=(0, 0, 0, 1, 1),
        ),
    },
    source="arXiv:1903.12261; hendrycks/robustness make_imagenet_c.py, make_tinyimagenet_c.py, make_cifar_c.py",
    random=True,
    interpolates=False,
)
def spatter(
    images: FloatImages,
    draws: Draws,
    *,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: int,
) -> FloatImages:
    """Splash water (pale, lit along its edges) or mud (brown) over the image, where smooth noise is above a threshold.

    For mud, `strength` is the sigma, in pixels, that its edges are softened with.
    """
    liquid = draws.normal("liquid", tuple(images.shape[2:]))[:, None] * deviation + mean
    liquid = gaussian_blur(liquid, sigma)
    if mud:
        cover = gaussian_blur((liquid > threshold).float(), strength)
        cover = torch.where(cover < 0.8, 0, cover)
        return images * (1 - cover) + cover * _colour(_MUD, images.device)
    return images + water(torch.where(liquid < threshold, 0, liquid), strength)


def water(liquid: Tensor, strength: float) -> Tensor:
    """(b, 1, h, w) how thick the water lies, 0..1 -> (b, 3, h, w) the light that its edges add, 0..strength."""
    levels = (liquid * 255).to(torch.int32) & 255
    light = (levels * _relief(levels)).float()
    brightest = light.amax(dim=(2, 3), keepdim=True)
    # Where nothing is lit the published code divides by zero, and the image turns black; here it stays as it is.
    light = torch.where(brightest > 0, light / brightest, 0) * strength
    return light * _colour(_WATER, liquid.device)


def _colour(rgb: tuple[float, float, float], device: torch.device) -> Tensor:
    """(3, 1, 1), made without a copy from the host."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in rgb])


def _relief(levels: Tensor) -> Tensor:
    """(b, 1, h, w) int32 0..255 -> the same: how a drop's slope away from its edges catches the light."""
    distance = _distance_to(canny(levels, 50, 150), 20)
    near = _box(distance).div(9 << _FIXED, rounding_mode="floor")
    slope = _equalised(near)
    p = pad(slope.float(), (1, 1, 1, 1), "reflect").to(torch.int32)
    height, width = levels.shape[2:]
    around = {(y, x): p[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y in (-1, 0, 1) for x in (-1, 0, 1)}
    lit = 2 * (around[1, 1] - around[-1, -1]) + around[1, 0] - around[-1, 0] + around[0, 1] - around[0, -1] + slope
    # round(sum / 9): never a tie
    return (2 * _box(lit.clamp_(0, 255)) + 9).div(18, rounding_mode="floor")


def canny(levels: Tensor, low: int, high: int) -> Tensor:
    """(b, 1, h, w) int32 0..255 -> bool: edges by Canny's method, gradients by Sobel, their size |dx| + |dy|.

    Source: OpenCV, modules/imgproc/src/canny.cpp.
    """
    height, width = levels.shape[2:]

    def beside(values: Tensor, y: int, x: int) -> Tensor:
        return values[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    p = pad(levels.float(), (1, 1, 1, 1)).to(torch.int32)
    rows = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx, dy = rows[..., 2:] - rows[..., :-2], columns[:, :, 2:] - columns[:, :, :-2]
    size = dx.abs() + dy.abs()
    m = torch.nn.functional.pad(size, (1, 1, 1, 1))
    # Directions by the tangents of 22.5 and 67.5 degrees, in 15-bit fixed point.
    flat, steep = dx.abs() * 13573, dy.abs() << 15
    level, upright = steep < flat, steep > flat + (dx.abs() << 16)
    falling = (dx < 0) != (dy < 0)
    across = (size > beside(m, 0, -1)) & (size >= beside(m, 0, 1))
    along = (size > beside(m, -1, 0)) & (size >= beside(m, 1, 0))
    rising = (size > beside(m, -1, -1)) & (size > beside(m, 1, 1)) & ~falling
    diagonal = rising | ((size > beside(m, -1, 1)) & (size > beside(m, 1, -1)) & falling)
    crest = (level & across) | (~level & ((upright & along) | (~upright & diagonal)))
    weak, edges = crest & (size > low), crest & (size > high)
    for _ in range(_HYSTERESIS):
        edges = _dilated(edges) & weak
    return edges


_HYSTERESIS = 16
"""Pixels that a weak edge may lead away from a strong one; a drop's edge is strong nearly everywhere."""


def _dilated(mask: Tensor) -> Tensor:
    """(b, 1, h, w) bool: whether any of the 3x3 around a pixel is set."""
    p = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    p = p[:, :, :-2] | p[:, :, 1:-1] | p[:, :, 2:]
    return p[..., :-2] | p[..., 1:-1] | p[..., 2:]


_FIXED = 16
"""Bits of the fraction of OpenCV's distances."""


def _distance_to(edges: Tensor, most: int) -> Tensor:
    """(b, 1, h, w) int32, in units of 2^-16 pixels: distance to the nearest edge, at most `most`.

    OpenCV's 5x5 chamfer distance: steps of 1, 1.4 and (a knight's) 2.1969. In a row the nearest edge is the nearest one
    across, so the distance is the least over the rows of a table by (rows away, columns away).
    """
    width = edges.shape[3]
    across = torch.where(edges, 0, most).to(torch.int32)
    for step in (1, 2, 4, 8, 16):
        moved = torch.nn.functional.pad(across, (step, step), value=most)
        nearest = torch.minimum(moved[..., :width], moved[..., 2 * step :])
        across = torch.minimum(across, nearest + step)
    table = to_device(torch.from_numpy(_chamfer(most)), edges.device)
    height = edges.shape[2]
    padded = torch.nn.functional.pad(across, (0, 0, most, most), value=most)
    result = torch.full_like(across, most << _FIXED)
    for away in range(most):
        nearest = torch.minimum(
            padded[:, :, most - away : most - away + height], padded[:, :, most + away : most + away + height]
        )
        result = torch.minimum(result, table[away].index_select(0, nearest.flatten()).reshape(result.shape))
    return result


@lru_cache(maxsize=4)
def _chamfer(most: int) -> NDArray[np.int32]:
    """(most, most + 1) int32: distance by rows and columns away, in units of 2^-16 pixels, cut at `most`."""
    straight, diagonal, knight = (round(step * 2**_FIXED) for step in (1, 1.4, 2.1969))
    rows, columns = np.mgrid[:most, : most + 1]
    long, short = np.maximum(rows, columns), np.minimum(rows, columns)
    flat = knight * short + straight * (long - 2 * short)
    steep = knight * (long - short) + diagonal * (2 * short - long)
    table = np.where(2 * short <= long, flat, steep)
    found: NDArray[np.int32] = np.minimum(table, most << _FIXED).astype(np.int32)
    return found


def _box(values: Tensor) -> Tensor:
    """Sum (b, 1, h, w) int32 over 3x3, mirrored beyond the edges (b | a b)."""
    p = torch.cat([values[:, :, 1:2], values, values[:, :, -2:-1]], dim=2)
    p = torch.cat([p[..., 1:2], p, p[..., -2:-1]], dim=3)
    p = p[:, :, :-2] + p[:, :, 1:-1] + p[:, :, 2:]
    return p[..., :-2] + p[..., 1:-1] + p[..., 2:]


def _equalised(levels: Tensor) -> Tensor:
    """Equalise the histogram of (b, 1, h, w) int32 0..255, image by image."""
    flat = levels.flatten(1).long()
    count = torch.zeros((len(flat), 256), dtype=torch.int64, device=flat.device)
    count.scatter_add_(1, flat, torch.ones_like(flat))
    reached = count.cumsum(1)
    lowest = reached.gather(1, flat.amin(dim=1, keepdim=True))
    total = flat.shape[1]
    scale = torch.full((), 255.0, device=flat.device) / (total - lowest).clamp_(min=1)
    table = ((reached - lowest).clamp_(min=0).float() * scale).round_().long()
    table = torch.where(lowest == total, torch.arange(256, device=flat.device), table)
    return table.gather(1, flat).reshape(levels.shape).to(torch.int32)
