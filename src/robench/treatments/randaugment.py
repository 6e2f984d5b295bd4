"""RandAugment as torchvision has it, with keyed draws: two operations of fourteen on each image, of magnitude 9 of 31."""

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
    """Move by shares of the side or shear by tangents, of a magnitude of 1."""

    def apply(image: Image.Image, magnitude: float) -> Image.Image:
        leans = [math.degrees(math.atan(magnitude * one)) for one in shear]
        moves = [int(magnitude * right * image.width), int(magnitude * down * image.height)]
        sheared = any(shear)
        moved: Image.Image = operations.affine(
            image,
            angle=0.0,
            translate=moves,
            scale=1.0,
            shear=leans,
            interpolation=InterpolationMode.NEAREST,
            center=[0, 0] if sheared else None,
        )
        return moved

    return apply


def _factor(of: Callable[..., Image.Image]) -> Operation:
    return lambda image, magnitude: of(image, 1 + 0.9 * magnitude)


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
"""(image, magnitude, -1 to 1) -> image, and whether it has a sign. In torchvision's order.

Source: torchvision.transforms.RandAugment, whose operations and largest magnitudes these are.
"""


def randaugment(images: Images, draws: Draws) -> Images:
    """Change (b, 3, h, w) uint8 images on a CPU, each by operations of its own."""
    chosen = draws.integers("operation", 0, len(OPERATIONS), (_OPERATIONS,)).tolist()
    signs = draws.integers("sign", 0, 2, (_OPERATIONS,)).tolist()
    known = list(OPERATIONS.values())
    changed = []
    for image, numbers, negative in zip(to_pil(images), chosen, signs, strict=True):
        for number, sign in zip(numbers, negative, strict=True):
            apply, signed = known[number]
            image = apply(image, -_SHARE if signed and sign else _SHARE)
        changed.append(image)
    return from_pil(changed, torch.Size(images.shape))
