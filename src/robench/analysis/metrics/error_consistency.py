"""Error consistency: agreement of two decision makers on which images are right, beyond that of chance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robench.types import Floats

__all__ = ["Agreement", "error_consistency"]


class Agreement(NamedTuple):
    """Agreement of two decision makers in several conditions, (r, k) each.

    Attributes:
        observed: Share of images on which both are right or both are wrong.
        expected: The same share for independent decision makers of the same accuracies.
        kappa: (observed - expected) / (1 - expected); 1 if they agree on every image.
    """

    observed: Floats
    expected: Floats
    kappa: Floats


def error_consistency(first: NDArray[np.bool_], second: NDArray[np.bool_], counts: NDArray[np.int32]) -> Agreement:
    """Compare the right decisions of two decision makers on the same images.

    Args:
        first: Whether the first one is right, (n, k).
        second: Whether the second one is right, (n, k).
        counts: Number of times that each image is taken, (r, n).
    """
    # Sums of whole numbers that the type holds are exact.
    exact: Any = np.float32 if len(first) < 2**24 else np.float64
    table = np.concatenate([first, second, first == second], axis=1)
    rates = (counts.astype(exact) @ table.astype(exact)).astype(np.float64) / counts.sum(axis=1, keepdims=True)
    p, q, observed = np.split(rates, 3, axis=1)
    expected = p * q + (1 - p) * (1 - q)
    kappa = np.divide(observed - expected, 1 - expected, out=np.ones(observed.shape), where=observed < 1)
    return Agreement(observed, expected, kappa)
