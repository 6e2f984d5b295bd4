"""Corruptions of C-bar that displace or blur the image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from robench.transforms.corruptions.c_bar.base import Levels, bilinear, c_bar, steps
from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.transforms.filters import smooth
from robench.types import Floats, Ints

__all__ = ["caustic_refraction", "circular_motion_blur", "pinch_and_twirl", "ripple", "transverse_chromatic_abberation"]


@c_bar(reach=0.5, light=2)
def caustic_refraction(levels: Levels, draws: Draws, *, reach: float, light: float) -> Levels:
    """Refract and light the image as through moving water.

    `reach` scales the displacement as a fraction of the side, `light` the brightness as a fraction of full scale.
    """
    side, (row, column) = levels.shape[-1], steps(levels)
    time = 0.5 + 1.5 * draws.uniform("time", ()).double()[:, None, None]
    size = (0.75 + 0.5 * draws.uniform("size", ()).double()[:, None, None]) * side
    height = _water(row, column, time, size)[:, None]
    height = smooth(height, (1, 1), truncate=4)
    around = torch.nn.functional.pad(height, (1, 1, 1, 1))[:, 0]
    down, across = around[:, 2:, 1:-1] - around[:, :-2, 1:-1], around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    normal = 1 / (1 + down**2 + across**2).sqrt_()
    # Snell's law for the refractive index 4, whose square is 16.
    bend = normal * ((1 - (1 - normal**2) / 16).sqrt_() - normal / 4) * (reach * side)
    bend = torch.where(normal < 0.999, bend, 0)
    refracted = bilinear(levels, row + (down * bend).round(decimals=3), column + (across * bend).round(decimals=3))
    return refracted + (255 * light) * (down - across)[:, None]


def _water(row: Tensor, column: Tensor, time: Tensor, size: Tensor) -> Tensor:
    """Return the (b, n, n) height of the water, 0 to 1."""
    turn = 6.28318530718
    down, across = ((position / size).remainder(1) * turn - 250 for position in (row, column))
    first, second = down, across
    total = torch.ones((), dtype=torch.float64, device=row.device)
    for iteration in range(1, 6):
        now = time * (1 - 3.5 / iteration)
        first, second = (
            down + ((now - first).cos() + (now + second).sin()),
            across + ((now - second).sin() + (now + first).cos()),
        )
        total = total + 1 / torch.hypot(0.005 * down / (first + now).sin(), 0.005 * across / (second + now).cos())
    return (1.17 - (total / 5) ** 1.4).abs_().pow_(8).clamp_(0, 1)


@c_bar(amount=0.4, angle=math.pi / 2, interpolates=False)
def pinch_and_twirl(levels: Levels, draws: Draws, *, amount: float, angle: float) -> Levels:
    """Pinch and twirl each of 3 x 3 discs (5 x 5 at 224 pixels) by `amount` + 0.1 and by `angle` radians either way."""
    cells = _twirled_cells(levels.shape[-1])
    width = levels.shape[-1] // cells
    either = draws.integers("signs", 0, 2, (cells, cells)) == 1
    rows, columns = (
        position.long().div_(width, rounding_mode="floor").clamp_(max=cells - 1) for position in steps(levels)
    )
    turned = either[:, columns, rows]
    twirled = constant(levels.device, _twirled, levels.shape[-1], amount + 0.1, angle)
    return bilinear(levels, *(torch.where(turned, twirled[1, axis], twirled[0, axis]) for axis in (0, 1)))


def _twirled_cells(side: int) -> int:
    return 5 if side == 224 else 3


def _twirled(side: int, amount: float, angle: float) -> Floats:
    """Return the source rows and columns of all pixels for both signs of the angle, (2, 2, side, side)."""
    cells = _twirled_cells(side)
    width = side // cells
    radius = width / 2
    position = np.arange(side)
    offset = np.where(position < cells * width, position % width - radius, np.inf)
    down, across = np.broadcast_arrays(offset[:, None], offset[None])
    distance = np.hypot(down, across)
    moves = (distance <= radius) & (distance >= 0.0005)
    down, across, distance = (np.where(moves, one, radius / 2) for one in (down, across, distance))
    pinch = np.sin(math.pi * distance / (2 * radius)) ** -amount
    sources = np.empty((2, 2, side, side))
    for sign in (0, 1):
        turn = (angle if sign else -angle) * (1 - distance / radius) ** 2
        cosine, sine = np.cos(turn), np.sin(turn)
        moved = pinch * (down * cosine - across * sine), pinch * (down * sine + across * cosine)
        for axis, place in enumerate((position[:, None], position[None])):
            center = place // width * width + radius
            sources[sign, axis] = np.where(moves, center + moved[axis], place)
    return sources


@c_bar(amplitude=0.025)
def ripple(levels: Levels, draws: Draws, *, amplitude: float) -> Levels:
    """Shift the rows and the columns by one sine wave each; `amplitude` is a fraction of the side."""
    side = levels.shape[-1]
    wavelengths = (0.1 + 0.2 * draws.uniform("wavelengths", (2,)).double()) * side
    phases = draws.uniform("phases", (2,)).double() * (2 * math.pi)
    position = torch.arange(side, dtype=torch.float64, device=levels.device)
    angle = 2 * math.pi * position / wavelengths[..., None] + phases[..., None]
    sources = position + amplitude * side * angle.sin()
    return bilinear(levels, sources[:, 0, :, None], sources[:, 1, None])


@c_bar(degrees=15, random=False)
def circular_motion_blur(levels: Levels, draws: Draws, *, degrees: float) -> Levels:
    """Average 21 rotations about the middle by up to `degrees` either way; corners that a rotation uncovers are black."""
    side, count = levels.shape[-1], len(levels)
    if levels.device.type == "cpu":
        count = max(1, _CPU_VALUES // (3 * side * side))
    parts = [_spline(_spline(part.permute(2, 3, 0, 1)).transpose(0, 1)).transpose(0, 1) for part in levels.split(count)]
    coefficients = [part.reshape(side * side, -1).contiguous() for part in parts]
    results = [torch.zeros_like(part) for part in coefficients]
    for pixels, index, weights in _rotations(side, degrees, levels.device):
        for result, part in zip(results, coefficients, strict=True):
            result[pixels] += _weighted(part, index, weights)
    return torch.cat(results, dim=1).T.reshape(levels.shape)


_CPU_VALUES = 3 << 15
"""Values per step on a CPU: 32 images of 32x32, so that the working set stays in a core's cache."""

