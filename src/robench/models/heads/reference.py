"""Reference images of a head, and their features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robench.datasets import Hashes, ImageDataset, decode, hash_images, open_dataset
from robench.errors import DatasetError
from robench.models.preprocessing import Preprocessing
from robench.types import Images

__all__ = ["Reference", "open_reference", "reference_features"]

_BATCH = 64


@dataclass(frozen=True)
class Reference:
    """Labelled images.

    Attributes:
        images: The dataset.
        hashes: Hashes of all images.
    """

    images: ImageDataset
    hashes: Hashes

    @property
    def labels(self) -> Tensor:
        """(n,) class of each image."""
        return torch.from_numpy(self.images.labels.astype(np.int64))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty if they are numbers alone."""
        names = self.images.classes
        return () if all(name.isdecimal() for name in names) else names

    @property
    def sha256(self) -> str:
        """Hash of the images and their labels, in order."""
        lines = "\n".join(
            f"{sha} {label}" for sha, label in zip(self.hashes.sha, self.images.labels.tolist(), strict=True)
        )
        return hashlib.sha256(lines.encode()).hexdigest()

    def classes_without_images(self) -> list[str]:
        """Return the names of the classes that have no image."""
        known = set(self.images.labels.tolist())
        return [name for label, name in enumerate(self.images.classes) if label not in known]


def open_reference(data: str | Path) -> Reference:
    """Open and hash the reference images.

    Raises:
        DatasetError: The dataset cannot be opened, an image cannot be read, or an image has several classes.
    """
    try:
        images = open_dataset(data)
    except DatasetError as error:
        raise DatasetError(f"--reference: {error.problem}", error.hint) from error
    if not len(images):
        raise DatasetError(f"--reference {data} has no images", "give labelled images")
    if images.groups is not None:
        raise DatasetError(f"--reference {data} gives several classes to an image", "give images of one class each")
    hashes = hash_images(images, np.arange(len(images)))
    for position, reason in hashes.unreadable.items():
        raise _unreadable(images, position, reason)
    return Reference(images, hashes)


def reference_features(
    reference: Reference, preprocessing: Preprocessing, features: Callable[[Images], Tensor]
) -> Tensor:
    """Return the features (n, d) of all images, as float32 on the CPU.

    Args:
        reference: The images.
        preprocessing: The preprocessing, whose own geometry applies.
        features: Function from images (b, 3, size, size) uint8 to features (b, d).

    Raises:
        DatasetError: An image cannot be decoded.
    """
    images = reference.images
    decoded = decode(images, reference.hashes, preprocessing.geometry(), skip=True)
    for position, reason in decoded.unreadable.items():
        raise _unreadable(images, position, reason)
    parts = []
    for start in range(0, len(images), _BATCH):
        pixels, _ = decoded.images.take(np.arange(start, min(start + _BATCH, len(images))))
        parts.append(features(torch.from_numpy(pixels)).float().cpu())
    return torch.cat(parts)


def _unreadable(images: ImageDataset, position: int, reason: str) -> DatasetError:
    return DatasetError(f"--reference: cannot read the image {images.paths[position]}: {reason}", "repair or remove it")
