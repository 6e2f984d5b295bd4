"""Noise and patterns of C-bar that are added to the image, or mixed with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.transforms.corruptions.c_bar.base import Levels, c_bar, steps
from robench.transforms.draws import Draws

__all__ = [
    "blue_noise_sample",
    "brownish_noise",
    "cocentric_sine_waves",
    "perlin_noise",
    "plasma_noise",
    "single_frequency_greyscale",
]


@c_bar(intensity=196)
def single_frequency_greyscale(levels: Levels, draws: Draws, *, intensity: float) -> Levels:
    """Add a grey sine wave of random frequency, direction and phase; `intensity` is its amplitude in grey levels."""
    row, column = steps(levels)
    drawn, phase = _uniform(draws, "freq", 2), _uniform(draws, "phase") * (2 * math.pi)
    larger = (2 * drawn[:, 0] - 1) * math.pi
    smaller = (2 * drawn[:, 1] - 1) * larger.abs()
    swapped = draws.integers("order", 0, 2, ()) == 1
    across, down = torch.where(swapped, smaller, larger), torch.where(swapped, larger, smaller)
    wave = (column * _grid(across) + row * _grid(down) + _grid(phase)).sin_()
    return levels + intensity * wave[:, None]


@c_bar(intensity=128)
def cocentric_sine_waves(levels: Levels, draws: Draws, *, intensity: float) -> Levels:
    """Add wavy grey rings around a random point, as a sawtooth of height `intensity` in grey levels."""
    side, (row, column) = levels.shape[-1], steps(levels)
    offset = _uniform(draws, "offset", 2) * side
    frequency, amplitude = _uniform(draws, "freq") * 10, _uniform(draws, "amplitude") * (side / 10)
    # A width of 0, one draw in 2^24, would divide by zero.
    width = _grid(_uniform(draws, "ring_width").clamp(min=2.0**-25) * (side / 10))
    across, down = column - _grid(offset[:, 0]), row - _grid(offset[:, 1])
    distance = (across**2 + down**2).sqrt_()
    distance += _grid(amplitude) * (_grid(frequency) * torch.atan2(across, down)).sin_()
    return levels + (intensity * (distance.remainder(width) / width - 0.5))[:, None]


@c_bar(intensity=64)
def plasma_noise(levels: Levels, draws: Draws, *, intensity: float) -> Levels:
    """Mix with coloured plasma, a sum of bent sine waves; `intensity` is its amplitude in grey levels."""
    side, (row, column) = levels.shape[-1], steps(levels)
    time = _grid(_uniform(draws, "time") * (6 * math.pi))
    iterations = _grid(draws.integers("iterations", 4, 7, ()))
    growth = 2.25 - _grid(_uniform(draws, "sharpness", low=0.5, high=1))
    scale = _grid(_uniform(draws, "scale", low=0.075, high=0.2) * side)
    across, down = (column / scale).expand(-1, side, -1), (row / scale).expand(-1, -1, side)
    frequency, delay, damping = 1.0, 1.0, torch.ones_like(growth)
    for iteration in range(6):
        first = (down * frequency + time / delay).cos_() / damping
        second = (across * frequency + time / delay).sin_() / damping
        goes_on = iteration < iterations
        across = torch.where(goes_on, across + (first - 0.3 * second), across)
        down = torch.where(goes_on, down + (second + 0.3 * first), down)
        frequency, delay, damping = frequency * 1.93, delay * 1.15, damping * growth
    channels = (across - time).sin_(), ((across + down + time.sin()) / 2).sin_(), (down + time).sin_()
    return (1 - intensity / 255) * levels + intensity * torch.stack(channels, dim=1)


@c_bar(alpha=0.5)
def perlin_noise(levels: Levels, draws: Draws, *, alpha: float) -> Levels:
    """Mix with grey Perlin turbulence of five octaves; `alpha` is its share.

    A gradient of length 0, one in 2^18, counts as 0. The published code divides it by its length and blackens its cells.
    """
    side = levels.shape[-1]
    gradients = (draws.integers("gradients", 0, 512, (256, 2)) - 256).double() / 256
    gradients = gradients / gradients.square().sum(dim=2, keepdim=True).sqrt_().clamp_(min=2.0**-10)
    # The published code swaps each entry with any of the 256, which is uniform but for a slight preference.
    permutation = draws.uniform("permutation", (256,)).argsort(dim=1, stable=True)
    positions, cell = torch.arange(side, dtype=torch.float64, device=levels.device), 32 * side / 224
    turbulence = torch.zeros((len(levels), side, side), dtype=torch.float64, device=levels.device)
    for octave in (1, 2, 4, 8, 16):
        cells = int(octave * (side - 1) / cell) + 1
        turbulence += _gradient_noise(octave * positions / cell, cells, gradients, permutation).abs_() / octave
    noise = (0.5 * turbulence + 0.5).clamp_(0, 1)[:, None]
    # The published code rounds the first term to float32.
    return (levels.float() * (1 - alpha)).double() + 255 * alpha * noise


def _gradient_noise(positions: Tensor, cells: int, gradients: Tensor, permutation: Tensor) -> Tensor:
    """Return (b, n, n) gradient noise.

    Args:
        positions: (n,) positions of the pixels down and across, in cells.
        cells: Number of cells that contain all positions.
        gradients: (b, 256, 2).
        permutation: (b, 256) int64, which gives each corner of a cell its gradient.
    """
    corners = torch.arange(cells + 1, device=positions.device) % 256
    index = permutation.gather(1, ((permutation[:, corners, None] + corners) % 256).flatten(1))
    slopes = gradients.gather(1, index[:, :, None].expand(-1, -1, 2)).reshape(-1, cells + 1, cells + 1, 2).unbind(3)
    first = positions.floor().long()
    fraction = positions - first
    smooth = fraction.square() * (3 - 2 * fraction)
    noise = torch.zeros((len(gradients), len(positions), len(positions)), dtype=torch.float64, device=positions.device)
    for down in (0, 1):
        rows = [slope.index_select(1, first + down) for slope in slopes]
        weight = (smooth if down else 1 - smooth)[:, None]
        for across in (0, 1):
            value = rows[0].index_select(2, first + across).mul_((fraction - down)[:, None])
            value += rows[1].index_select(2, first + across).mul_(fraction - across)
            noise += value.mul_(weight * (smooth if across else 1 - smooth))
    return noise.mul_(1.5)


@c_bar(offset=3)
def blue_noise_sample(levels: Levels, draws: Draws, *, offset: float) -> Levels:
    """Blacken pixels where blue noise of deviation 1 is at most `offset` - 2.5."""
    side = levels.shape[-1]
    noise = _spectrum(_uniform(draws, "phases", side, side // 2), power=1)
    return torch.where((noise > offset - 2.5)[:, None], levels, 0)


@c_bar(intensity=64)
def brownish_noise(levels: Levels, draws: Draws, *, intensity: float) -> Levels:
    """Add noise with power at low frequencies, by channel; `intensity` is its deviation in grey levels."""
    side = levels.shape[-1]
    noise = _spectrum(_uniform(draws, "phases", 3, side, side // 2).flatten(0, 1), power=-2)
    return levels + intensity * noise.reshape(levels.shape)


def _spectrum(phases: Tensor, power: int) -> Tensor:
    """Return (b, n, n) noise of deviation 1 with the amplitude d (power 1) or 1/(d^2 + 1) (power -2) at the frequency d.

    Args:
        phases: (b, n, n/2), uniform in [0, 1), of one half of the plane. The other half repeats them, so that the spectrum is
            not Hermitian, and the real part of its transform is taken.
        power: 1 or -2.
    """
    side = phases.shape[1]
    offsets = torch.arange(side, dtype=torch.float64, device=phases.device) - side / 2
    squared = offsets[:, None] ** 2 + offsets**2
    amplitude = squared.sqrt_() if power == 1 else 1 / (squared + 1)
    angle = torch.cat([phases, phases.flip(1, 2)], dim=2).mul_(2 * math.pi)
    spectrum = torch.polar(amplitude.expand_as(angle), angle).roll((side // 2, side // 2), (1, 2))
    noise: Tensor = torch.fft.ifft2(spectrum).real
    return noise / noise.std(dim=(1, 2), correction=0, keepdim=True)


def _uniform(draws: Draws, name: str, *shape: int, low: float = 0, high: float = 1) -> Tensor:
    """Return (b, *shape) float64, uniform in [low, high)."""
    return low + (high - low) * draws.uniform(name, shape).double()


def _grid(values: Tensor) -> Tensor:
    """Return (b,) values as (b, 1, 1), for planes of pixels."""
    return values[:, None, None]
