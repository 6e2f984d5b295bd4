"""Images of the samples, clean and under a condition, as image files."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robench.datasets import ImageDataset
from robench.errors import RobenchError
from robench.evaluation.recompute import as_rgb, condition_of, frame_images, open_images
from robench.runs.directory import RunDirectory
from robench.suites import Condition
from robench.viewer.samples import SampleTable

__all__ = ["SampleImages", "encode_png", "encode_thumbnail"]

_CONDITIONS = 512
_SEQUENCES = 32
"""Sequences of frames in memory; one of ImageNet takes up to 5 MB."""
_THUMBNAIL = 224
"""Most pixels of a side of a thumbnail."""
_LOSSLESS = 64
"""Largest side in pixels of thumbnails that are stored without loss."""


class SampleImages:
    """The images of a table's samples.

    Args:
        table: The samples.
        data: The images; None for the dataset of the first run that has it.

    Raises:
        RobenchError: No run's dataset can be opened; the error is that of the first run.
    """

    def __init__(self, table: SampleTable, data: str | Path | None) -> None:
        self._entries = table.conditions
        self._run, self._images = _opened(table, data)
        self._condition = lru_cache(_CONDITIONS)(self._find)
        self._frames = lru_cache(_SEQUENCES)(self._compute)
        self._lock = Lock()

    def pixels(self, name: str, sample: int, frame: int) -> NDArray[np.uint8]:
        """Return an image as the model got it, (height, width, 3).

        Args:
            name: Name of the condition, one of the table's.
            sample: Position of the sample in the dataset.
            frame: Number of the frame.

        Raises:
            RobenchError: The image cannot be read or computed.
        """
        if self._entries[name].frames > 1:
            with self._lock:  # A strip asks for all frames at once; they are computed once.
                return as_rgb(self._frames(name, sample)[frame])
        return as_rgb(self._compute(name, sample)[frame])

    def warm(self, sample: int) -> None:
        """Compute one image of each corruption, whose first one may read files; errors appear where the image is shown."""
        for name in {entry.corruption: entry.name for entry in self._entries.values() if entry.frames == 1}.values():
            with suppress(RobenchError):
                self.pixels(name, sample, 0)

    def _find(self, name: str) -> Condition:
        return condition_of(self._run, self._entries[name])

    def _compute(self, name: str, sample: int) -> list[NDArray[np.uint8]]:
        return list(frame_images(self._images, self._condition(name), sample, self._run.manifest["seed"]))


def _opened(table: SampleTable, data: str | Path | None) -> tuple[RunDirectory, ImageDataset]:
    errors: list[RobenchError] = []
    for run in table.runs:
        try:
            return run, open_images(run, data)
        except RobenchError as error:
            errors.append(error)
    raise errors[0]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image file with exactly these pixels, (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Return a small WebP file; images up to 64 px keep their pixels."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(file, "WEBP", quality=80, lossless=max(image.size) <= _LOSSLESS, method=4)
    return file.getvalue()
