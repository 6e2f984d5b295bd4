"""Pixels of the published code, and the code's own draws for corruptions that take them as an argument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.suites.imagenet_c import CORRUPTIONS as PUBLISHED
from robench.suites.imagenet_c import EXTRA
from robench.transforms.corruptions import find_corruption
from robench.transforms.resize import to_float
from robench.types import Images

NAMES = (*PUBLISHED, *EXTRA)
"""In the order of the golden files' seeds."""

FILES = {
    "imagenet-c": ("224", (1, 3, 5)),
    "imagenet-c-299": ("299", (1, 3, 5)),
    "tiny-imagenet-c": ("64", (1, 2, 3, 4, 5)),
    "cifar10-c": ("32", (1, 2, 3, 4, 5)),
    "imagecorruptions": ("imagecorruptions", (1, 3, 5)),
}
"""Golden file: its constants, and the severities it has."""

EQUAL = ("motion_blur", "frost", "pixelate", "jpeg_compression")
LOOSE = ("snow", "elastic_transform", "spatter")
CLOSE = tuple(name for name in NAMES if name not in (*EQUAL, *LOOSE, "impulse_noise"))
PACKAGED = ("motion_blur", "frost")
"""Equal in the published variants; the package's own are sums of floats, and OpenCV's, whose order ours is not."""


@dataclass(frozen=True)
class PublishedDraws:
    """Draws from NumPy's legacy generator in the published code's order: one image after another, rows, columns, channels.

    states: one generator a sample. A draw's name does not count here, its place in the stream does.
    """

    states: tuple[np.random.RandomState, ...]

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return _stack([_channels_first(state.random_sample(_channels_last(shape))) for state in self.states])

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return _stack([_channels_first(state.normal(size=_channels_last(shape))) for state in self.states])

    def integers(self, name: str, low: int, high: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        highs = high.tolist() if isinstance(high, Tensor) else [high] * len(self.states)
        drawn = [state.randint(low, one, shape, dtype=np.int64) for state, one in zip(self.states, highs, strict=True)]
        return torch.from_numpy(np.stack(drawn))

    def int16(self, name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = [state.randint(-(2**15), 2**15, math.prod(shape)).reshape(shape) for state in self.states]
        return torch.from_numpy(np.stack(drawn).astype(np.int16))

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        mean = np.array(rates)[np.moveaxis(row.numpy(), 1, -1)]
        drawn = [state.poisson(one) for state, one in zip(self.states, mean, strict=True)]
        return _stack([_channels_first(one) for one in drawn])

    def select(self, chosen: slice) -> PublishedDraws:
        return replace(self, states=self.states[chosen])

    def scoped(self, scope: str) -> PublishedDraws:
        return self


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _channels_first(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64] | NDArray[np.int64]:
    return np.moveaxis(values, -1, 0) if values.ndim == 3 else values


def _stack(values: list[NDArray[np.float64] | NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.stack(values)).float().contiguous()


def published_draws(seeds: Sequence[int]) -> PublishedDraws:
    """Draws of images whose generators have the given seeds."""
    return PublishedDraws(tuple(np.random.RandomState(seed) for seed in seeds))


def pixels(golden: Path, file: str, key: str) -> Images:
    with np.load(golden / f"{file}.npz") as arrays:
        return torch.from_numpy(arrays[key]).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Cell:
    """One corruption and severity of a golden file.

    images, expected: what went in, and the golden bytes.  ours: bytes from the same draws.
    values: ours before truncation, 0..255, as bytes where the corruption returns bytes.
    """

    images: Images
    expected: Images
    ours: Images
    values: Tensor

    @property
    def difference(self) -> Tensor:
        """Absolute difference of the bytes, float64."""
        return (self.ours.int() - self.expected.int()).abs().double()

    @property
    def outside(self) -> float:
        """Share of values before truncation that are not in [g, g + 1) of the golden byte g."""
        inside = (self.values >= self.expected - 0.002) & (self.values < self.expected + 1.002)
        return 1 - inside.double().mean().item()


def golden_cell(name: str, file: str, severity: int, golden: Path) -> Cell:
    images, expected = pixels(golden, file, "inputs"), pixels(golden, file, f"{name}/{severity}")
    constants = FILES[file][0]
    corruption = find_corruption(name, constants)
    level = corruption.params(constants, severity)
    seeds = [100_000 * NAMES.index(name) + 1000 * severity + position for position in range(len(images))]
    ours = values = corruption(images, published_draws(seeds), level)
    if corruption.values == "float":
        values = corruption.kernel(to_float(images), published_draws(seeds), **level).clamp(0, 1) * 255
    return Cell(images, expected, ours, values)


def impulse_deviation(images: Images, result: Images, amount: float) -> tuple[float, bool]:
    """Return the larger deviation of the shares of pepper and salt from `amount` / 2, in binomial standard deviations,
    and whether everything else is untouched. Values that are 0 or 255 already say nothing and are left out.
    """
    open_values = (images > 0) & (images < 255)
    half, count = amount / 2, int(open_values.sum())
    deviations = [
        abs(int(((result == extreme) & open_values).sum()) - count * half) / (count * half * (1 - half)) ** 0.5
        for extreme in (0, 255)
    ]
    touched = (result == 0) | (result == 255)
    return max(deviations), torch.equal(result[~touched], images[~touched])
