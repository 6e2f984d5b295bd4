"""95 % intervals: keyed bootstrap counts, percentile, basic and Wilson intervals."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = [
    "LEVEL",
    "QUANTILE",
    "RESAMPLES",
    "bootstrap_interval",
    "percentile_interval",
    "resample_counts",
    "split_half",
    "wilson_interval",
]

LEVEL = 0.95
QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Half the width of a normal interval in standard errors: 1.96."""

RESAMPLES = 1000

_BLOCK = 2_000_000
"""Counts in one block: 8 MB, and a multiple of that in use."""
_CACHED = 64_000_000
"""Most counts that are cached for the next call with the same arguments."""
_DRAWN_TOGETHER = 100_000
"""Counts that are drawn together. They are written in random order, which is several times as fast in the processor's cache."""


def resample_counts(
    n: int, seed: int, resamples: int = RESAMPLES, *, scope: str = "bootstrap"
) -> Iterator[NDArray[np.int32]]:
    """Yield blocks (r, n) of bootstrap counts, the number of times that each of `n` samples is drawn in `n` draws.

    Draw i of all rows is number i of the raw 64-bit stream of Philox4x64-10 with counter 0. Its key is the first 128 bits
    (little-endian) of BLAKE2b("<seed>:<scope>"). The draw takes sample floor(h * n / 2**32), where h is the upper 32 bits.
    The methods of numpy's Generator may change between versions; the raw stream of a bit generator does not.

    Args:
        n: Number of samples, below 2**32.
        seed: Seed of the draws.
        resamples: Number of rows in all blocks.
        scope: Purpose of the draws; different scopes are independent.
    """
    if n * resamples > _CACHED:
        yield from _drawn(n, seed, resamples, scope)
        return
    for counts in _cached(n, seed, resamples, scope):
        yield counts.astype(np.int32)


@lru_cache(maxsize=2)
def _cached(n: int, seed: int, resamples: int, scope: str) -> list[NDArray[Any]]:
    """Return all blocks in the smallest type that holds them. Both runs of a comparison use the same blocks."""
    return [counts.astype(np.min_scalar_type(counts.max())) for counts in _drawn(n, seed, resamples, scope)]


def _drawn(n: int, seed: int, resamples: int, scope: str) -> Iterator[NDArray[np.int32]]:
    stream = _stream(seed, scope)
    step, together = max(1, _BLOCK // n), max(1, _DRAWN_TOGETHER // n)
    for start in range(0, resamples, step):
        counts = np.empty((min(step, resamples - start), n), np.int32)
        for first in range(0, len(counts), together):
            part = counts[first : first + together]
            raw = stream.random_raw(part.size)
            raw >>= np.uint64(32)
            raw *= np.uint64(n)
            raw >>= np.uint64(32)
            sample = raw.view(np.int64)
            sample.reshape(part.shape)[...] += n * np.arange(len(part))[:, None]
            part[...] = np.bincount(sample, minlength=part.size).reshape(part.shape)
        yield counts


def split_half(index: ArrayLike, seed: int) -> NDArray[np.bool_]:
    """Return which samples (n,) belong to the first half of a keyed split. Of an odd number, it has one less than the second.

    The split depends neither on the order nor on the classes of the samples. Each position draws a number from the stream of
    `resample_counts` with the scope "halves", and the smaller half of the numbers comes first.

    Args:
        index: Positions in the dataset, (n,).
        seed: Seed of the draws.
    """
    positions = np.asarray(index, np.int64)
    numbers = _stream(seed, "halves").random_raw(int(positions.max(initial=-1)) + 1)[positions]
    first = np.zeros(len(positions), bool)
    first[np.lexsort((positions, numbers))[: len(positions) // 2]] = True
    return first


def _stream(seed: int, scope: str) -> np.random.Philox:
    return np.random.Philox(
        key=int.from_bytes(hashlib.blake2b(f"{seed}:{scope}".encode(), digest_size=16).digest(), "little")
    )


def percentile_interval(distribution: ArrayLike) -> tuple[Floats, Floats]:
    """Return the 2.5 % and 97.5 % quantiles of `distribution` (..., resamples), linear between its values.

    Resamples in which the value does not exist (NaN) do not count.
    """
    values = np.sort(np.asarray(distribution, np.float64), axis=-1)  # NaN come last
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=-1) - 1, 0)

    def quantile(q: float) -> Floats:
        rank = q * last
        low = np.floor(rank).astype(np.int64)
        high = np.minimum(low + 1, last)
        below, above = (np.take_along_axis(values, index[..., None], axis=-1)[..., 0] for index in (low, high))
        return np.asarray(below + (rank - low) * (above - below))

    return quantile((1 - LEVEL) / 2), quantile((1 + LEVEL) / 2)


def bootstrap_interval(distribution: ArrayLike, *, basic: bool = False) -> tuple[Floats, Floats]:
    """Return an interval that holds the value itself.

    The basic interval reflects the percentiles of the resamples at the value: 2 * value - percentile. It thereby takes back a
    bias that resampling repeats. An interval that ends before the value, which happens with few images, is extended to it.
    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 5.2.

    Args:
        distribution: Value and resamples, (..., 1 + resamples).
        basic: Whether to reflect the percentiles.
    """
    values = np.asarray(distribution, np.float64)
    value, (low, high) = values[..., 0], percentile_interval(values[..., 1:])
    if basic:
        low, high = 2 * value - high, 2 * value - low
    return np.minimum(low, value), np.maximum(high, value)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of the rate k/n. It has a width even if k is 0 or n."""
    z = QUANTILE
    rate, share = k / n, z * z / n
    centre = (rate + share / 2) / (1 + share)
    half = z / (1 + share) * math.sqrt(rate * (1 - rate) / n + share / (4 * n))
    # At 0 and 1 the bound is the rate itself, which the sum above only approximates.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
