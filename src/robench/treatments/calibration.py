"""Calibration images: any dataset, evenly thinned, decoded as a test or drawn from as training would, in batches of fixed size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
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
    """Images to estimate statistics on; their labels play no role.

    seed: of the draws of the policies and of the order.
    """

    images: ImageDataset
    seed: int

    def count(self, most: int) -> int:
        """Return how many images `show` takes."""
        return min(most, len(self.images))

    def fingerprint(self, most: int) -> str:
        """Return the SHA-256 of the contents of the images that `batches` yields."""
        hashes = hash_images(self.images, self._positions(most))
        return hashlib.sha256("\n".join(hashes.sha).encode()).hexdigest()

    def batches(
        self, policy: str, preprocessing: Preprocessing, most: int, geometry: Geometry | None = None
    ) -> Iterator[Images]:
        """Yield at most so many images under a policy of `POLICIES`, (b, 3, side, side) uint8, in keyed order.

        geometry: of the test, where it is not the model's own.  DatasetError for an image that cannot be read.
        """
        chosen = POLICIES[policy]
        positions = self._positions(most)
        hashes = hash_images(self.images, positions)
        found = decode(self.images, hashes, geometry or chosen.geometry(preprocessing), skip=True)
        for position, reason in found.unreadable.items():
            raise DatasetError(
                f"--calibration: cannot read the image {self.images.paths[position]}: {reason}; mend it or take it away"
            )
        order = sample_order(positions, Condition(CLEAN, f"calibration-{policy}", 0, Geometry()), self.seed)
        for rows in equal_parts(order, STATISTICS_BATCH):
            pixels, sizes = found.images.take(rows)
            index = torch.from_numpy(positions[rows])
            yield chosen(torch.from_numpy(pixels), sizes, preprocessing, index, self.seed)

    def _positions(self, most: int) -> Ints:
        return select(self.images, limit=most)


def open_calibration(data: str | Path, seed: int) -> Calibration:
    """Open what `data.open_dataset` takes; DatasetError where that fails."""
    try:
        images = open_dataset(data)
    except DatasetError as error:
        raise DatasetError(f"--calibration: {error}") from error
    if not len(images):
        raise DatasetError(f"--calibration {data} has no images")
    return Calibration(images, seed)
