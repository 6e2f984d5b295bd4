"""The photographs of frozen windows that frost lays over an image; the imagecorruptions package ships them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robench.errors import OptionError
from robench.types import Ints

__all__ = ["Photographs", "frost_photographs"]

_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The package has a sixth, which the published code never draws."""


@dataclass(frozen=True)
class Photographs:
    """Photographs of different sizes in one array.

    pixels: (3, all pixels) uint8, RGB.  start: (n,) where each begins.  height, width: (n,).
    """

    pixels: NDArray[np.uint8]
    start: Ints
    height: Ints
    width: Ints


@lru_cache(maxsize=16)
def frost_photographs(size: tuple[int, int], scale: float = 1.0, margin: float = 1.0) -> Photographs:
    """Return the five photographs, none smaller than `size` (height, width).

    scale: shrink all of them first.  margin: enlarge all of them by so much more than it takes to cover `size`.
    """
    photographs = []
    for photograph in _read():
        shrunk = _linear(photograph, scale) if scale != 1 else photograph
        factor = margin * max(1.0, *(side / n for side, n in zip(size, shrunk.shape[:2], strict=True)))
        photographs.append(_cubic(shrunk, factor) if factor != 1 else shrunk)
    height, width = (np.array([len(one) if axis == 0 else one.shape[1] for one in photographs]) for axis in (0, 1))
    pixels = np.concatenate([one.reshape(-1, 3) for one in photographs]).T.copy()
    return Photographs(pixels, np.cumsum(height * width) - height * width, height, width)


@lru_cache(maxsize=1)
def _read() -> list[NDArray[np.uint8]]:
    found = find_spec("imagecorruptions")
    if found is None or found.origin is None:
        raise OptionError("frost needs the photographs of the imagecorruptions package: pip install imagecorruptions")
    folder = Path(found.origin).parent / "frost"
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name in _FILES]


def _linear(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize (h, w, 3) as OpenCV does on bytes: in 11-bit weights, of which the second pass drops bits early."""
    values = image.astype(np.int64)
    for axis in (1, 0):
        length = round(image.shape[axis] * scale)
        first, fraction = _places(length, 1 / scale)
        parts = []
        for tap, weight in enumerate((1 - fraction, fraction)):
            part = values.take(np.clip(first + tap, 0, image.shape[axis] - 1), axis=axis)
            fixed = _along(np.rint(weight * 2048).astype(np.int64), axis)
            parts.append(part * fixed if axis == 1 else ((part >> 4) * fixed) >> 16)
        values = parts[0] + parts[1]
    return ((values + 2) >> 2).clip(0, 255).astype(np.uint8)


def _cubic(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Enlarge (h, w, 3) by `factor`, sides rounded up, as OpenCV does: four neighbours, the parameter -0.75, in floats."""
    values, a = image.astype(np.float64), -0.75
    for axis in (1, 0):
        before = image.shape[axis]
        length = math.ceil(before * factor)
        first, x = _places(length, before / length)
        far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        beyond = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
        values = sum(
            values.take(np.clip(first + tap, 0, before - 1), axis=axis) * _along(weight, axis)
            for tap, weight in zip(range(-1, 3), (far, near, beyond, 1 - far - near - beyond), strict=True)
        )
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _places(length: int, step: float) -> tuple[Ints, NDArray[np.float32]]:
    """For every new pixel the old one before its centre, and how far beyond that it lies."""
    place = ((np.arange(length) + 0.5) * step - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    return first, (place - first).astype(np.float32)


def _along(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    return weight.reshape(-1, *(1,) * (2 - axis))
