"""Families of architectures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from robench.errors import CheckpointError
from robench.models.preprocessing import Preprocessing

__all__ = ["Family", "unknown_architecture"]

_WORD = re.compile("[A-Za-z]{3,}")


@dataclass(frozen=True)
class Family:
    """Architectures of one origin; every function raises CheckpointError for an unknown name.

    Attributes:
        build: Function of a name and a number of classes, None for the default, and of keyword arguments if the networks take
            any. It returns the untrained module and its preprocessing.
        pretrained: Function of a name, which may choose weights, and of the same keyword arguments. It returns the module with
            published weights and its preprocessing.
        names: Function that returns the names of all architectures, sorted.
    """

    build: Callable[..., tuple[nn.Module, Preprocessing]]
    pretrained: Callable[..., tuple[nn.Module, Preprocessing]]
    names: Callable[[], list[str]]


def unknown_architecture(family: str, name: str, names: Iterable[str]) -> CheckpointError:
    """Return the error for a name that is not in `family`; its hint suggests the nearest names."""
    known = list(names)
    near = get_close_matches(name, known, n=3)
    guess = f"did you mean {' or '.join(map(repr, near))}? See" if near else "see"
    words = [name, *_WORD.findall(" ".join((name, *near[:1])))]
    word = next((word for word in words if any(word in other for other in known)), "")
    return CheckpointError(
        f"unknown {family} architecture {name!r}", f"{guess} `{f'robench list models {family} {word}'.strip()}`"
    )
