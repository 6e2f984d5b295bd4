"""Blur: defocus, frosted glass, motion, zoom and Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from robench.transforms import filters
from robench.transforms.corruptions.base import CHUNK_VALUES, PUBLISHED, corruption, severities
from robench.transforms.draws import Draws
from robench.transforms.filters import clipped_zoom, motion_taps, pad
from robench.transforms.kernels import fused
from robench.transforms.resize import to_float, to_uint8
from robench.types import FloatImages, Floats, Images

__all__ = ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"]


@corruption(
    levels={
        "224": severities(radius=(3, 4, 6, 8, 10), alias=(0.1, 0.5, 0.5, 0.5, 0.5)),
        "299": severities(radius=(4, 5, 7, 10, 12), alias=(0.1, 0.5, 0.5, 0.5, 0.5)),
        "64": severities(radius=(0.5, 1, 1.5, 2.5, 3), alias=(0.6, 0.1, 0.1, 0.01, 0.1)),
        "32": severities(radius=(0.3, 0.4, 0.5, 1, 1.5), alias=(0.4, 0.5, 0.6, 0.2, 0.1)),
    },
    source=PUBLISHED,
    interpolates=False,
    per_band=True,
)
def defocus_blur(images: FloatImages, draws: Draws, *, radius: float, alias: float) -> FloatImages:
    """Average over a disk of `radius` pixels, softened by a Gaussian of `alias` pixels."""
    # The sum over the disk is exact in integers. Each of its rows is the difference of two cumulative sums.
    # A small Gaussian of that sum softens the edge, and `rest` adds the remainder of the published kernel.
    kernel = _defocus_kernel(radius, alias)
    reach, soft, margin = kernel.reach, kernel.soft, kernel.reach + kernel.soft
    height, width = images.shape[2] + 2 * soft, images.shape[3] + 2 * soft
    # Without the middle grey, sums of up to 255 pixels fit into 16 bits.
    whole = torch.int16 if kernel.pixels <= 255 else torch.int32
    levels = pad(images.mul(255).round_().sub_(128), (margin, margin, margin, margin), "reflect").to(whole)
    sums = torch.nn.functional.pad(levels.cumsum(3, dtype=whole), (1, 0))
    runs = torch.empty_like(sums[..., :width])
    total = runs.new_zeros((*images.shape[:2], height, width))
    for y, half in enumerate(kernel.halves):
        torch.sub(sums.narrow(3, reach + half + 1, width), sums.narrow(3, reach - half, width), out=runs)
        for row in {reach - y, reach + y}:
            total += runs.narrow(2, row, height)
    result = total.float().div_(torch.full((), float(kernel.pixels), device=images.device))
    if soft:
        result = filters.correlate(filters.correlate(result, kernel.edge, 2, "none"), kernel.edge, 3, "none")
    for y, x, weight in kernel.rest:
        rows = {margin - y, margin + y}
        columns = {margin - x, margin + x}
        height, width = images.shape[2:]
        corners = [levels.narrow(2, row, height).narrow(3, column, width) for row in rows for column in columns]
        result.add_(sum(corners[1:], corners[0]).float().mul_(weight))
    return result.add_(128 * kernel.total).div_(torch.full((), 255.0, device=images.device))


@dataclass(frozen=True)
class _Defocus:
    """The defocus kernel: a disk of equal weights with a softened edge, and a remainder.

    Attributes:
        halves: Reach of the disk to either side of its middle column, by row from the middle.
        pixels: Number of pixels of the disk.
        edge: Weights of the Gaussian along either axis.
        rest: (row from the middle, column from the middle, weight) of the remainder in one quadrant.
        total: Sum of the whole kernel.
    """

    halves: tuple[int, ...]
    pixels: int
    edge: Floats
    rest: tuple[tuple[int, int, float], ...]
    total: float

    @property
    def reach(self) -> int:
        """Number of rows of the disk on either side of its middle row."""
        return len(self.halves) - 1

    @property
    def soft(self) -> int:
        """Radius of the Gaussian of the edge, in pixels."""
        return len(self.edge) // 2


@lru_cache(maxsize=32)
def _defocus_kernel(radius: float, alias: float) -> _Defocus:
    """Return the published kernel, which softens the disk within its own square, mirrored at the border.

    A disk that touches the border therefore differs from a softened disk there, and its sum is not one.
    """
    reach, soft = (8, 1) if radius <= 8 else (int(radius), 2)
    grid = np.arange(-reach, reach + 1)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float64)
    edge = np.exp(-(np.arange(-soft, soft + 1) ** 2) / (2 * alias * alias))
    edge /= edge.sum()
    published = _softened(disk / disk.sum(), edge, "reflect")
    if edge[0] < _NEGLIGIBLE:
        edge, soft = edge[soft : soft + 1], 0
    softened = _softened(np.pad(disk / disk.sum(), soft), edge, "constant")
    rest = (np.pad(published, soft) - softened)[reach + soft :, reach + soft :]
    return _Defocus(
        halves=tuple(int(row[reach:].sum()) - 1 for row in disk[reach:] if row.any()),
        pixels=int(disk.sum()),
        edge=edge,
        rest=tuple((int(y), int(x), float(rest[y, x])) for y, x in np.argwhere(np.abs(rest) > _NEGLIGIBLE)),
        total=float(published.sum()),
    )


_NEGLIGIBLE = 1e-6
"""Weights below this change no value by a thousandth of a grey level."""


def _softened(disk: Floats, edge: Floats, border: Literal["reflect", "constant"]) -> Floats:
    """Correlate both axes of a square with `edge`."""
    soft = len(edge) // 2
    for _ in range(2):
        padded = np.pad(disk, ((soft, soft), (0, 0)), mode=border)
        disk = sum(weight * padded[k : k + len(disk)] for k, weight in enumerate(edge)).T
    return disk


@corruption(
    levels={
        "224": severities(sigma=(0.7, 0.9, 1, 1.1, 1.5), reach=(1, 2, 2, 3, 4), iterations=(2, 1, 3, 2, 2)),
        "299": severities(sigma=(0.8, 1, 1.1, 1.2, 1.6), reach=(1, 3, 2, 4, 5), iterations=(3, 1, 4, 2, 2)),
        "64": severities(sigma=(0.1, 0.5, 0.6, 0.7, 0.9), reach=(1, 1, 1, 2, 2), iterations=(1, 1, 2, 1, 2)),
        "32": severities(sigma=(0.05, 0.25, 0.4, 0.25, 0.4), reach=(1, 1, 1, 1, 1), iterations=(1, 1, 1, 2, 2)),
    },
    source=PUBLISHED,
    random=True,
    interpolates=False,
    per_band=True,
)
def glass_blur(images: FloatImages, draws: Draws, *, sigma: float, reach: int, iterations: int) -> FloatImages:
    """Blur, swap every pixel with one at most `reach` away, `iterations` times, and blur again."""
    # The first blur is in float64 as published, because its truncation to bytes depends on the last bit.
    levels = images.mul(255).round_().double().div_(torch.full((), 255.0, dtype=torch.float64, device=images.device))
    blurred = to_uint8(filters.gaussian_blur(levels, sigma))
    return filters.gaussian_blur(to_float(_shuffled(blurred, draws, reach, iterations)), sigma)


_DOUBLINGS = 6
"""Enough for chains of 64 pixels; every further link is less than half as probable."""


def _shuffled(images: Images, draws: Draws, reach: int, iterations: int) -> Images:
    """Shuffle (b, c, h, w) uint8 as `glass_blur` does.

    The published loop visits the pixels from the bottom right to the top left, except `reach` pixels at the edges. It copies
    the current value of a random neighbour to each pixel. That value is the neighbour's original one, unless the loop has
    already visited the neighbour.
    """
    height, width = images.shape[2:]
    rows, columns = height - 2 * reach, width - 2 * reach
    moved = draws.integers("shuffle", -reach, reach, (iterations, rows, columns, 2))
    kernels = fused(images.device)
    if kernels is not None:
        shuffled: Images = kernels.shuffle(images, moved, reach)
        return shuffled
    # The draws are in the order of the loop, from the last pixel to the first.
    right, down = moved.flip(2, 3).unbind(-1)
    inner = slice(reach + 1, reach + 1 + rows), slice(reach + 1, reach + 1 + columns)
    identity = torch.arange(height * width, device=moved.device).reshape(1, height, width)
    here = identity[:, *inner]
    inside = torch.zeros((height, width), dtype=torch.bool, device=moved.device)
    inside[inner] = True
    index = identity.expand(len(moved), -1, -1).flatten(1)
    for iteration in range(iterations):
        there = here + down[:, iteration] * width + right[:, iteration]
        known = (there > here) & inside.flatten()[there]
        source, pointer = identity.repeat(len(moved), 1, 1), identity.repeat(len(moved), 1, 1)
        source[:, *inner] = there
        pointer[:, *inner] = torch.where(known, there, here)
        pointer = pointer.flatten(1)
        for _ in range(_DOUBLINGS):
            pointer = pointer.gather(1, pointer)
        index = index.gather(1, source.flatten(1).gather(1, pointer))
    return images.flatten(2).gather(2, index[:, None].expand(-1, images.shape[1], -1)).reshape(images.shape)


@corruption(
    levels={
        "224": severities(radius=(10, 15, 15, 15, 20), sigma=(3, 5, 8, 12, 15)),
        "299": severities(radius=(12, 17, 17, 17, 22), sigma=(4, 6, 9, 13, 16)),
        "64": severities(radius=(10, 10, 10, 10, 12), sigma=(1, 1.5, 2, 2.5, 3)),
        "32": severities(radius=(6, 6, 6, 8, 9), sigma=(1, 1.5, 2, 2, 2.5)),
    },
    source=PUBLISHED,
    random=True,
    values="uint8",
    interpolates=False,
    per_band=True,
)
def motion_blur(images: Images, draws: Draws, *, radius: int, sigma: float) -> Images:
    """Smear along one direction, within 45 degrees of the horizontal."""
    angle = draws.uniform("angle", ()) * 90 - 45
    return filters.smeared(images, motion_taps(radius, sigma), angle)


_ZOOM = severities(stop=(1.11, 1.16, 1.21, 1.26, 1.31), step=(0.01, 0.01, 0.02, 0.02, 0.03))
_ZOOM_SMALL = severities(stop=(1.06, 1.11, 1.16, 1.21, 1.26), step=(0.01, 0.01, 0.01, 0.01, 0.01))


@corruption(
    levels={"224": _ZOOM, "299": _ZOOM, "64": _ZOOM_SMALL, "32": _ZOOM_SMALL},
    source=PUBLISHED,
    interpolates=False,
    per_band=True,
    chunk_values=4 * CHUNK_VALUES,
)
def zoom_blur(images: FloatImages, draws: Draws, *, stop: float, step: float) -> FloatImages:
    """Average the image and its enlarged middle, for factors from 1 to `stop` in steps of `step`."""
    return zoomed_mean(images, np.arange(1, stop, step).tolist(), clipped_zoom)


def zoomed_mean(
    images: FloatImages, factors: Sequence[float], zoom: Callable[[FloatImages, float], FloatImages]
) -> FloatImages:
    """Average (b, 3, h, w) over the images and their zooms by each of `factors`.

    On a CPU the values of all planes at a place are neighbours in memory: one computation of weights serves a vector of values.
    """
    layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
    planes = images.flatten(0, 1)[None].double().contiguous(memory_format=layout)
    total = planes.clone(memory_format=torch.preserve_format)
    for factor in factors:
        total.add_(planes if factor == 1 else zoom(planes, factor))
    return total.div_(len(factors) + 1.0).to(images.dtype)[0].reshape(images.shape)


@corruption(
    levels={
        "224": severities(sigma=(1, 2, 3, 4, 6)),
        "299": severities(sigma=(1.5, 2.5, 3.5, 4.5, 6.5)),
        "64": severities(sigma=(0.5, 0.75, 1, 1.25, 1.5)),
        "32": severities(sigma=(0.4, 0.6, 0.7, 0.8, 1)),
    },
    source=PUBLISHED,
    per_band=True,
)
def gaussian_blur(images: FloatImages, draws: Draws, *, sigma: float) -> FloatImages:
    """Blur with a Gaussian of `sigma` pixels; edge pixels repeat."""
    return filters.gaussian_blur(images, sigma)
