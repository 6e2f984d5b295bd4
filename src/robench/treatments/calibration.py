"""Calibration images: an evenly thinned dataset, decoded by a policy, in batches of fixed size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from robench.datasets import ImageDataset, decode, hash_images, open_dataset, select
from robench.errors import DatasetError
from robench.models import Preprocessing
from robench.suites import CLEAN, Condition
from robench.suites.geometry import Geometry
from robench.treatments.augmentation import POLICIES
from robench.treatments.batching import STATISTICS_BATCH, equal_parts, sample_order
from robench.types import Images, Ints

__all__ = ["Calibration", "open_calibration"]


@dataclass(frozen=True)
class Calibration:
    """Images for the estimation of statistics; their labels are unused.

    Attributes:
        images: The dataset.
        seed: Seed of the order and of the draws of the policies.
    """

    images: ImageDataset
    seed: int

    def count(self, limit: int) -> int:
        """Return the number of images that `batches` yields."""
        return min(limit, len(self.images))

    def fingerprint(self, limit: int) -> str:
        """Return the SHA-256 of the contents of the images that `batches` yields."""
        hashes = hash_images(self.images, self._positions(limit))
        return hashlib.sha256("\n".join(hashes.sha).encode()).hexdigest()

    def batches(
        self, policy: str, preprocessing: Preprocessing, limit: int, geometry: Geometry | None = None
    ) -> Iterator[Images]:
        """Yield at most `limit` images under a policy of `POLICIES`, (b, bands, height, width) uint8, in keyed order.

        Args:
            policy: A key of `POLICIES`.
            preprocessing: The model's preprocessing.
            limit: Largest number of images.
            geometry: Geometry of the test, if it differs from the model's.

        Raises:
            DatasetError: If an image cannot be read.
        """
        augment = POLICIES[policy]
        images = replace(self.images, pixels=preprocessing.pixels)
        positions = self._positions(limit)
        hashes = hash_images(self.images, positions)
        decoded = decode(images, hashes, geometry or augment.geometry(preprocessing), skip=True)
        for position, reason in decoded.unreadable.items():
            raise DatasetError(
                f"--calibration: cannot read the image {self.images.paths[position]}: {reason}", "repair or remove it"
            )
        order = sample_order(positions, Condition(CLEAN, f"calibration-{policy}", 0, Geometry()), self.seed)
        for rows in equal_parts(order, STATISTICS_BATCH):
            pixels, sizes = decoded.images.take(rows)
            index = torch.from_numpy(positions[rows])
            yield augment(torch.from_numpy(pixels), sizes, preprocessing, index, self.seed)

    def _positions(self, limit: int) -> Ints:
        return select(self.images, limit=limit)


def open_calibration(data: str | Path, seed: int) -> Calibration:
    """Open a dataset of calibration images.

    Raises:
        DatasetError: If `open_dataset` refuses it, or if it is empty.
    """
    try:
        images = open_dataset(data)
    except DatasetError as error:
        raise DatasetError(f"--calibration: {error.problem}", error.hint) from error
    if not len(images):
        raise DatasetError(f"--calibration {data} has no images", "choose another dataset")
    return Calibration(images, seed)
