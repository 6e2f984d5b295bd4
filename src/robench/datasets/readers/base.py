"""The interface of dataset readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robench.datasets.dataset import ImageDataset

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """A layout of files that hold labelled images.

    Attributes:
        name: Name of the layout.
        summary: Description of the layout.
        matches: Returns whether a path has the layout, by its content; raises only OSError.
        read: Lists the images without decoding any; raises DatasetError.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], ImageDataset]
