"""Photographs of frozen windows for frost, from the files of the imagecorruptions package."""

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

__all__ = ["Textures", "frost_textures"]

_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The package has a sixth file, which the published code never draws."""


@dataclass(frozen=True)
class Textures:
    """Textures of different sizes in one array.

    Attributes:
        pixels: (3, n) uint8, RGB, the pixels of all textures in turn.
        start: Index of the first pixel of each texture.
        height: Height of each texture in pixels.
        width: Width of each texture in pixels.
    """

    pixels: NDArray[np.uint8]
    start: Ints
    height: Ints
    width: Ints


@lru_cache(maxsize=16)
def frost_textures(size: tuple[int, int], scale: float = 1.0, margin: float = 1.0) -> Textures:
    """Return the five textures, none smaller than `size`.

    Args:
        size: Height and width of the images.
        scale: Factor that shrinks the photographs first.
        margin: Further enlargement, as a factor, of the size that covers `size`.
    """
    textures = []
    for texture in _read():
        shrunk = _linear(texture, scale) if scale != 1 else texture
        factor = margin * max(1.0, *(length / n for length, n in zip(size, shrunk.shape[:2], strict=True)))
        textures.append(_cubic(shrunk, factor) if factor != 1 else shrunk)
    height, width = (np.array([texture.shape[axis] for texture in textures]) for axis in (0, 1))
    pixels = np.concatenate([texture.reshape(-1, 3) for texture in textures]).T.copy()
    return Textures(pixels, np.cumsum(height * width) - height * width, height, width)


@lru_cache(maxsize=1)
def _read() -> list[NDArray[np.uint8]]:
    spec = find_spec("imagecorruptions")
    if spec is None or spec.origin is None:
        raise OptionError(
            "frost needs the photographs of the imagecorruptions package, which is not installed",
            "pip install imagecorruptions",
        )
    folder = Path(spec.origin).parent / "frost"
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name in _FILES]


def _linear(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize (h, w, 3) bytes as OpenCV does: 11-bit weights, whose second pass drops low bits early."""
    values = image.astype(np.int64)
    for axis in (1, 0):
        length = round(image.shape[axis] * scale)
        first, fraction = _positions(length, 1 / scale)
        parts = []
        for tap, weight in enumerate((1 - fraction, fraction)):
            part = values.take(np.clip(first + tap, 0, image.shape[axis] - 1), axis=axis)
            fixed = _along(np.rint(weight * 2048).astype(np.int64), axis)
            parts.append(part * fixed if axis == 1 else ((part >> 4) * fixed) >> 16)
        values = parts[0] + parts[1]
    return ((values + 2) >> 2).clip(0, 255).astype(np.uint8)


def _cubic(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Enlarge (h, w, 3) as OpenCV does, sides rounded up: bicubic in floats with the parameter -0.75."""
    values, a = image.astype(np.float64), -0.75
    for axis in (1, 0):
        before = image.shape[axis]
        length = math.ceil(before * factor)
        first, x = _positions(length, before / length)
        far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        beyond = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
        values = sum(
            values.take(np.clip(first + tap, 0, before - 1), axis=axis) * _along(weight, axis)
            for tap, weight in zip(range(-1, 3), (far, near, beyond, 1 - far - near - beyond), strict=True)
        )
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _positions(length: int, step: float) -> tuple[Ints, NDArray[np.float32]]:
    """Return for every new pixel the old index before its centre, and its distance beyond that."""
    position = ((np.arange(length) + 0.5) * step - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    return first, (position - first).astype(np.float32)


def _along(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    return weight.reshape(-1, *(1,) * (2 - axis))
