"""The published code's own draws, for corruptions that take them as an argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.draws import Draws


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

    def rows(self, chosen: slice) -> PublishedDraws:
        return PublishedDraws(self.states[chosen])


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _channels_first(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64] | NDArray[np.int64]:
    return np.moveaxis(values, -1, 0) if values.ndim == 3 else values


def _stack(values: list[NDArray[np.float64] | NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.stack(values)).float().contiguous()


@pytest.fixture(scope="session")
def published_draws() -> Callable[[Sequence[int]], Draws]:
    """Draws of images whose generators have the given seeds."""

    def make(seeds: Sequence[int]) -> Draws:
        return PublishedDraws(tuple(np.random.RandomState(seed) for seed in seeds))

    return make


@pytest.fixture(scope="session")
def published_stream() -> Callable[[int], Draws]:
    """Draws for one image at a time, all from one generator of the given seed."""

    def make(seed: int) -> Draws:
        return PublishedDraws((np.random.RandomState(seed),))

    return make
