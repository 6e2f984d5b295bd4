"""Which samples a method sees together: a keyed permutation of every condition's own, cut into equal parts."""

from __future__ import annotations

import numpy as np
import torch

from robench.suites import Condition
from robench.transforms.draws import KeyedDraws
from robench.types import Ints

__all__ = ["STATISTICS_BATCH", "equal_parts", "sample_order"]

STATISTICS_BATCH = 128
"""Most images that statistics are estimated on at once. Part of the methods: a layer sees what the batch's own made of it."""


def sample_order(index: Ints, condition: Condition, seed: int) -> Ints:
    """Return a permutation of 0..m-1 for the samples at `index` (m,) of the dataset, keyed by seed, suite, corruption and severity.

    Each sample draws its place by its own index, so that two samples keep their order whatever else is evaluated.
    """
    scope = f"order/{condition.suite}/{condition.corruption}/{condition.severity}"
    keys = KeyedDraws(seed, torch.from_numpy(np.ascontiguousarray(index)), scope).words("place", 2).numpy()
    return np.lexsort((index, keys[:, 1], keys[:, 0]))


def equal_parts(order: Ints, most: int) -> list[Ints]:
    """Cut an order into parts of at most `most`, whose sizes differ by at most one."""
    return np.array_split(order, -(-len(order) // most)) if len(order) else []
