"""RandAugment with keyed draws: two of fourteen operations on each image, with magnitude 9 of 31.

Source: Cubuk et al. 2020, arXiv:1909.13719; torchvision.transforms.RandAugment, its defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as operations

from robench.transforms.draws import Draws
from robench.transforms.resize import from_pil, to_pil
from robench.types import Images

__all__ = ["OPERATIONS", "randaugment"]

_OPERATIONS = 2
_SHARE = 9 / 30
"""Magnitude 9 of 0 to 30."""

Operation: TypeAlias = Callable[[Image.Image, float], Image.Image]


def _affine(right: float = 0, down: float = 0, shear: tuple[float, float] = (0.0, 0.0)) -> Operation:
    """Return a translation by shares of the size or a shear by tangents, at a magnitude of 1."""

    def apply(image: Image.Image, magnitude: float) -> Image.Image:
        warped: Image.Image = operations.affine(
            image,
            angle=0.0,
            translate=[int(magnitude * right * image.width), int(magnitude * down * image.height)],
            scale=1.0,
            shear=[math.degrees(math.atan(magnitude * tangent)) for tangent in shear],
            interpolation=InterpolationMode.NEAREST,
            center=[0, 0] if any(shear) else None,
        )
        return warped

    return apply


def _factor(adjust: Callable[..., Image.Image]) -> Operation:
    return lambda image, magnitude: adjust(image, 1 + 0.9 * magnitude)


OPERATIONS: dict[str, tuple[Operation, bool]] = {
    "Identity": (lambda image, _: image, False),
    "ShearX": (_affine(shear=(0.3, 0.0)), True),
    "ShearY": (_affine(shear=(0.0, 0.3)), True),
    "TranslateX": (_affine(right=150 / 331), True),
    "TranslateY": (_affine(down=150 / 331), True),
    "Rotate": (lambda image, magnitude: operations.rotate(image, 30 * magnitude), True),
    "Brightness": (_factor(operations.adjust_brightness), True),
    "Color": (_factor(operations.adjust_saturation), True),
    "Contrast": (_factor(operations.adjust_contrast), True),
    "Sharpness": (_factor(operations.adjust_sharpness), True),
    "Posterize": (lambda image, magnitude: operations.posterize(image, 8 - round(4 * magnitude)), False),
    "Solarize": (lambda image, magnitude: operations.solarize(image, 255 * (1 - magnitude)), False),
    "AutoContrast": (lambda image, _: operations.autocontrast(image), False),
    "Equalize": (lambda image, _: operations.equalize(image), False),
}
"""(image, magnitude from -1 to 1) -> image, and whether the magnitude has a sign.

Order, operations and largest magnitudes are those of torchvision.transforms.RandAugment.
"""


def randaugment(images: Images, draws: Draws) -> Images:
    """Augment (b, 3, h, w) uint8 images on a CPU, each by its own operations."""
    ranks = draws.integers("operation", 0, len(OPERATIONS), (_OPERATIONS,)).tolist()
    signs = draws.integers("sign", 0, 2, (_OPERATIONS,)).tolist()
    table = list(OPERATIONS.values())
    augmented = []
    for image, *pairs in zip(to_pil(images), ranks, signs, strict=True):
        for rank, negative in zip(*pairs, strict=True):
            apply, signed = table[rank]
            image = apply(image, -_SHARE if signed and negative else _SHARE)
        augmented.append(image)
    return from_pil(augmented, torch.Size(images.shape))
