"""Spatter of water or mud, and the operations of OpenCV that draw the published water."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.transforms.corruptions.base import PUBLISHED, corruption, severities
from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.transforms.filters import gaussian_blur, pad
from robench.types import FloatImages

__all__ = ["canny", "spatter", "water"]

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
    source=PUBLISHED,
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
    """Splash water (pale, lit at its edges) or mud (brown) over the image, where smooth noise exceeds a threshold.

    For mud, `strength` is the sigma, in pixels, that softens its edges.
    """
    liquid = draws.normal("liquid", tuple(images.shape[2:]))[:, None] * deviation + mean
    liquid = gaussian_blur(liquid, sigma)
    if mud:
        cover = gaussian_blur((liquid > threshold).float(), strength)
        cover = torch.where(cover < 0.8, 0, cover)
        return images * (1 - cover) + cover * _colour(_MUD, images.device)
    return images + water(torch.where(liquid < threshold, 0, liquid), strength)


def water(liquid: Tensor, strength: float) -> Tensor:
    """Return the light that the edges of water add to an image.

    Args:
        liquid: (b, 1, h, w) thickness of the water, 0..1.
        strength: Largest light.

    Returns:
        (b, 3, h, w), 0..strength.
    """
    levels = (liquid * 255).to(torch.int32) & 255
    light = (levels * _relief(levels)).float()
    brightest = light.amax(dim=(2, 3), keepdim=True)
    # The published code divides by zero and returns a black image if nothing is lit; here the image is unchanged.
    light = torch.where(brightest > 0, light / brightest, 0) * strength
    return light * _colour(_WATER, liquid.device)


def _colour(rgb: tuple[float, float, float], device: torch.device) -> Tensor:
    """Return (3, 1, 1), made without a copy from the host."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in rgb])


def _relief(levels: Tensor) -> Tensor:
    """Return the light on a drop's slope away from its edges: (b, 1, h, w) int32, 0..255, from such levels."""
    distance = _distance_to(canny(levels, 50, 150), 20)
    near = _box(distance).div(9 << _FIXED, rounding_mode="floor")
    slope = _equalised(near)
    p = pad(slope.float(), (1, 1, 1, 1), "reflect").to(torch.int32)
    height, width = levels.shape[2:]
    around = {(y, x): p[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y in (-1, 0, 1) for x in (-1, 0, 1)}
    lit = 2 * (around[1, 1] - around[-1, -1]) + around[1, 0] - around[-1, 0] + around[0, 1] - around[0, -1] + slope
    # This is round(sum / 9), which has no ties.
    return (2 * _box(lit.clamp_(0, 255)) + 9).div(18, rounding_mode="floor")


def canny(levels: Tensor, low: int, high: int) -> Tensor:
    """Return the edges of (b, 1, h, w) int32, 0..255, as bool, by Canny's method with Sobel gradients of size |dx| + |dy|.

    Source: OpenCV, modules/imgproc/src/canny.cpp.
    """
    height, width = levels.shape[2:]

    def shifted(values: Tensor, y: int, x: int) -> Tensor:
        return values[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    p = pad(levels.float(), (1, 1, 1, 1)).to(torch.int32)
    rows = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx, dy = rows[..., 2:] - rows[..., :-2], columns[:, :, 2:] - columns[:, :, :-2]
    size = dx.abs() + dy.abs()
    m = torch.nn.functional.pad(size, (1, 1, 1, 1))
    # The tangents of 22.5 and 67.5 degrees, in 15-bit fixed point, separate the directions.
    flat, steep = dx.abs() * 13573, dy.abs() << 15
    level, upright = steep < flat, steep > flat + (dx.abs() << 16)
    falling = (dx < 0) != (dy < 0)
    across = (size > shifted(m, 0, -1)) & (size >= shifted(m, 0, 1))
    along = (size > shifted(m, -1, 0)) & (size >= shifted(m, 1, 0))
    rising = (size > shifted(m, -1, -1)) & (size > shifted(m, 1, 1)) & ~falling
    diagonal = rising | ((size > shifted(m, -1, 1)) & (size > shifted(m, 1, -1)) & falling)
    crest = (level & across) | (~level & ((upright & along) | (~upright & diagonal)))
    weak, edges = crest & (size > low), crest & (size > high)
    for _ in range(_HYSTERESIS):
        edges = _dilated(edges) & weak
    return edges


_HYSTERESIS = 16
"""Longest weak edge from a strong one, in pixels; the edge of a drop is strong almost everywhere."""


def _dilated(mask: Tensor) -> Tensor:
    """Dilate (b, 1, h, w) bool by 3x3."""
    p = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    p = p[:, :, :-2] | p[:, :, 1:-1] | p[:, :, 2:]
    return p[..., :-2] | p[..., 1:-1] | p[..., 2:]


_FIXED = 16
"""Fractional bits of OpenCV's distances."""


def _distance_to(edges: Tensor, limit: int) -> Tensor:
    """Return the distance to the nearest edge, at limit `limit` pixels: (b, 1, h, w) int32 in units of 2^-16 pixels.

    This is OpenCV's 5x5 chamfer distance, with steps of 1, 1.4 and (a knight's) 2.1969. The nearest edge within a row has
    the fewest columns between. The distance is therefore the minimum over rows of a table by (rows, columns).
    """
    width = edges.shape[3]
    across = torch.where(edges, 0, limit).to(torch.int32)
    for step in (1, 2, 4, 8, 16):
        moved = torch.nn.functional.pad(across, (step, step), value=limit)
        nearest = torch.minimum(moved[..., :width], moved[..., 2 * step :])
        across = torch.minimum(across, nearest + step)
    table = constant(edges.device, _chamfer, limit)
    height = edges.shape[2]
    padded = torch.nn.functional.pad(across, (0, 0, limit, limit), value=limit)
    result = torch.full_like(across, limit << _FIXED)
    for away in range(limit):
        nearest = torch.minimum(
            padded[:, :, limit - away : limit - away + height], padded[:, :, limit + away : limit + away + height]
        )
        result = torch.minimum(result, table[away].index_select(0, nearest.flatten()).reshape(result.shape))
    return result


def _chamfer(limit: int) -> NDArray[np.int32]:
    """Return (limit, limit + 1) int32 distances by rows and columns, in units of 2^-16 pixels, clipped to `limit`."""
    straight, diagonal, knight = (round(step * 2**_FIXED) for step in (1, 1.4, 2.1969))
    rows, columns = np.mgrid[:limit, : limit + 1]
    long, short = np.maximum(rows, columns), np.minimum(rows, columns)
    flat = knight * short + straight * (long - 2 * short)
    steep = knight * (long - short) + diagonal * (2 * short - long)
    table = np.where(2 * short <= long, flat, steep)
    clipped: NDArray[np.int32] = np.minimum(table, limit << _FIXED).astype(np.int32)
    return clipped


def _box(values: Tensor) -> Tensor:
    """Sum (b, 1, h, w) int32 over 3x3, mirrored at the edges (b | a b)."""
    p = torch.cat([values[:, :, 1:2], values, values[:, :, -2:-1]], dim=2)
    p = torch.cat([p[..., 1:2], p, p[..., -2:-1]], dim=3)
    p = p[:, :, :-2] + p[:, :, 1:-1] + p[:, :, 2:]
    return p[..., :-2] + p[..., 1:-1] + p[..., 2:]


def _equalised(levels: Tensor) -> Tensor:
    """Equalise the histogram of each image of (b, 1, h, w) int32, 0..255."""
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
