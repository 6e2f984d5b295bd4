"""What a family of architectures offers, and how an unknown name is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from robench.models.preprocessing import Preprocessing

__all__ = ["Family", "unknown_architecture"]


@dataclass(frozen=True)
class Family:
    """Architectures of one origin; every function raises CheckpointError for a name it does not know.

    build: (name, number of classes or None for the default) -> untrained module and its preprocessing.
    pretrained: name, perhaps with weights -> module with published weights and its preprocessing.
    names: all architectures, sorted.
    """

    build: Callable[[str, int | None], tuple[nn.Module, Preprocessing]]
    pretrained: Callable[[str], tuple[nn.Module, Preprocessing]]
    names: Callable[[], list[str]]


def unknown_architecture(family: str, name: str, names: Iterable[str]) -> str:
    """One line that says `name` is not in `family` and suggests the nearest; the whole list can be long."""
    near = get_close_matches(name, list(names), n=3)
    suggestion = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {family} architecture {name!r}{suggestion} (see `robench list models`)"
