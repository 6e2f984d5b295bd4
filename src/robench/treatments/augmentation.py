"""Augmentation policies of calibration images: as in the test, as in weak training, as in strong training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robench.errors import OptionError
from robench.models import Preprocessing
from robench.suites import SMALL
from robench.suites.geometry import INTERPOLATIONS, Geometry
from robench.transforms.draws import Draws, KeyedDraws
from robench.transforms.resize import from_pil, to_pil
from robench.treatments.randaugment import randaugment
from robench.types import Images

__all__ = ["POLICIES", "Policy"]

Sizes = Sequence[tuple[int, int]]
_PAD = 4
"""Padding of small images on every side before the crop, in pixels."""
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Share of the image, width by height, and number of attempts of a random crop of larger images."""


@dataclass(frozen=True)
class Policy:
    """An augmentation of stored images for calibration.

    Attributes:
        summary: One line for users.
        geometry: Geometry of the decoded images.
        change: (pixels, height and width of each, preprocessing, draws) -> (b, 3, height, width) uint8 of the crop.
    """

    summary: str
    geometry: Callable[[Preprocessing], Geometry]
    change: Callable[[Images, Sizes, Preprocessing, Draws], Images]

    def __call__(self, pixels: Images, sizes: Sizes, preprocessing: Preprocessing, index: Tensor, seed: int) -> Images:
        """Augment the images at `index` of the calibration set; policies share the draws that they have in common."""
        return self.change(pixels, sizes, preprocessing, KeyedDraws(seed, index, "calibration"))


def _clean(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    return pixels


def _weak(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Crop at random, and mirror half of the images."""
    crop = _shifted if preprocessing.side <= SMALL else _resized
    images = crop(pixels, sizes, preprocessing, draws)
    mirrored = draws.integers("flip", 0, 2, ()).reshape(-1, 1, 1, 1) == 1
    return torch.where(mirrored, images.flip(3), images)


def _strong(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    if preprocessing.bands != 3:
        raise OptionError(
            f"RandAugment is defined on RGB images, but the model takes {preprocessing.bands} channels",
            "give bn-calib:weak",
        )
    return randaugment(_weak(pixels, sizes, preprocessing, draws), draws)


def _shifted(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Pad with black, and crop at a random position."""
    height, width = preprocessing.shape
    offsets = draws.integers("crop", 0, 2 * _PAD + 1, (2,)).tolist()
    padded = functional.pad(pixels, (_PAD,) * 4)
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)])


def _resized(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Crop a part of random area and shape, and resize it.

    The image is the one that the model resizes, because larger images are not stored.

    Source: torchvision.transforms.RandomResizedCrop, with keyed draws.
    """
    if pixels.shape[1] not in (1, 3):
        bands = (_resized(band[:, None], sizes, preprocessing, draws) for band in pixels.unbind(1))
        return torch.cat(list(bands), dim=1)
    height, width = preprocessing.shape
    shapes, offsets = draws.uniform("shape", (_TRIES, 2)).tolist(), draws.uniform("place", (2,)).tolist()
    crops = []
    for image, (whole, across), attempts, (down, right) in zip(to_pil(pixels), sizes, shapes, offsets, strict=True):
        parts = (_size(whole, across, *attempt) for attempt in attempts)
        h, w = next((part for part in parts if part[0] <= whole and part[1] <= across), _largest(whole, across))
        y, x = int(down * (whole - h + 1)), int(right * (across - w + 1))
        crop = image.crop((x, y, x + w, y + h))
        crops.append(crop.resize((width, height), INTERPOLATIONS[preprocessing.interpolation]))
    return from_pil(crops, torch.Size((len(pixels), pixels.shape[1], height, width)))


def _size(height: int, width: int, share: float, shape: float) -> tuple[int, int]:
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * share)
    low, high = map(math.log, _RATIO)
    ratio = math.exp(low + (high - low) * shape)
    return max(1, round(math.sqrt(area / ratio))), max(1, round(math.sqrt(area * ratio)))


def _largest(height: int, width: int) -> tuple[int, int]:
    """Return the size of the largest part with an allowed shape."""
    return min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))


def _training_geometry(preprocessing: Preprocessing) -> Geometry:
    if preprocessing.side <= SMALL:
        return preprocessing.geometry()
    return Geometry(resize=preprocessing.resize, interpolation=preprocessing.interpolation)


POLICIES: dict[str, Policy] = {
    "clean": Policy("the model's own resize and crop", lambda preprocessing: preprocessing.geometry(), _clean),
    "weak": Policy(
        "random crops (small images: padded by 4; else RandomResizedCrop), mirrored", _training_geometry, _weak
    ),
    "strong": Policy("weak, then RandAugment: two operations of magnitude 9", _training_geometry, _strong),
}
