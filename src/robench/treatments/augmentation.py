"""How calibration images are drawn from: as the test takes them, as weak training does, as strong training does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
"""Of small images, px on every side, before the crop."""
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of the crop of larger ones: its share of the picture, its width by its height, and how often a crop that fits is looked for."""


@dataclass(frozen=True)
class Policy:
    """A way from a stored picture to an image for calibration.

    geometry: what pictures are decoded to.
    change: (pixels, height and width of each, preprocessing, draws) -> (b, 3, crop, crop) uint8.
    """

    summary: str
    geometry: Callable[[Preprocessing], Geometry]
    change: Callable[[Images, Sizes, Preprocessing, Draws], Images]

    def __call__(self, pixels: Images, sizes: Sizes, preprocessing: Preprocessing, index: Tensor, seed: int) -> Images:
        """Return the images of pictures at `index` of the calibration set; two policies share the draws that both need."""
        return self.change(pixels, sizes, preprocessing, KeyedDraws(seed, index, "calibration"))


def _clean(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    return pixels


def _weak(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Cut at random, and mirror one of two."""
    cut = _shifted if preprocessing.crop <= SMALL else _resized
    images = cut(pixels, sizes, preprocessing, draws)
    mirrored = draws.integers("flip", 0, 2, ()).reshape(-1, 1, 1, 1) == 1
    return torch.where(mirrored, images.flip(3), images)


def _strong(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    return randaugment(_weak(pixels, sizes, preprocessing, draws), draws)


def _shifted(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Pad with black and cut anywhere."""
    side = preprocessing.crop
    places = draws.integers("crop", 0, 2 * _PAD + 1, (2,)).tolist()
    padded = functional.pad(pixels, (_PAD,) * 4)
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, places, strict=True)])


def _resized(pixels: Images, sizes: Sizes, preprocessing: Preprocessing, draws: Draws) -> Images:
    """Cut a part of random area and shape, and resize it.

    Source: torchvision.transforms.RandomResizedCrop, with keyed draws; of the picture as the model resizes it, because larger
    ones are not kept.
    """
    side = preprocessing.crop
    shapes, places = draws.uniform("shape", (_TRIES, 2)).tolist(), draws.uniform("place", (2,)).tolist()
    found = []
    for picture, (height, width), drawn, (down, right) in zip(to_pil(pixels), sizes, shapes, places, strict=True):
        tried = (_size(height, width, *one) for one in drawn)
        h, w = next((one for one in tried if one[0] <= height and one[1] <= width), _whole(height, width))
        y, x = int(down * (height - h + 1)), int(right * (width - w + 1))
        cut = picture.crop((x, y, x + w, y + h))
        found.append(cut.resize((side, side), INTERPOLATIONS[preprocessing.interpolation]))
    return from_pil(found, torch.Size((len(pixels), 3, side, side)))


def _size(height: int, width: int, share: float, shape: float) -> tuple[int, int]:
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * share)
    low, high = map(math.log, _RATIO)
    ratio = math.exp(low + (high - low) * shape)
    return max(1, round(math.sqrt(area / ratio))), max(1, round(math.sqrt(area * ratio)))


def _whole(height: int, width: int) -> tuple[int, int]:
    """The largest part of an allowed shape."""
    return min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))


def _picture(preprocessing: Preprocessing) -> Geometry:
    if preprocessing.crop <= SMALL:
        return preprocessing.geometry()
    return Geometry(resize=preprocessing.resize, interpolation=preprocessing.interpolation)


POLICIES: dict[str, Policy] = {
    "clean": Policy("the model's own resize and crop", lambda preprocessing: preprocessing.geometry(), _clean),
    "weak": Policy("random crops (small images: padded by 4; else RandomResizedCrop), mirrored", _picture, _weak),
    "strong": Policy("weak, then RandAugment: two operations of magnitude 9", _picture, _strong),
}
