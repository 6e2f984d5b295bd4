"""Changes of predictions along a sequence of frames: flip rate and top-5 distance (arXiv:1903.12261, section 4).

Frames that are independent draws are compared with frame 0, others with the frame `step` before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.types import Floats

__all__ = ["flip_rate", "fr", "mfr", "mt5d", "t5d"]

_TOP = 5


def flip_rate(pred: ArrayLike, *, independent: bool = False, step: int = 1) -> Floats:
    """Return the share of pairs of frames with different predictions by sample: (frames, n) to (n,)."""
    first, second = _pairs(np.asarray(pred), independent, step)
    return np.asarray((first != second).mean(axis=0, dtype=np.float64))


def t5d(top5: ArrayLike, *, independent: bool = False, step: int = 1) -> Floats:
    """Return the mean T5D of the pairs of frames by sample, 0..15.

    T5D sums |(k - 1) - min(rank in the second frame - 1, 5)| over the classes k = 1..5 of the first frame.

    Args:
        top5: The k most probable classes, best first, (frames, n, k). k is 5, or less if there are fewer classes.
        independent: Whether to compare frames with frame 0.
        step: Distance of the compared frames.

    Returns:
        Distances, (n,).
    """
    first, second = _pairs(np.asarray(top5), independent, step)
    total = np.zeros(first.shape[:2], np.int64)
    for position in range(first.shape[-1]):
        same = second == first[..., position, None]
        rank = np.where(same.any(axis=-1), same.argmax(axis=-1), _TOP)
        total += np.abs(position - rank)
    return np.asarray(total.mean(axis=0, dtype=np.float64))


def fr(flip_rates: ArrayLike, baseline: float) -> Floats:
    """Return flip rates (...), divided by the baseline's, which is not 0, in percent."""
    return np.asarray(100 * (np.asarray(flip_rates, np.float64) / baseline))


def mfr(flip_rates: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return the mean of fr over `flip_rates` (..., perturbations), with the `baseline` (perturbations,)."""
    return np.asarray((100 * (np.asarray(flip_rates, np.float64) / np.asarray(baseline))).mean(axis=-1))


def mt5d(t5ds: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return the mean over the perturbations of T5D, divided by the baseline's, in percent. Shapes are as in `mfr`."""
    return mfr(t5ds, baseline)


def _pairs(frames: NDArray[np.int64], independent: bool, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if independent:
        return np.broadcast_to(frames[:1], frames[1:].shape), frames[1:]
    return frames[:-step], frames[step:]
