"""What a family of architectures offers, and how an unknown name is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from robench.models.classifier import Preprocessing

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Family", "one_line", "unknown_architecture"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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


def one_line(error: Exception) -> str:
    """Return the text of a library's error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
