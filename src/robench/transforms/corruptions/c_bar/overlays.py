"""Corruptions of C-bar that cover parts of the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.transforms.corruptions.c_bar.base import Levels, c_bar, steps
from robench.transforms.draws import Draws

__all__ = ["checkerboard_cutout", "inverse_sparkles", "lines", "sparkles"]

_LARGEST_TABLE = 40
"""Most cells of a checkerboard's table down and across: four sides of the image, with cells of at least a tenth of it."""

_MOST_RAYS = 199


@c_bar(fraction=1)
def checkerboard_cutout(levels: Levels, draws: Draws, *, fraction: float) -> Levels:
    """Turn a share `fraction` of the dark fields of a rotated checkerboard grey.

    Parity rounds down and the table of fields rounds towards zero, as published, so the fields around the corner share entries.
    """
    side, (row, column) = levels.shape[-1], steps(levels)
    angle = draws.uniform("angle", ()).double()[:, None, None] * (2 * math.pi)
    scale = ((0.1 + 0.15 * draws.uniform("scale", ()).double()) * side).clamp_(min=1)[:, None, None]
    chosen = draws.uniform("table", (_LARGEST_TABLE, _LARGEST_TABLE)) < fraction
    cosine, sine = angle.cos(), angle.sin()
    down, across = (row * cosine + column * sine) / scale, (column * cosine - row * sine) / scale
    dark = (down.floor() - across.floor()) % 2 == 0
    size = (4 * side / scale).floor()
    index = down.trunc().remainder(size) * _LARGEST_TABLE + across.trunc().remainder(size)
    covered = chosen.flatten(1).gather(1, index.long().flatten(1)).reshape(dark.shape) & dark
    return torch.where(covered[:, None], 128, levels)


@c_bar(radius=0.1)
def sparkles(levels: Levels, draws: Draws, *, radius: float) -> Levels:
    """Add five white stars with 50 to 199 rays each; `radius` is the mean length of the rays as a fraction of the side."""
    side = levels.shape[-1]
    centers = draws.uniform("centers", (5, 2)).double() * side
    counts = draws.integers("nrays", 50, _MOST_RAYS + 1, (5,))
    lengths = (radius * side * (1 + 0.25 * draws.normal("lengths", (5, _MOST_RAYS)).double())).clamp_(min=1)
    for star in range(5):
        light = _rays(levels, centers[:, star], lengths[:, star], counts[:, star], 1)[:, None]
        levels = levels + light * (255 - levels)
    return levels


@c_bar(power=1.3)
def inverse_sparkles(levels: Levels, draws: Draws, *, power: float) -> Levels:
    """Show the image inside one star with rays of a quarter of the side, and white outside; `power` sharpens the star."""
    side = levels.shape[-1]
    center = (0.25 + 0.5 * draws.uniform("center", (2,)).double()) * side
    count = draws.integers("rays", 50, _MOST_RAYS + 1, ())
    lengths = side / 4 * (1 + 0.25 * draws.normal("lengths", (_MOST_RAYS,)).double())
    return 255 + _rays(levels, center, lengths, count, power)[:, None] * (levels - 255)


def _rays(levels: Levels, center: Tensor, lengths: Tensor, count: Tensor, power: float) -> Tensor:
    """Return the (b, n, n) light of a star, 0 to 1.

    Args:
        levels: The images, for their size.
        center: (b, 2) row and column.
        lengths: (b, most) lengths of the rays in pixels.
        count: (b,) int64, number of rays; the first ones of `lengths` are used.
        power: Exponent of the falloff.
    """
    row, column = steps(levels)
    down, across = row - center[:, :1, None], column - center[:, 1:, None]
    turn = (torch.atan2(across, down) + math.pi) / (2 * math.pi) * count[:, None, None]
    first = turn.floor()
    share = turn - first
    index = first.long().flatten(1)
    near, far = (lengths.gather(1, (index + step) % count[:, None]).reshape(share.shape) for step in (0, 1))
    length = near + share * (far - near)
    falloff = length**2 / (down**2 + across**2 + 1e-4)
    if power != 1:
        falloff = falloff**power
    return ((1 - (share - 0.5) ** 2) * falloff).clamp_(0, 1)


@c_bar(density=1, interpolates=False)
def lines(levels: Levels, draws: Draws, *, density: float) -> Levels:
    """Draw grey anti-aliased lines as long as twice the side, `density` lines for each pixel of the side."""
    side, (row, column) = levels.shape[-1], steps(levels)
    angle = draws.uniform("angle", ()).double()[:, None] * (2 * math.pi)
    variation = 0.1 + 0.9 * draws.uniform("angle_variation", ()).double()[:, None]
    drawn = draws.uniform("lines", (side, 3)).double()[:, : int(density * side)]
    angles = angle + 2 * math.pi * variation * (drawn[:, :, 2] - 0.5)
    middle, reach = drawn[:, :, :2] * side, torch.stack([angles.cos(), angles.sin()], dim=2) * side
    start, end = (middle - reach).trunc()[..., None, None], (middle + reach).trunc()[..., None, None]
    length, direction = (end - start).abs(), torch.where(end < start, -1.0, 1.0)
    for line in range(drawn.shape[1]):
        down = (row - start[:, line, 0]) * direction[:, line, 0]
        across = (column - start[:, line, 1]) * direction[:, line, 1]
        tall, wide = length[:, line, 0], length[:, line, 1]
        cover = (1 - (wide * down - tall * across).abs() / torch.hypot(tall, wide)).clamp_(min=0)
        inside = (down >= 0) & (down <= tall) & (across >= 0) & (across <= wide)
        cover = torch.where(inside, cover, 0)[:, None]
        levels = ((1 - cover) * levels + cover * 128).trunc_()
    return levels