_CPU_PIXELS = 1 << 14
"""Pixels of a large image per step on a CPU, for the same reason."""

_SMALL = 32
"""Largest side at which one table has the pixels of all angles: several hundred for each pixel of a large image."""


def _rotations(side: int, degrees: float, device: torch.device) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield pixels with tables of their source pixels and weights, both (taps, pixels), whose sum is the mean over all angles."""
    if side <= _SMALL:
        index, weights = (constant(device, part, side, degrees) for part in (_mean_index, _mean_weights))
        yield slice(0, side * side), index, weights
        return
    height = max(1, _CPU_PIXELS // side) if device.type == "cpu" else side
    for top in range(0, side, height):
        rows = range(top, min(top + height, side))
        for angle, share in _angles(degrees):
            index, weights = _rotation(side, rows, angle, device)
            yield slice(top * side, rows.stop * side), index, weights.mul_(share)


def _weighted(values: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over t of the rows index[t] of (all pixels, n) values times weights[t]; both tables are (t, pixels)."""
    result = values.new_zeros((index.shape[1], values.shape[1]))
    for rows, shares in zip(index, weights, strict=True):
        result += values.index_select(0, rows).mul_(shares[:, None])
    return result


def _angles(degrees: float) -> list[tuple[float, float]]:
    """Return 21 angles with their shares of the mean."""
    angles = np.linspace(-1, 1, 21)
    shares = np.exp(-2 * angles**2)
    return list(zip((angles * degrees).tolist(), (shares / shares.sum()).tolist(), strict=True))


