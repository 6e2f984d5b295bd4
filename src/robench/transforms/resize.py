"""What two corruptions, or a corruption and a model, share on batches of images; whole batches, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robench.errors import OptionError, unknown_name
from robench.suites.geometry import INTERPOLATIONS
from robench.transforms.device import to_device
from robench.types import FloatImages, Images, Ints

__all__ = ["from_pil", "resize", "resize_tensors", "resize_with_pillow", "to_float", "to_pil", "to_uint8"]


def to_float(images: Images) -> FloatImages:
    """(b, 3, h, w) uint8 -> float32 in [0, 1], x / 255 rounded once.

    Divided by a tensor: by a plain number a GPU multiplies with the reciprocal, which is off by one unit in the last
    place here and there, and a truncation to 8 bits shows it.
    """
    return images.float().div_(torch.full((), 255.0, device=images.device))


def to_uint8(images: FloatImages) -> Images:
    """float -> uint8: clip to [0, 1], times 255, truncate (never round: the published files are truncated)."""
    return images.clamp(0, 1).mul_(255).to(torch.uint8)


_SMALL = 64 * 64
"""Pixels up to which a call of Pillow's costs more than moving the memory: such images take one call, by rows."""


def to_pil(images: Images) -> Iterator[Image.Image]:
    """(b, 3, h, w) uint8 on a CPU -> Pillow images, one by one."""
    height, width = images.shape[2:]
    if height * width <= _SMALL:
        for rows in images.transpose(1, 2).contiguous().numpy():
            yield Image.frombytes("RGB", (width, height), rows.data, "raw", "RGB;L", 0, 1)
    else:
        for planes in images.contiguous().numpy():
            yield Image.merge("RGB", [Image.fromarray(plane) for plane in planes])


def from_pil(found: Iterable[Image.Image], shape: torch.Size) -> Images:
    """RGB Pillow images -> (b, 3, h, w) uint8, of the given shape."""
    batch, channels, height, width = shape
    if height * width <= _SMALL:
        by_row = torch.empty((batch, height, channels, width), dtype=torch.uint8)
        for target, picture in zip(by_row.numpy(), found, strict=True):
            target[...] = np.frombuffer(picture.tobytes("raw", "RGB;L"), dtype=np.uint8).reshape(target.shape)
        return by_row.transpose(1, 2).contiguous()
    images = torch.empty(shape, dtype=torch.uint8)
    for planes, picture in zip(images.numpy(), found, strict=True):
        for plane, band in zip(planes, "RGB", strict=True):
            plane[...] = np.frombuffer(picture.tobytes("raw", band), dtype=np.uint8).reshape(plane.shape)
    return images


def resize(images: Images, size: tuple[int, int], interpolation: str = "bilinear") -> Images:
    """(b, 3, h, w) uint8 -> (b, 3, *size) uint8, as Pillow's `Image.resize` does: columns first, then rows.

    Pillow itself for large images on a CPU, tensors elsewhere and where pixels are only copied; both give the same bits.
    """
    if interpolation not in INTERPOLATIONS:
        raise OptionError(unknown_name("interpolation", interpolation, INTERPOLATIONS))
    enlarges = size[0] >= images.shape[2] and size[1] >= images.shape[3]
    copies = interpolation == "nearest" or (interpolation == "box" and enlarges)
    if images.device.type == "cpu" and images.shape[2] * images.shape[3] > _SMALL and not copies:
        return resize_with_pillow(images, size, interpolation)
    return resize_tensors(images, size, interpolation)


def resize_with_pillow(images: Images, size: tuple[int, int], interpolation: str) -> Images:
    """`resize` through Pillow (nearest: through NumPy, which copies whole rows); CPU tensors only."""
    if interpolation == "nearest":
        down, across = (_nearest(n, m, images.device).numpy() for n, m in zip(images.shape[2:], size, strict=True))
        return torch.from_numpy(images.numpy().take(across, axis=3).take(down, axis=2))
    (height, width), filtered = size, INTERPOLATIONS[interpolation]
    # Pillow 13 starts with the cheaper axis, older versions with the columns: where the axes shrink differently, one by one.
    alike = images.shape[2] * width == images.shape[3] * height
    columns = (one if alike else one.resize((width, one.height), filtered) for one in to_pil(images))
    resized = (one.resize((width, height), filtered) for one in columns)
    return from_pil(resized, torch.Size((*images.shape[:2], *size)))


