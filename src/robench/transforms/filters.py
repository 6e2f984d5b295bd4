"""Filters that several corruptions share, on batches of float images, on any device.

Every value is the sum of the same terms in the same order, whatever batch it is in and whatever the device: one
multiplication and one addition a tap, never a matrix product or a fused kernel, whose order of adding depends on shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robench.transforms.device import to_device
from robench.types import Floats, Images, Ints

__all__ = [
    "by_planes",
    "clipped_zoom",
    "correlate",
    "correlate_padded",
    "gaussian_blur",
    "gaussian_taps",
    "magick_bytes",
    "motion_blur",
    "motion_taps",
    "pad",
]


def gaussian_blur(values: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Blur the rows, then the columns of (b, c, h, w) floats; edge pixels repeat; sigma in pixels.

    Source: scipy.ndimage.gaussian_filter with mode "nearest"; in float64 the same sums to the last bit.
    """
    taps = gaussian_taps(sigma, truncate)
    return by_planes(lambda planes: correlate(correlate(planes, taps, 2), taps, 3), values)


def by_planes(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply to (b, c, h, w) what takes every plane by itself: on a CPU few at once, so that large images stay in its cache."""
    planes = values.flatten(0, 1)[:, None]
    results = [function(part) for part in planes.split(_at_once(values))]
    return (results[0] if len(results) == 1 else torch.cat(results)).reshape(*values.shape[:2], *results[0].shape[2:])


def _at_once(values: Tensor) -> int:
    """How many planes of (b, c, h, w) to filter at once."""
    count, plane = values.shape[0] * values.shape[1], values.shape[2] * values.shape[3]
    return max(1, min(count, _CACHED // plane)) if values.device.type == "cpu" else max(1, count)


_CACHED = 3 << 17
"""Values that a CPU filters at once: those of two images of 224x224, as corruptions get them."""


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float, truncate: float = 4.0) -> Floats:
    """(2 r + 1,) weights with the sum 1, r = truncate * sigma, rounded."""
    radius = int(truncate * sigma + 0.5)
    taps: Floats = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    taps /= taps.sum()
    taps.setflags(write=False)
    return taps


def correlate(values: Tensor, taps: Sequence[float] | Floats, axis: int) -> Tensor:
    """Correlate (b, c, h, w) along `axis` (2 or 3) with `taps`, 2 r + 1 that are alike on both sides; edge pixels repeat."""
    radius = len(taps) // 2
    return correlate_padded(pad(values, (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)), taps, axis)


def correlate_padded(padded: Tensor, taps: Sequence[float] | Floats, axis: int) -> Tensor:
    """Correlate along `axis` what reaches r pixels farther there on both sides: the result is so much shorter."""
    radius = len(taps) // 2
    length = padded.shape[axis] - 2 * radius
    result = padded.narrow(axis, radius, length) * float(taps[radius])
    both = torch.empty_like(result)
    for tap in range(radius):
        torch.add(padded.narrow(axis, tap, length), padded.narrow(axis, 2 * radius - tap, length), out=both)
        result.add_(both.mul_(float(taps[tap])))
    return result


def pad(values: Tensor, sides: tuple[int, int, int, int], border: str = "replicate") -> Tensor:
    """Pad (b, c, h, w) by (left, right, top, bottom) pixels; border: "replicate" (a a | a b), "reflect" (c b | a b) or "circular"."""
    return functional.pad(values, sides, mode=border)


@lru_cache(maxsize=64)
def motion_taps(radius: int, sigma: float) -> Floats:
    """(2 radius + 1,) weights with the sum 1 along the way of a motion: one half of a Gaussian."""
    taps: Floats = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma * sigma))
    taps /= taps.sum()
    taps.setflags(write=False)
    return taps


def motion_blur(values: Tensor, taps: Floats, angle: Tensor, beyond: bool = True) -> Tensor:
    """Add up (b, c, h, w) along a line from every pixel: tap k at distance k, rounded to whole pixels; edge pixels repeat.

    angle: (b,) degrees, 0 to the right, 90 down.  beyond: whether taps count that leave the image wherever they start; the
    package leaves them out, and small images get darker.  A CPU takes slices of one image after the other, for which it must look at
    the angles; elsewhere pixels are gathered, and nothing waits for the device. Both add the same terms in the same order.
    """
    distance = torch.arange(len(taps), device=angle.device, dtype=torch.float64)
    radians = angle.double()[:, None] * (math.pi / 180)
    down, across = (torch.ceil(distance * way - 0.5).long() for way in (radians.sin(), radians.cos()))
    weights = to_device(torch.tensor(taps), angle.device).expand(len(angle), -1)
    if not beyond:
        weights = torch.where((down.abs() < values.shape[2]) & (across.abs() < values.shape[3]), weights, 0)
    if values.device.type == "cpu":
        return _motion_by_slices(values, weights, down, across)
    return _motion_by_gathering(values, weights, down, across)


def _motion_by_slices(values: Tensor, weights: Tensor, down: Tensor, across: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    height, width = values.shape[2:]
    at_once = _at_once(values)
    lists = (weights.tolist(), down.tolist(), across.tolist())
    for image, target, taps, rows, columns in zip(values, result, *lists, strict=True):
        top, left = -min(rows), -min(columns)
        for planes, sums in zip(image.split(at_once), target.split(at_once), strict=True):
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
        place = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        part = values.flatten(2).gather(2, place[:, None].expand(-1, values.shape[1], -1))
        result.add_(part.reshape(values.shape).mul_(weights[:, tap, None, None, None].to(values.dtype)))
    return result


def magick_bytes(levels: Tensor) -> Images:
    """Truncate float64 grey levels to uint8 as ImageMagick did for the published images: from 16 bits, 257 steps a level."""
    return levels.mul(257).round_().div_(257).floor_().to(torch.uint8)


def clipped_zoom(values: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of (b, c, h, w) by `factor`, 1 or more, and cut the middle of the same size out of that."""
    return _middle(zoom(values, factor), *values.shape[2:])


def zoom(values: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of (b, c, h, w) by `factor`, 1 or more, bilinear, corner on corner, to at least the same size."""
    height, width = (math.ceil(side / factor) for side in values.shape[2:])
    size = [round(height * factor), round(width * factor)]
    part = _middle(values, height, width).contiguous()
    return functional.interpolate(part, size, mode="bilinear", align_corners=True)


def _middle(values: Tensor, height: int, width: int) -> Tensor:
    top, left = (values.shape[2] - height) // 2, (values.shape[3] - width) // 2
    return values[:, :, top : top + height, left : left + width]


def smooth(values: Tensor, sigma: tuple[float, float], truncate: float) -> Tensor:
    """Blur (b, c, h, w) with a Gaussian of sigma pixels down and across, mirrored beyond the edges (b a | a b).

    values: from -1 to 1.  Wide Gaussians are matrix products, made exact (and so the same for every batch and device) by
    rounding to so few bits that float64 holds all sums: the result is within 1e-6.
    Source: scipy.ndimage.gaussian_filter with mode "reflect".
    """
    taps = [gaussian_taps(one, truncate) for one in sigma]
    if max(map(len, taps)) <= _NARROW:
        for axis, weights in zip((2, 3), taps, strict=True):
            places = to_device(torch.from_numpy(_mirrored(values.shape[axis], len(weights) // 2)), values.device)
            values = correlate_padded(values.index_select(axis, places), weights, axis)
        return values
    matrices = zip(values.shape[2:], taps, strict=True)
    rows, columns = (
        to_device(torch.from_numpy(_matrix(length, weights)), values.device) for length, weights in matrices
    )
    exact = values.double().mul_(2**24).round_()
    exact = (rows @ exact).mul_(2.0**-20).round_()
    return ((exact @ columns.T) * 2.0**-52).to(values.dtype)


_NARROW = 64
"""Taps from which matrix products are faster than sums tap by tap."""


def _mirrored(length: int, radius: int) -> Ints:
    """Places in 0..length-1 of -radius..length+radius-1, mirrored at the edges as often as it takes."""
    place = np.arange(-radius, length + radius) % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)


def _matrix(length: int, taps: Floats) -> Floats:
    """(length, length) what every value takes from every other, in units of 2^-24."""
    radius, matrix = len(taps) // 2, np.zeros((length, length))
    places = _mirrored(length, radius)
    for tap, weight in enumerate(taps):
        np.add.at(matrix, (np.arange(length), places[tap : tap + length]), weight)
    return np.rint(matrix * 2**24)


def sample(values: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(b, c, h, w) at (b, h', w') places in pixels, 0..h-1 and 0..w-1, bilinear: (b, c, h', w')."""
    height, width = values.shape[2:]
    grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], dim=3).to(values.dtype)
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=True)
