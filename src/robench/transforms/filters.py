"""Filters on batches of float images, on any device.

Every value is the sum of the same terms in the same order, for every batch and device. Each tap is one multiplication
and one addition. Matrix products and fused kernels add in an order that depends on shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robench.transforms.device import constant
from robench.transforms.kernels import fused
from robench.types import Floats, Images, Ints

__all__ = [
    "by_planes",
    "clipped_zoom",
    "correlate",
    "gaussian_blur",
    "gaussian_taps",
    "motion_blur",
    "motion_offsets",
    "motion_taps",
    "pad",
    "sample",
    "smeared",
    "smooth",
    "zoom",
]


def gaussian_blur(values: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Blur the rows, then the columns of (b, c, h, w) floats; edge pixels repeat.

    Args:
        values: (b, c, h, w).
        sigma: Standard deviation in pixels.
        truncate: Radius of the filter in units of sigma.

    Returns:
        (b, c, h, w).

    Source: scipy.ndimage.gaussian_filter with mode "nearest"; equal to the last bit in float64.
    """
    taps = gaussian_taps(sigma, truncate)
    return by_planes(lambda planes: correlate(correlate(planes, taps, 2), taps, 3), values)


def by_planes(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function of planes to (b, c, h, w); on a CPU to a few at once, so that they stay in its cache.

    Args:
        function: (n, 1, h, w) to (n, 1, h', w'); each plane must be independent of the others.
        values: (b, c, h, w).

    Returns:
        (b, c, h', w').
    """
    planes = values.flatten(0, 1)[:, None]
    results = [function(part) for part in planes.split(_planes_per_step(values))]
    return (results[0] if len(results) == 1 else torch.cat(results)).reshape(*values.shape[:2], *results[0].shape[2:])


def _planes_per_step(values: Tensor) -> int:
    """Return the number of planes of (b, c, h, w) to filter at once."""
    count, plane = values.shape[0] * values.shape[1], values.shape[2] * values.shape[3] * values.element_size()
    return max(1, min(count, _CPU_BYTES // plane)) if values.device.type == "cpu" else max(1, count)


_CPU_BYTES = 3 << 18
"""Bytes per step on a CPU: two images of 224x224 in float32, the chunk of a corruption."""


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float, truncate: float = 4.0) -> Floats:
    """Return (2 r + 1,) weights with the sum 1, where r is truncate * sigma, rounded."""
    radius = int(truncate * sigma + 0.5)
    taps: Floats = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    taps /= taps.sum()
    taps.setflags(write=False)
    return taps


def correlate(values: Tensor, taps: Floats, axis: int, border: str = "replicate") -> Tensor:
    """Correlate (b, c, h, w) along an axis.

    Args:
        values: (b, c, h, w) float32 or float64.
        taps: 2 r + 1 symmetric weights.
        axis: 2 or 3.
        border: "replicate" (a a | a b), "reflect" (b a | a b), or "none", which shortens the axis by 2 r pixels.

    Returns:
        (b, c, h, w), or less along `axis` without a border.
    """
    radius, kernels = len(taps) // 2, fused(values.device)
    if kernels is not None:
        weights = constant(values.device, np.array, tuple(taps.tolist())).to(values.dtype)
        result: Tensor = kernels.correlate(values, weights, axis, border)
        return result
    if border == "replicate":
        values = pad(values, (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius))
    elif border == "reflect":
        values = values.index_select(axis, constant(values.device, _mirrored, values.shape[axis], radius))
    length = values.shape[axis] - 2 * radius
    result = values.narrow(axis, radius, length) * float(taps[radius])
    both = torch.empty_like(result)
    for tap in range(radius):
        torch.add(values.narrow(axis, tap, length), values.narrow(axis, 2 * radius - tap, length), out=both)
        result.add_(both.mul_(float(taps[tap])))
    return result


def pad(values: Tensor, margins: tuple[int, int, int, int], border: str = "replicate") -> Tensor:
    """Pad (b, c, h, w) by (left, right, top, bottom) pixels.

    `border` is "replicate" (a a | a b), "reflect" (c b | a b) or "circular".
    """
    return functional.pad(values, margins, mode=border)


@lru_cache(maxsize=64)
def motion_taps(radius: int, sigma: float) -> Floats:
    """Return (2 radius + 1,) weights with the sum 1 along a motion: one half of a Gaussian of `sigma` pixels."""
    taps: Floats = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma * sigma))
    taps /= taps.sum()
    taps.setflags(write=False)
    return taps


def motion_blur(values: Tensor, taps: Floats, angle: Tensor | float, beyond: bool = True) -> Tensor:
    """Sum (b, c, h, w) along a line from every pixel; tap k is at distance k, rounded to whole pixels; edge pixels repeat.

    On a CPU the function slices one image after the other. On other devices it gathers pixels, so the host need not wait for
    the angles. Both add the same terms in the same order.

    Args:
        values: (b, c, h, w).
        taps: (n,) weights.
        angle: Degrees, 0 to the right, 90 down: (b,), or one number for all images.
        beyond: Whether taps count that lie outside the image for every pixel. The imagecorruptions package omits them, which
            darkens small images.

    Returns:
        (b, c, h, w).
    """
    down, across = motion_offsets(len(taps), angle, values.device)
    weights = constant(values.device, np.array, tuple(taps.tolist())).expand(len(down), -1)
    if not beyond:
        weights = torch.where((down.abs() < values.shape[2]) & (across.abs() < values.shape[3]), weights, 0)
    if values.device.type == "cpu":
        return _motion_by_slices(values, weights, down, across)
    return _motion_by_gathering(values, weights, down, across)


def motion_offsets(taps: int, angle: Tensor | float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns between each pixel and each tap of a motion: both (b, taps) int64.

    The host computes the sine and cosine of a number. At multiples of 30 degrees a tap may lie between two pixels. The last
    bit of the sine then decides, and a device may compute another one.
    """
    if isinstance(angle, Tensor):
        radians = angle.double()[:, None] * (math.pi / 180)
        distance = torch.arange(taps, device=device, dtype=torch.float64)
        down, across = (torch.ceil(distance * step - 0.5).long() for step in (radians.sin(), radians.cos()))
        return down, across
    down, across = constant(device, _offsets, taps, float(angle))[:, None]
    return down, across


def _offsets(taps: int, angle: float) -> Ints:
    steps = np.array([[math.sin(math.radians(angle))], [math.cos(math.radians(angle))]])
    offsets: Ints = np.ceil(np.arange(taps) * steps - 0.5).astype(np.int64)
    return offsets


def _motion_by_slices(values: Tensor, weights: Tensor, down: Tensor, across: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    height, width = values.shape[2:]
    count = _planes_per_step(values)
    lists = (weights.tolist(), down.tolist(), across.tolist())
    for image, target, taps, rows, columns in zip(values, result, *lists, strict=True):
        top, left = -min(rows), -min(columns)
        for planes, sums in zip(image.split(count), target.split(count), strict=True):
            term = torch.empty_like(planes)
            padded = pad(planes[None], (left, max(columns), top, max(rows)))[0]
            for weight, row, column in zip(taps, rows, columns, strict=True):
                part = padded[:, top + row : top + row + height, left + column : left + column + width]
                sums.add_(torch.mul(part, weight, out=term))
    return result


def _motion_by_gathering(values: Tensor, weights: Tensor, down: Tensor, across: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    height, width = values.shape[2:]
    y, x = (torch.arange(length, device=values.device) for length in (height, width))
    for tap in range(weights.shape[1]):
        rows = (y + down[:, tap, None]).clamp_(0, height - 1)
        columns = (x + across[:, tap, None]).clamp_(0, width - 1)
        index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        part = values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))
        result.add_(part.reshape(values.shape).mul_(weights[:, tap, None, None, None].to(values.dtype)))
    return result


def smeared(images: Images, taps: Floats, angle: Tensor | float) -> Images:
    """Smear (b, c, h, w) uint8 with `motion_blur`, and truncate with `_magick_bytes`."""
    kernels = fused(images.device)
    if kernels is None:
        return _magick_bytes(motion_blur(images.double(), taps, angle))
    weights = constant(images.device, np.array, tuple(taps.tolist()))
    result: Images = kernels.motion(images, weights, *motion_offsets(len(taps), angle, images.device))
    return result


def _magick_bytes(levels: Tensor) -> Images:
    """Truncate float64 grey levels to uint8 as ImageMagick did for the published images: from 16 bits, 257 steps a level."""
    return levels.mul(257).round_().div_(257).floor_().to(torch.uint8)


def clipped_zoom(values: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of (b, c, h, w) by `factor` >= 1, and crop the middle to the same size."""
    return _middle(zoom(values, factor), *values.shape[2:])


def zoom(values: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of (b, c, h, w) by `factor` >= 1, bilinear with aligned corners, to at least the same size.

    Sums are in float64 and rounded once to the type of `values`. A processor that fuses multiplication and addition changes
    them by 2^-53, which this rounding removes.
    """
    height, width = (math.ceil(length / factor) for length in values.shape[2:])
    size = [round(height * factor), round(width * factor)]
    part = _middle(values, height, width)
    return functional.interpolate(part.double(), size, mode="bilinear", align_corners=True).to(values.dtype)


def _middle(values: Tensor, height: int, width: int) -> Tensor:
    top, left = (values.shape[2] - height) // 2, (values.shape[3] - width) // 2
    return values[:, :, top : top + height, left : left + width]


def smooth(values: Tensor, sigma: tuple[float, float], truncate: float) -> Tensor:
    """Blur (b, c, h, w) with a Gaussian; values mirror at the edges (b a | a b).

    Wide Gaussians are matrix products. Rounding limits their operands to few enough bits that float64 holds all sums
    exactly. The result is therefore equal for every batch and device, and within 1e-6.

    Args:
        values: (b, c, h, w), -1 to 1.
        sigma: Standard deviations down and across, in pixels.
        truncate: Radius of the filter in units of sigma.

    Returns:
        (b, c, h, w).

    Source: scipy.ndimage.gaussian_filter with mode "reflect".
    """
    taps = [gaussian_taps(deviation, truncate) for deviation in sigma]
    if max(map(len, taps)) <= _NARROW:
        return correlate(correlate(values, taps[0], 2, "reflect"), taps[1], 3, "reflect")
    rows, columns = (
        constant(values.device, _matrix, length, deviation, truncate)
        for length, deviation in zip(values.shape[2:], sigma, strict=True)
    )
    exact = values.double().mul_(2**24).round_()
    exact = (rows @ exact).mul_(2.0**-20).round_()
    return ((exact @ columns.T) * 2.0**-52).to(values.dtype)


_NARROW = 64
"""Number of taps above which matrix products are faster."""


def _mirrored(length: int, radius: int) -> Ints:
    """Return the indices -radius..length+radius-1, mirrored into 0..length-1 at the edges as often as necessary."""
    index = np.arange(-radius, length + radius) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def _matrix(length: int, sigma: float, truncate: float) -> Floats:
    """Return the (length, length) weights of every input for every output, in units of 2^-24."""
    taps = gaussian_taps(sigma, truncate)
    radius, matrix = len(taps) // 2, np.zeros((length, length))
    index = _mirrored(length, radius)
    for tap, weight in enumerate(taps):
        np.add.at(matrix, (np.arange(length), index[tap : tap + length]), weight)
    return np.rint(matrix * 2**24)


def sample(values: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample (b, c, h, w) bilinearly at the rows y and columns x; sums are in float64, as in `zoom`.

    Args:
        values: (b, c, h, w).
        y: (b, h', w') pixels, 0..h-1.
        x: (b, h', w') pixels, 0..w-1.

    Returns:
        (b, c, h', w').
    """
    height, width = values.shape[2:]
    grid = torch.empty((*y.shape, 2), dtype=torch.float64, device=values.device)
    for axis, (positions, length) in enumerate(((x, width), (y, height))):
        grid[..., axis] = positions
        grid[..., axis].mul_(2 / (length - 1)).sub_(1)
    sampled = functional.grid_sample(values.double(), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.to(values.dtype)
