"""What is left of a network's weights without their values and the number of classes: to find it again, or its like."""

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
    """Names and shapes of tensors without the leading dimension: in the last layer, that is the number of classes.

    structure: 16 hexadecimal digits, equal for equal names and trailing shapes.
    sketch: 64 bytes, 0 for an empty bin; of two networks, about that share of bytes is equal which their tensors share.
    """

    structure: str
    sketch: bytes


def fingerprint(state: Mapping[str, Tensor]) -> Fingerprint:
    """Return the fingerprint of a state dict, with or without the counters of batches."""
    names = sorted(key for key in state if not is_counter(key))
    tensors = [f"{name} {tuple(state[name].shape[1:])}" for name in names]
    structure = blake2b(_encoded("\n".join(tensors)), digest_size=8).hexdigest()
    # A name alone counts too, so that a network of another width is still like this one.
    return Fingerprint(structure, _sketch([*names, *tensors]))


def similarity(one: Fingerprint, others: Sequence[Fingerprint]) -> Floats:
    """(n,) shares, 0 to 1, of names and shapes that one network has in common with each of n others; estimates."""
    own = np.frombuffer(one.sketch, np.uint8)
    many = np.frombuffer(b"".join(other.sketch for other in others), np.uint8).reshape(-1, _BINS)
    used = (own > 0) | (many > 0)
    share: Floats = ((own == many) & used).sum(1) / np.maximum(used.sum(1), 1)
    return share


def _sketch(features: Iterable[str]) -> bytes:
    """One-permutation minwise hashing (arXiv:1208.1259), of which eight bits are kept (arXiv:0910.3349)."""
    least: dict[int, int] = {}
    for feature in features:
        value, place = divmod(int.from_bytes(blake2b(_encoded(feature), digest_size=8).digest(), "big"), _BINS)
        least[place] = min(value, least.get(place, value))
    return bytes(1 + least[place] % 255 if place in least else 0 for place in range(_BINS))


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a file may hold names that no encoding knows
