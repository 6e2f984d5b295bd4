"""Accuracy along an axis: consistency of neighbours, area under a curve, strength at which it is halved."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from robench.types import Floats

__all__ = ["accuracy_auc", "consistency", "half_accuracy_strength"]


def consistency(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the share of pairs with the same prediction by sample: (pairs, n) twice to (n,). Source: arXiv:1904.11486."""
    return np.asarray(np.equal(first, second).mean(axis=0, dtype=np.float64))


def accuracy_auc(strengths: ArrayLike, accuracy: ArrayLike) -> Floats:
    """Return the area under accuracy (..., k) over ascending strengths (k,), by trapezoids, divided by their span."""
    axis, curve = np.asarray(strengths, np.float64), np.asarray(accuracy, np.float64)
    area = ((curve[..., 1:] + curve[..., :-1]) * np.diff(axis)).sum(axis=-1) / 2
    return np.asarray(area / (axis[-1] - axis[0]))


def half_accuracy_strength(strengths: ArrayLike, accuracy: ArrayLike) -> Floats:
    """Return the distance from the clean images at which accuracy first falls to half of theirs.

    Args:
        strengths: Strengths from that of the clean images on, ascending or descending, (k,).
        accuracy: Accuracy at the strengths, (..., k), linear between them.

    Returns:
        Distances, (...); NaN if accuracy never falls to half.
    """
    axis, curve = np.asarray(strengths, np.float64), np.asarray(accuracy, np.float64)
    half = curve[..., :1] / 2
    below = curve <= half
    at = np.maximum(below.argmax(axis=-1), 1)[..., None]
    after, before = np.take_along_axis(curve, at, -1), np.take_along_axis(curve, at - 1, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (before - half) / (before - after)
    crossing = axis[at - 1] + share * (axis[at] - axis[at - 1])
    distance = np.abs(crossing[..., 0] - axis[0])
    return np.asarray(np.where(below.any(axis=-1) & (curve[..., 0] > 0), distance, np.nan))
