"""Counter-based random draws, keyed by seed, sample index, scope and name of the draw.

A draw has a name instead of a position in a stream. The values of a sample therefore depend neither on the other
samples of its batch, nor on their order, the device or earlier draws.

Source: Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The tests compare it with
the known answers of the authors' Random123 library.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.transforms.device import constant
from robench.transforms.kernels import fused

__all__ = ["DRAWS_VERSION", "PHILOX", "Draws", "KeyedDraws", "compiled_philox", "philox"]

DRAWS_VERSION = 1
"""Part of every key and every protocol; must be raised if any draw changes."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
PHILOX = (*_MULTIPLIERS, *_WEYL, _ROUNDS)
"""Constants of Philox4x32-10, for fused kernels."""
_CHUNK = 40_960
"""Counters per step on a CPU, so that all ten rounds stay in a core's cache."""
_SEARCH_CHUNK = 1 << 17
"""Poisson counts per step on a CPU, for the same reason."""

Philox: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def philox(
    c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, k0: Tensor, k1: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Philox4x32-10 of the counters (c0, c1, c2, c3) under the key (k0, k1): four output words.

    All tensors hold 32-bit words as int64, and broadcast against each other. No torch operator multiplies unsigned 32-bit
    words, but the wrapped int64 product has the two halves that Philox needs. The odd words are masked once at the end. Until
    then they take part in exclusive-or only, and the masks of the even words remove their upper bits.
    """
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((p1 >> 32) ^ c1).bitwise_xor_(k0).bitwise_and_(_MASK)
        c2 = ((p0 >> 32) ^ c3).bitwise_xor_(k1).bitwise_and_(_MASK)
        c1, c3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1 & _MASK, c2, c3 & _MASK


@lru_cache(maxsize=1)
def compiled_philox() -> Philox:
    """Return `philox` through torch.compile: equal integers, many times faster; requires a compiler for the device."""
    compiled: Philox = torch.compile(philox, dynamic=True)
    return compiled


class Draws(Protocol):
    """The random draws of a batch; row i of every draw belongs to row i of the batch."""

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) float32, uniform in [0, 1)."""

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) float32, standard normal."""

    def integers(self, name: str, low: int, high: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) int64, uniform in low..high-1; `high` is one bound for all rows, or (b,) int64."""

    def int16(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) int16, uniform over all 65,536 values, at half the cost of `uniform`."""

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        """Return Poisson counts.

        Args:
            name: Name of the draw.
            rates: Expected counts.
            row: (b, ...) int64, index into `rates` for each value.

        Returns:
            float32 of the shape of `row`.
        """

    def select(self, chosen: slice) -> Draws:
        """Return the draws of a slice of the batch."""

    def scoped(self, scope: str) -> Draws:
        """Return independent draws for the same samples, for example those of one frame."""


@dataclass(frozen=True)
class KeyedDraws:
    """Draws of a batch from Philox.

    Attributes:
        seed: Seed of the run.
        index: (b,) int64, position of each sample in the dataset, on the device of the draws.
        scope: The corruption, or the perturbation and frame. Corruptions share no draws. The severities of one corruption
            do, so its severity curves are paired.
        generator: `philox`, or `compiled_philox()`, which gives equal integers.
    """

    seed: int
    index: Tensor
    scope: str
    generator: Philox = philox

    def select(self, chosen: slice) -> KeyedDraws:
        """Return the draws of a slice of the batch."""
        return replace(self, index=self.index[chosen])

    def scoped(self, scope: str) -> KeyedDraws:
        """Return independent draws for the same samples, for example those of one frame."""
        return replace(self, scope=f"{self.scope}/{scope}")

    def words(self, name: str, count: int) -> Tensor:
        """Return (b, count) int64 of independent 32-bit words, 0..2^32-1.

        The counter is (block, 0, low half of the index, high half of the index). The key is the first 64 bits of BLAKE2b of
        version, seed, scope and name. With blocks = ceil(count / 4), word j is output j // blocks of block j % blocks.
        """
        key, kernels = self._key(name), fused(self.index.device)
        if kernels is not None:
            found: Tensor = kernels.words(self.index, key, count, PHILOX)
            return found
        index = self.index[:, None]
        k0, k1 = (torch.full((1, 1), half, device=index.device) for half in key)
        blocks = torch.arange(-(-count // 4), device=index.device)[None]
        low, high, zero = index & _MASK, (index >> 32) & _MASK, torch.zeros_like(k0)
        words = torch.empty((len(index), 4, blocks.shape[1]), dtype=torch.int64, device=index.device)
        rows, columns = _chunk(len(index), blocks.shape[1], index.device)
        for top in range(0, len(index), rows):
            for left in range(0, blocks.shape[1], columns):
                part = slice(top, top + rows), slice(left, left + columns)
                outputs = self.generator(blocks[:, part[1]], zero, low[part[0]], high[part[0]], k0, k1)
                for lane, output in enumerate(outputs):
                    words[part[0], lane, part[1]] = output
        return words.flatten(1)[:, :count]

    def _key(self, name: str) -> tuple[int, int]:
        """Return the two halves of the key of a draw, 0..2^32-1."""
        digest = hashlib.blake2b(f"{DRAWS_VERSION}/{self.seed}/{self.scope}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def _fused(self, form: str, name: str, shape: tuple[int, ...], *bounds: int) -> Tensor | None:
        """Return a draw of a fused kernel; None if the eager code is to compute it."""
        kernels = fused(self.index.device)
        if kernels is None:
            return None
        values: Tensor = getattr(kernels, form)(self.index, self._key(name), math.prod(shape), PHILOX, *bounds)
        return values.reshape(-1, *shape)

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) float32, uniform over the multiples of 2^-24 in [0, 1)."""
        if (values := self._fused("uniform", name, shape)) is not None:
            return values
        return ((self.words(name, math.prod(shape)) >> 8).float() * 2.0**-24).reshape(-1, *shape)

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) float32, standard normal; the absolute value is at most 6.8.

        A pair of values takes one word for its radius and half a word for its angle, because words dominate the cost. The
        65,536 directions are indistinguishable from uniform ones.

        Source: Box and Muller 1958, "A note on the generation of random normal deviates".
        """
        if (values := self._fused("normal", name, shape)) is not None:
            return values
        count = math.prod(shape)
        pairs = -(-count // 2)
        words = self.words(name, pairs + -(-pairs // 2))
        radius = words[:, :pairs].float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = _halves(words[:, pairs:])[:, :pairs].float().add_(0.5).mul_(2 * math.pi * 2.0**-16)
        return torch.cat([angle.cos().mul_(radius), angle.sin().mul_(radius)], dim=1)[:, :count].reshape(-1, *shape)

    def integers(self, name: str, low: int, high: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) int64, uniform in low..high-1; `high` is one bound for all rows, or (b,) int64.

        high - low must be below 2^31; the bias is below (high - low) / 2^32.
        """
        if not isinstance(high, Tensor) and (values := self._fused("integers", name, shape, low, high)) is not None:
            return values
        span = high[:, None] - low if isinstance(high, Tensor) else high - low
        return (((self.words(name, math.prod(shape)) * span) >> 32) + low).reshape(-1, *shape)

    def int16(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return (b, *shape) int16, uniform over all 65,536 values; the lower half of each word comes first."""
        count = math.prod(shape)
        return _halves(self.words(name, -(-count // 2)))[:, :count].reshape(-1, *shape)

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        """Return Poisson counts; see `Draws.poisson`. One word a value, by inverting the distribution function."""
        words = (self.words(name, math.prod(row.shape[1:])) - 2**31).to(torch.int32).flatten()
        thresholds = constant(row.device, _poisson_thresholds, rates)
        size = _SEARCH_CHUNK if row.device.type == "cpu" else max(1, row.numel())
        chunks = zip(words.split(size), row.flatten().split(size), strict=True)
        return torch.cat([_bisect(words, row, thresholds) for words, row in chunks]).reshape(row.shape)


def _bisect(words: Tensor, row: Tensor, thresholds: Tensor) -> Tensor:
    """Return (n,) float32: the number of thresholds of its row below each word, by bisection."""
    width = thresholds.shape[1]
    before = row.to(torch.int32) * width - 1
    position, step = before, (width + 1) // 2
    while step:
        reached = thresholds.flatten().index_select(0, position + step) < words
        position = reached.to(torch.int32).mul_(step).add_(position)
        step //= 2
    return torch.sub(position, before).float()


def _halves(words: Tensor) -> Tensor:
    """Split (b, n) int64 words into (b, 2n) int16, the lower half of each word first."""
    halves: Tensor = words.to(torch.int32).contiguous().view(torch.int16)
    return halves


def _chunk(samples: int, blocks: int, device: torch.device) -> tuple[int, int]:
    """Return the rows and columns of counters per step."""
    if device.type != "cpu":
        return max(1, samples), max(1, blocks)
    columns = max(1, min(blocks, _CHUNK))
    return max(1, _CHUNK // columns), columns


@lru_cache(maxsize=64)
def _poisson_thresholds(rates: tuple[float, ...]) -> NDArray[np.int32]:
    """Return (rates, 2^m - 1) int32 thresholds: the count of a word is the number of thresholds of its row below it.

    Words and thresholds are reduced by 2^31. Word w represents the middle of [w, w + 1) in units of 2^-32. Its count is k if
    the distribution function at k is at most that value. Each row ends where the function passes 1 - 2^-33. The rest of the
    row is above every word. Word 0 counts as word 1, because a threshold below every word is not representable.
    """
    rate = np.asarray(rates, dtype=np.float64)[:, None]
    most = int(max(rates) + 10 * math.sqrt(max(rates)) + 30)
    counts = np.arange(most)
    log_factorial = np.array([math.lgamma(k + 1.0) for k in counts])
    log_rate = np.log(np.where(rate > 0, rate, 1))
    mass = np.where(rate > 0, np.exp(counts * log_rate - rate - log_factorial), counts == 0)
    reached = np.ceil(np.cumsum(mass, axis=1) * 2.0**32 - 0.5).astype(np.int64) - 1
    used = int((reached < _MASK).sum(axis=1).max())
    width = 2 ** max(1, used).bit_length() - 1
    table = np.full((len(rates), width), 2**31 - 1, dtype=np.int32)
    table[:, :used] = (reached[:, :used].clip(0, _MASK) - 2**31).astype(np.int32)
    table.setflags(write=False)
    return table
