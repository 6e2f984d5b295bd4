"""Fingerprints of networks: names and shapes of tensors, without values and number of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from torch import Tensor

from robench.models.checkpoints.differences import is_counter
from robench.types import Floats

__all__ = ["Fingerprint", "fingerprint", "similarity"]

_BINS = 64


@dataclass(frozen=True)
class Fingerprint:
    """Names and shapes of tensors without the leading dimension, which is the number of classes in the last layer.

    Attributes:
        structure: 16 hexadecimal digits, equal for equal names and trailing shapes.
        sketch: 64 bytes, 0 for an empty bin. The share of bytes that two sketches have in common estimates the share of
            their tensors.
    """

    structure: str
    sketch: bytes


def fingerprint(state: Mapping[str, Tensor]) -> Fingerprint:
    """Return the fingerprint of a state dict; counters of batches play no role."""
    names = sorted(key for key in state if not is_counter(key))
    tensors = [f"{name} {tuple(state[name].shape[1:])}" for name in names]
    structure = blake2b(_encode("\n".join(tensors)), digest_size=8).hexdigest()
    # The names alone make networks of different widths similar.
    return Fingerprint(structure, _sketch([*names, *tensors]))


def similarity(network: Fingerprint, others: Sequence[Fingerprint]) -> Floats:
    """Return (n,) estimated shares, 0 to 1, of the names and shapes that a network shares with each of n others."""
    own = np.frombuffer(network.sketch, np.uint8)
    sketches = np.frombuffer(b"".join(other.sketch for other in others), np.uint8).reshape(-1, _BINS)
    used = (own > 0) | (sketches > 0)
    share: Floats = ((own == sketches) & used).sum(1) / np.maximum(used.sum(1), 1)
    return share


def _sketch(features: Iterable[str]) -> bytes:
    """Hash by one-permutation minwise hashing (arXiv:1208.1259) with eight bits a bin (arXiv:0910.3349)."""
    minima: dict[int, int] = {}
    for feature in features:
        value, index = divmod(int.from_bytes(blake2b(_encode(feature), digest_size=8).digest(), "big"), _BINS)
        minima[index] = min(value, minima.get(index, value))
    return bytes(1 + minima[index] % 255 if index in minima else 0 for index in range(_BINS))


def _encode(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a file may hold names that UTF-8 cannot encode
