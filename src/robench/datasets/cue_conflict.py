"""Cue-conflict images, whose file names carry the category of their shape and that of their texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.errors import DatasetError
from robench.suites import SHAPE_CATEGORIES, cues_of

__all__ = ["as_cue_conflict"]


def as_cue_conflict(images: ImageDataset) -> ImageDataset:
    """Relabel images with the category of their shape. Folders and labels of the dataset do not count.

    Raises:
        DatasetError: A file name does not carry a shape and a texture.
    """
    cues = [cues_of(path) for path in images.paths]
    unknown = [path for path, both in zip(images.paths, cues, strict=True) if both is None]
    if unknown:
        raise DatasetError(
            f"{images.name} has {len(unknown):,} images whose names carry no shape and texture, for example {unknown[0]}",
            "give the published images, with names such as cat3-truck1.png",
        )
    number = {name: label for label, name in enumerate(SHAPE_CATEGORIES)}
    return replace(
        images,
        labels=np.array([number[both[0]] for both in cues if both is not None], dtype=np.int64),
        classes=tuple(SHAPE_CATEGORIES),
        groups=tuple(SHAPE_CATEGORIES.values()),
        group_rule="mean",
        file_labels=None,
    )
