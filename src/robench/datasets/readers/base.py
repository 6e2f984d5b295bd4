"""What a dataset reader is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robench.datasets.dataset import ImageDataset

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """One layout of files that holds labelled images.

    matches: whether a path has that layout, by its content; raises nothing but OSError.
    read: lists the images; DatasetError with one line where that fails. No image is decoded yet.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], ImageDataset]