def _rotation(side: int, chosen: range, degrees: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the 16 source pixels of each pixel of rows of a rotated plane, and their weights: both (16, pixels).

    Weights of sources outside the plane are 0.
    """
    offset = torch.arange(side, dtype=torch.float64, device=device) - (side - 1) / 2
    down_offset = offset[chosen.start : chosen.stop, None]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = down_offset * cosine - offset * sine + (side - 1) / 2
    columns = down_offset * sine + offset * cosine + (side - 1) / 2
    inside = (rows >= 0) & (rows <= side - 1) & (columns >= 0) & (columns <= side - 1)
    (down, row_weights), (across, column_weights) = _spline_taps(rows, side), _spline_taps(columns, side)
    index = down[:, None] * side + across[None]
    weights = row_weights[:, None] * column_weights[None] * inside
    return index.reshape(16, -1), weights.reshape(16, -1)


@lru_cache(maxsize=8)
def _mean_taps(side: int, degrees: float) -> tuple[Ints, Floats]:
    """Return the source pixels of each pixel of the mean over all angles, and their weights: both (taps, side * side)."""
    pixels = side * side
    dense = np.zeros((pixels, pixels))
    for angle, share in _angles(degrees):
        index, weights = _rotation(side, range(side), angle, torch.device("cpu"))
        for rows, shares in zip(index.numpy(), weights.numpy(), strict=True):
            dense[np.arange(pixels), rows] += shares * share
    taps = int((dense != 0).sum(axis=1).max())
    chosen = np.argsort(dense == 0, axis=1, kind="stable")[:, :taps]
    return chosen.T, np.take_along_axis(dense, chosen, axis=1).T


def _mean_index(side: int, degrees: float) -> Ints:
    return _mean_taps(side, degrees)[0]


def _mean_weights(side: int, degrees: float) -> Floats:
    return _mean_taps(side, degrees)[1]


def _spline_taps(positions: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the four pixels of a cubic B-spline at each float64 position, and their weights: both (4, ...).

    Pixels outside 0..side-1 mirror at the edges (c b | a b c); the order of the sums decides the last bit.
    """
    first = positions.floor()
    share = positions - first
    second, third = ((one * one * (one - 2) * 3 + 4) / 6 for one in (share, 1 - share))
    before = (1 - share) ** 3 / 6
    # Outside by more than a side, where weights do not count, pixels need only exist.
    nearest = first.clamp(-side, 2 * side).long()
    pixels = torch.stack([nearest + step for step in (-1, 0, 1, 2)]).abs_().clamp_(max=2 * side - 2)
    return torch.minimum(pixels, 2 * side - 2 - pixels), torch.stack(
        [before, second, third, 1 - before - second - third]
    )


_POLE = math.sqrt(3) - 2


def _spline(values: Tensor) -> Tensor:
    """Return the coefficients of the cubic B-spline through (n, ...) values along the first axis; the spline mirrors at the ends."""
    result = values.contiguous() * 6
    rows = result.unbind(0)
    for step, row in enumerate(rows[1:31], start=1):
        rows[0].add_(row * _POLE**step)
    for before, row in pairwise(rows):
        row.add_(before * _POLE)
    rows[-1].add_(rows[-2] * _POLE).mul_(_POLE / (_POLE**2 - 1))
    for after, row in pairwise(reversed(rows)):
        torch.sub(after, row, out=row).mul_(_POLE)
    return result


@c_bar(stretch=0.5, interpolates=False)
def transverse_chromatic_abberation(levels: Levels, draws: Draws, *, stretch: float) -> Levels:
    """Enlarge the channels by 1, 1 + `stretch` / 2 and 1 + `stretch`, in a random order, and crop their middle."""
    side = levels.shape[-1]
    order = draws.uniform("order", (3,)).argsort(dim=1, stable=True)
    positions = constant(levels.device, _stretched, side, stretch)[order]
    index, weights = _spline_taps(positions, side)
    result = torch.zeros_like(levels)
    for down, row_weights in zip(index, weights, strict=True):
        rows = levels.gather(2, down[..., None].expand(-1, -1, -1, side)) * row_weights[..., None]
        for across, column_weights in zip(index, weights, strict=True):
            columns = across[:, :, None].expand(-1, -1, side, -1)
            result += rows.gather(3, columns).mul_(column_weights[:, :, None])
    return result.add_(0.5).floor_()


def _stretched(side: int, stretch: float) -> Floats:
    """Return the source positions of the pixels of the cropped middle at the three scales, (3, side)."""
    found = []
    for scale in (1, 1 + stretch / 2, 1 + stretch):
        large = round(side * scale)
        found.append(((large - side) // 2 + np.arange(side)) * (side - 1) / (large - 1))
    return np.stack(found)
