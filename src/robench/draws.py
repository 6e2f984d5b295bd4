"""Counter-based random draws, keyed by (seed, sample index, scope, name of the draw).

A draw has a name, not a place in a stream: the values of one sample never depend on which other samples are in its
batch, on the order, on the device or on what was drawn before. The generator is Philox4x32-10 (Salmon et al., 2011,
"Parallel random numbers: as easy as 1, 2, 3"), checked against the known answers of its authors' Random123 library.
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
from torch import Tensor

from robench.types import Ints

__all__ = ["DRAWS_VERSION", "Draws", "KeyedDraws", "compiled_philox", "philox"]

DRAWS_VERSION = 1
"""Part of every key and every protocol: raised whenever any draw would change."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_CHUNK = 16_384
"""Counters computed at once on a CPU, so that the ten rounds stay in a core's own cache."""

Philox: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def philox(c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, k0: Tensor, k1: Tensor) -> Tensor:
    """Philox4x32-10 of counters (c0, c1, c2, c3) under the key (k0, k1).

    All arguments are int64 tensors that hold 32-bit words and broadcast against each other; the result has their common
    shape with a leading axis of four output words. int64 because torch multiplies unsigned 32-bit words nowhere: the
    64-bit product wraps, and its two halves are what Philox needs. The odd words are masked once, at the end: until
    then they only take part in exclusive-or, whose upper bits are masked with the even words'.
    """
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = ((p1 >> 32) ^ c1 ^ k0) & _MASK, ((p0 >> 32) ^ c3 ^ k1) & _MASK
        c1, c3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack(torch.broadcast_tensors(c0, c1 & _MASK, c2, c3 & _MASK))


@lru_cache(maxsize=1)
def compiled_philox() -> Philox:
    """Return `philox` through torch.compile: the same integers, many times faster; needs a compiler for the device."""
    compiled: Philox = torch.compile(philox, dynamic=False)
    return compiled


class Draws(Protocol):
    """What a corruption may draw; row i of every draw belongs to row i of its batch."""

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) float32, uniform in [0, 1)."""

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) float32, standard normal."""

    def integers(self, name: str, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) int64, uniform in low..high-1."""

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        """Poisson counts, float32 of the shape of `row`: (b, ...) int64, which of the `rates` applies to each value."""

    def rows(self, chosen: slice) -> Draws:
        """Return the draws of some of the batch's rows."""


@dataclass(frozen=True)
class KeyedDraws:
    """Draws of a batch from Philox.

    seed: of the run.  index: (b,) int64, position of each sample in the dataset, on the device of the draws.
    scope: the corruption (and frame): no two corruptions share draws; severities do, so severity curves are paired.
    generator: `philox`, or `compiled_philox()`, which gives the same integers.
    """

    seed: int
    index: Tensor
    scope: str
    generator: Philox = philox

    def rows(self, chosen: slice) -> KeyedDraws:
        """Return the draws of some of the batch's rows."""
        return replace(self, index=self.index[chosen])

    def words(self, name: str, count: int) -> Tensor:
        """(b, count) int64 of independent 32-bit words, 0..2^32-1.

        The counter is (block, 0, low and high half of the sample's index); the key is the first 64 bits of BLAKE2b of
        version, seed, scope and name. Word j is output j // blocks of block j % blocks, blocks = ceil(count / 4).
        """
        digest = hashlib.blake2b(f"{DRAWS_VERSION}/{self.seed}/{self.scope}/{name}".encode(), digest_size=8).digest()
        index = self.index[:, None]
        keys = torch.full((2, 1, 1), 0, dtype=torch.int64, device=index.device)
        keys[0].fill_(int.from_bytes(digest[:4], "little"))
        keys[1].fill_(int.from_bytes(digest[4:], "little"))
        blocks = torch.arange(-(-count // 4), device=index.device)[None]
        low, high, zero = index & _MASK, (index >> 32) & _MASK, torch.zeros_like(blocks[:, :1])
        rows, columns = _chunk(len(index), blocks.shape[1], index.device)
        parts = [
            torch.cat([self.generator(b, zero, lo, hi, keys[0], keys[1]) for b in blocks.split(columns, dim=1)], dim=2)
            for lo, hi in zip(low.split(rows), high.split(rows), strict=True)
        ]
        words = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return words.transpose(0, 1).reshape(len(index), -1)[:, :count]

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) float32, uniform over the multiples of 2^-24 in [0, 1)."""
        return ((self.words(name, math.prod(shape)) >> 8).float() * 2.0**-24).reshape(-1, *shape)

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) float32, standard normal by Box and Muller's transform; at most 6.8 in size."""
        count = math.prod(shape)
        pairs = -(-count // 2)
        radius, angle = self.words(name, 2 * pairs).float().split(pairs, dim=1)
        radius = radius.add(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = angle.mul(2 * math.pi * 2.0**-32)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count].reshape(-1, *shape)

    def integers(self, name: str, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        """(b, *shape) int64, uniform in low..high-1, for high - low below 2^31 (bias below (high - low) / 2^32)."""
        return (low + ((self.words(name, math.prod(shape)) * (high - low)) >> 32)).reshape(-1, *shape)

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        """Poisson counts, float32 of the shape of `row`, by inverting the distribution function with one word a value.

        rates: the rates that occur.  row: (b, ...) int64, which of them applies to each value.
        """
        words = self.words(name, math.prod(row.shape[1:])).reshape(row.shape)
        table = _poisson_thresholds(rates)
        width = table.shape[1]
        thresholds = torch.tensor(table, device=row.device).flatten()
        first = row * width - 1
        count = torch.zeros_like(row)
        step = (width + 1) // 2
        while step:
            count += (thresholds.take(first + count + step) <= words) * step
            step //= 2
        return count.float()


def _chunk(samples: int, blocks: int, device: torch.device) -> tuple[int, int]:
    """Rows and columns of counters that are computed at once."""
    if device.type != "cpu":
        return samples, blocks
    columns = min(blocks, _CHUNK)
    return max(1, _CHUNK // columns), columns


@lru_cache(maxsize=64)
def _poisson_thresholds(rates: tuple[float, ...]) -> Ints:
    """(rates, 2^m - 1) int64: how many of a row's thresholds a word reaches is the Poisson count of that word.

    Threshold k is the distribution function at k, in units of 2^-32 and half a unit down, because word w stands for the
    middle of [w, w + 1); the rows end where the function passes 1 - 2^-33, and are filled with what no word reaches.
    """
    rate = np.asarray(rates, dtype=np.float64)[:, None]
    most = int(max(rates) + 10 * math.sqrt(max(rates)) + 30)
    counts = np.arange(most)
    log_factorial = np.array([math.lgamma(k + 1.0) for k in counts])
    log_rate = np.log(np.where(rate > 0, rate, 1))
    mass = np.where(rate > 0, np.exp(counts * log_rate - rate - log_factorial), counts == 0)
    thresholds = np.ceil(np.cumsum(mass, axis=1) * 2.0**32 - 0.5).astype(np.int64)
    used = int((thresholds <= _MASK).sum(axis=1).max())
    width = 2 ** max(1, used).bit_length() - 1
    table = np.full((len(rates), width), 1 << 33, dtype=np.int64)
    table[:, :used] = np.where(thresholds[:, :used] <= _MASK, thresholds[:, :used], 1 << 33)
    table.setflags(write=False)
    return table
