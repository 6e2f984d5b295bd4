"""Resize images as Pillow does, and convert between uint8, float and Pillow images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robench.errors import OptionError, unknown_name
from robench.suites.geometry import INTERPOLATIONS
from robench.transforms.device import constant
from robench.transforms.kernels import fused
from robench.types import FloatImages, Images, Ints

__all__ = ["from_pil", "normalise", "resize", "resize_tensors", "resize_with_pillow", "to_float", "to_pil", "to_uint8"]


def to_float(images: Images) -> FloatImages:
    """Convert (b, 3, h, w) uint8 to float32 in [0, 1].

    The divisor is a tensor, because a GPU multiplies by the reciprocal of a number. That product differs in the last bit for
    some values, and truncation to 8 bits would show it.
    """
    return images.float().div_(torch.full((), 255.0, device=images.device))


def to_uint8(images: FloatImages) -> Images:
    """Convert (b, 3, h, w) floats to uint8: clip to [0, 1], multiply by 255, truncate as the published files are."""
    return images.clamp(0, 1).mul_(255).to(torch.uint8)


def normalise(
    images: Images, mean: Sequence[float], std: Sequence[float], *, reverse: bool, dtype: torch.dtype
) -> Tensor:
    """Return a network's input: (level / 255 - mean) / std in channels-last layout, in which convolutions run fastest.

    Args:
        images: (b, c, h, w) uint8.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        reverse: Whether the channels of the result are BGR.
        dtype: Type of the result; the arithmetic is in float32.

    Returns:
        (b, c, h, w).
    """
    averages, deviations = (constant(images.device, tuple, tuple(map(float, one))) for one in (mean, std))
    kernels = fused(images.device) if len(mean) == 3 else None
    if kernels is not None:
        result: Tensor = kernels.normalise(images, averages, deviations, reverse, dtype)
        return result
    values = to_float(images).sub_(averages.view(-1, 1, 1)).div_(deviations.view(-1, 1, 1))
    return (values.flip(1) if reverse else values).to(dtype).contiguous(memory_format=torch.channels_last)


_SMALL = 64 * 64
"""Pixels up to which the overhead of a Pillow call dominates; such images take one call, by rows."""


def to_pil(images: Images) -> Iterator[Image.Image]:
    """Yield each image of (b, 3, h, w) or (b, 1, h, w) uint8 on a CPU as a Pillow image in RGB or grey."""
    height, width = images.shape[2:]
    if images.shape[1] == 1:
        yield from (Image.fromarray(plane) for plane in images[:, 0].contiguous().numpy())
        return
    if height * width <= _SMALL:
        for rows in images.transpose(1, 2).contiguous().numpy():
            yield Image.frombytes("RGB", (width, height), rows.data, "raw", "RGB;L", 0, 1)
    else:
        for planes in images.contiguous().numpy():
            yield Image.merge("RGB", [Image.fromarray(plane) for plane in planes])


def from_pil(images: Iterable[Image.Image], shape: torch.Size) -> Images:
    """Convert Pillow images in RGB or grey to a uint8 tensor of the given shape, (b, 3, h, w) or (b, 1, h, w)."""
    batch, channels, height, width = shape
    if channels == 1:
        return torch.from_numpy(np.stack([np.asarray(image) for image in images]))[:, None]
    if height * width <= _SMALL:
        by_row = torch.empty((batch, height, channels, width), dtype=torch.uint8)
        for target, image in zip(by_row.numpy(), images, strict=True):
            target[...] = np.frombuffer(image.tobytes("raw", "RGB;L"), dtype=np.uint8).reshape(target.shape)
        return by_row.transpose(1, 2).contiguous()
    result = torch.empty(shape, dtype=torch.uint8)
    for planes, image in zip(result.numpy(), images, strict=True):
        for plane, band in zip(planes, "RGB", strict=True):
            plane[...] = np.frombuffer(image.tobytes("raw", band), dtype=np.uint8).reshape(plane.shape)
    return result


def resize(images: Images, size: tuple[int, int], interpolation: str = "bilinear") -> Images:
    """Resize (b, c, h, w) uint8 to (b, c, *size) uint8, with the bits of Pillow's `Image.resize`: columns first, then rows.

    Pillow resizes large images on a CPU, and all images with the filters "hamming" and "lanczos". Tensors resize the rest,
    on any device. Both give equal bits.

    Args:
        images: (b, c, h, w) uint8.
        size: Height and width of the result.
        interpolation: A key of `suites.geometry.INTERPOLATIONS`.

    Raises:
        OptionError: If the interpolation is unknown.
    """
    if interpolation not in INTERPOLATIONS:
        raise OptionError(*unknown_name("interpolation", interpolation, INTERPOLATIONS))
    if images.shape[1] not in (1, 3):
        return resize(images.flatten(0, 1)[:, None], size, interpolation).reshape(*images.shape[:2], *size)
    enlarges = size[0] >= images.shape[2] and size[1] >= images.shape[3]
    copies = interpolation == "nearest" or (interpolation == "box" and enlarges)
    if interpolation not in ("nearest", *_FILTERS):
        return resize_with_pillow(images.cpu(), size, interpolation).to(images.device)
    if images.device.type == "cpu" and images.shape[2] * images.shape[3] > _SMALL and not copies:
        return resize_with_pillow(images, size, interpolation)
    return resize_tensors(images, size, interpolation)


def resize_with_pillow(images: Images, size: tuple[int, int], interpolation: str) -> Images:
    """Resize CPU tensors with Pillow, or with NumPy for "nearest", because NumPy copies whole rows."""
    if interpolation == "nearest":
        down, across = (np.array(_nearest(n, m)) for n, m in zip(images.shape[2:], size, strict=True))
        return torch.from_numpy(images.numpy().take(across, axis=3).take(down, axis=2))
    (height, width), resample = size, INTERPOLATIONS[interpolation]
    # Pillow 13 starts with the cheaper axis, older versions with the columns. Two calls fix the order.
    keeps_aspect = images.shape[2] * width == images.shape[3] * height
    columns = (image if keeps_aspect else image.resize((width, image.height), resample) for image in to_pil(images))
    resized = (image.resize((width, height), resample) for image in columns)
    return from_pil(resized, torch.Size((*images.shape[:2], *size)))


def resize_tensors(images: Images, size: tuple[int, int], interpolation: str) -> Images:
    """Resize in integer arithmetic on any device; `interpolation` is nearest, box, bilinear or bicubic.

    Source: Pillow, src/libImaging/Resample.c: 22-bit weights, each axis rounded to 8 bits.
    """
    if interpolation == "nearest":
        rows, columns = (constant(images.device, _nearest, n, m) for n, m in zip(images.shape[2:], size, strict=True))
        return images.index_select(3, columns).index_select(2, rows)
    for axis, length in ((3, size[1]), (2, size[0])):
        if images.shape[axis] != length:
            images = _resample(images, axis, length, interpolation)
    return images.contiguous()


def _nearest(before: int, after: int) -> list[int]:
    """Return the source index of every target index, summed step by step as in Pillow, whose rounding decides ties."""
    step = before / after
    positions = accumulate([step] * (after - 1), initial=step * 0.5)
    return [min(int(position), before - 1) for position in positions]


_PRECISION = 22


def _resample(images: Images, axis: int, length: int, interpolation: str) -> Images:
    """Resample along an axis as Pillow does, with one gather and one multiplication a tap.

    int32 suffices: the weights of a pixel sum to 2^22, and 255 * 2^22 + 2^21 < 2^31. So it does for bicubic, whose absolute
    weights sum to less than 1.5 times 2^22.
    """
    before = images.shape[axis]
    start = constant(images.device, _first, before, length, interpolation)
    weights = constant(images.device, _weights, before, length, interpolation)
    if len(weights) == 1:
        return images.index_select(axis, start)
    total = torch.full((), 1 << (_PRECISION - 1), dtype=torch.int32, device=images.device)
    for tap, row in enumerate(weights):
        weight = row.view(-1, *[1] * (3 - axis))
        values = images.index_select(axis, (start + tap).clamp_(max=before - 1))
        total = values.to(torch.int32).mul_(weight).add_(total)
    return (total >> _PRECISION).clamp_(0, 255).to(torch.uint8)


def _first(before: int, after: int, interpolation: str) -> Ints:
    return _taps(before, after, interpolation)[0]


def _weights(before: int, after: int, interpolation: str) -> NDArray[np.int32]:
    return _taps(before, after, interpolation)[1].astype(np.int32)


@lru_cache(maxsize=256)
def _taps(before: int, after: int, interpolation: str) -> tuple[Ints, Ints]:
    """Return the first source index of every target index, and the integer weights (taps, after)."""
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
        # Pillow's order of summation, which decides the last bit of the weights.
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


def _bicubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
}