def resize_tensors(images: Images, size: tuple[int, int], interpolation: str) -> Images:
    """`resize` in integer arithmetic on any device.

    Source: Pillow, src/libImaging/Resample.c: 22-bit weights, each axis rounded to 8 bits.
    """
    if interpolation == "nearest":
        rows, columns = (_nearest(n, m, images.device) for n, m in zip(images.shape[2:], size, strict=True))
        return images.index_select(3, columns).index_select(2, rows)
    for axis, length in ((3, size[1]), (2, size[0])):
        if images.shape[axis] != length:
            images = _resample(images, axis, length, interpolation)
    return images.contiguous()


def _nearest(before: int, after: int, device: torch.device) -> Tensor:
    """Source place of every target place, added up step by step as Pillow does: where places tie, the rounding decides."""
    step = before / after
    places = accumulate([step] * (after - 1), initial=step * 0.5)
    return to_device(torch.tensor([min(int(place), before - 1) for place in places]), device)


_PRECISION = 22


def _resample(images: Images, axis: int, length: int, interpolation: str) -> Images:
    """One pass of Pillow's resampling along an axis, as one gather and multiplication a tap.

    int32 is enough: the weights of a pixel sum to 2^22, and 255 * 2^22 + 2^21 < 2^31 (filters with negative lobes stay
    below that too: their absolute weights sum to less than 1.5).
    """
    before = images.shape[axis]
    first, weights = _taps(before, length, interpolation)
    places = to_device(torch.from_numpy(first), images.device)
    if len(weights) == 1:
        return images.index_select(axis, places)
    total = torch.full((), 1 << (_PRECISION - 1), dtype=torch.int32, device=images.device)
    for tap, row in enumerate(weights):
        weight = to_device(torch.tensor(row, dtype=torch.int32), images.device).view(-1, *[1] * (3 - axis))
        values = images.index_select(axis, (places + tap).clamp_(max=before - 1))
        total = values.to(torch.int32).mul_(weight).add_(total)
    return (total >> _PRECISION).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=256)
def _taps(before: int, after: int, interpolation: str) -> tuple[Ints, Ints]:
    """First source column of every target column, and the integer weights, (taps, after)."""
    kernel, support = _FILTERS[interpolation]
    scale = before / after
    stretch = max(scale, 1.0)
    reach = support * stretch
    first, rows = [], []
    for target in range(after):
        center = (target + 0.5) * scale
        low = max(int(center - reach + 0.5), 0)
        high = min(int(center + reach + 0.5), before)
        raw = [kernel((x + low - center + 0.5) * (1.0 / stretch)) for x in range(high - low)]
        # Summed one by one, as Pillow does: the order decides the last bit of the weights.
        total = 0.0
        for value in raw:
            total += value
        unit = [value * (1.0 / total) for value in raw]
        first.append(low)
        rows.append([int(math.copysign(0.5, value) + value * (1 << _PRECISION)) for value in unit])
    weights = np.zeros((max(map(len, rows)), after), dtype=np.int64)
    for target, row in enumerate(rows):
        weights[: len(row), target] = row
    return np.array(first, dtype=np.int64), weights


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


# Single precision in Pillow's source, and so in its weights.
_HAMMING = float(np.float32(0.54)), float(np.float32(0.46))


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0:
        return 1.0
    if x >= 1:
        return 0.0
    x *= math.pi
    return math.sin(x) / x * (_HAMMING[0] + _HAMMING[1] * math.cos(x))


def _bicubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _lanczos(x: float) -> float:
    def sinc(value: float) -> float:
        return 1.0 if value == 0 else math.sin(value * math.pi) / (value * math.pi)

    return sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0


_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
