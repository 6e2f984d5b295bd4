"""Test batches: a keyed permutation of a condition's samples, in equal parts."""

from __future__ import annotations

import numpy as np
import torch

from robench.suites import Condition
from robench.transforms.draws import KeyedDraws
from robench.types import Ints

__all__ = ["STATISTICS_BATCH", "equal_parts", "sample_order"]

STATISTICS_BATCH = 128
"""Largest batch for the estimation of statistics. It is part of the methods, because each layer sees maps normalised by batch."""


def sample_order(index: Ints, condition: Condition, seed: int) -> Ints:
    """Return a keyed permutation of the samples of a condition.

    Each sample draws its rank by its own index, so the order of two samples is independent of the other samples.

    Args:
        index: (m,) positions of the samples in the dataset.
        condition: Its suite, corruption and severity are part of the key.
        seed: Seed of the run.

    Returns:
        (m,) a permutation of 0..m-1.
    """
    scope = f"order/{condition.suite}/{condition.corruption}/{condition.severity}"
    keys = KeyedDraws(seed, torch.from_numpy(np.ascontiguousarray(index)), scope).words("place", 2).numpy()
    return np.lexsort((index, keys[:, 1], keys[:, 0]))


def equal_parts(order: Ints, limit: int) -> list[Ints]:
    """Split an order into parts of at most `limit`, whose sizes differ by at most one."""
    return np.array_split(order, -(-len(order) // limit)) if len(order) else []
