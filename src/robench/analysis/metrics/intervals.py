"""Intervals: keyed bootstrap counts, percentile and Wilson intervals, all at 95 %."""

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

__all__ = ["LEVEL", "QUANTILE", "RESAMPLES", "percentile_interval", "resample_counts", "split_half", "wilson_interval"]

LEVEL = 0.95
QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Standard errors from the middle of a normal interval to its ends: 1.96."""

RESAMPLES = 1000

_BLOCK = 2_000_000
"""Counts in one block: 8 MB, and some times that while it is used."""
_KEPT = 64_000_000
"""Most counts that are kept for the next who asks for the same."""
_CACHED = 100_000
"""Counts that are made together: they are written all over, which a processor's cache does several times as fast."""


def resample_counts(
    n: int, seed: int, resamples: int = RESAMPLES, *, scope: str = "bootstrap"
) -> Iterator[NDArray[np.int32]]:
    """Yield blocks (r, n) of bootstrap counts, `resamples` rows in all: how often each of n samples is drawn, n draws a row.

    Draw i of all is number i of the raw 64-bit stream of Philox4x64-10, counter from 0, keyed by the first 128 bits
    (little-endian) of BLAKE2b("<seed>:<scope>"); it takes sample floor(h * n / 2**32), where h is the number's upper 32
    bits. Generator's methods may change between numpy versions; a bit generator's raw stream does not. n < 2**32.
    """
    if n * resamples > _KEPT:
        yield from _drawn(n, seed, resamples, scope)
        return
    for counts in _kept(n, seed, resamples, scope):
        yield counts.astype(np.int32)


@lru_cache(maxsize=2)
def _kept(n: int, seed: int, resamples: int, scope: str) -> list[NDArray[Any]]:
    """All blocks in the smallest type that holds them: the two sides of a comparison take the same ones."""
    return [counts.astype(np.min_scalar_type(counts.max())) for counts in _drawn(n, seed, resamples, scope)]


def _drawn(n: int, seed: int, resamples: int, scope: str) -> Iterator[NDArray[np.int32]]:
    stream = _stream(seed, scope)
    step, together = max(1, _BLOCK // n), max(1, _CACHED // n)
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
    """Return which samples (n,) are of the first half of a keyed split; of an odd number it has one less.

    index: (n,) positions in the dataset. Each draws its place by its position, as `resample_counts` draws, under the scope
    "halves": neither the order in which the samples stand nor their classes play a part.
    """
    at = np.asarray(index, np.int64)
    place = _stream(seed, "halves").random_raw(int(at.max(initial=-1)) + 1)[at]
    first = np.zeros(len(at), bool)
    first[np.lexsort((at, place))[: len(at) // 2]] = True
    return first


def _stream(seed: int, scope: str) -> np.random.Philox:
    return np.random.Philox(
        key=int.from_bytes(hashlib.blake2b(f"{seed}:{scope}".encode(), digest_size=16).digest(), "little")
    )


def percentile_interval(distribution: ArrayLike) -> tuple[Floats, Floats]:
    """Return the 2.5 % and 97.5 % points of `distribution` (..., resamples), linear between its values.

    Resamples in which the figure does not exist (NaN) are left out.
    """
    values = np.sort(np.asarray(distribution, np.float64), axis=-1)  # NaN come last
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=-1) - 1, 0)

    def point(q: float) -> Floats:
        place = q * last
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, last)
        below, above = (np.take_along_axis(values, at[..., None], axis=-1)[..., 0] for at in (low, high))
        return np.asarray(below + (place - low) * (above - below))

    return point((1 - LEVEL) / 2), point((1 + LEVEL) / 2)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of the rate k/n: it has a width where k is 0 or n."""
    z = QUANTILE
    rate, share = k / n, z * z / n
    centre = (rate + share / 2) / (1 + share)
    half = z / (1 + share) * math.sqrt(rate * (1 - rate) / n + share / (4 * n))
    # At the ends the bound is the rate itself; the sum above only comes within rounding of it.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
