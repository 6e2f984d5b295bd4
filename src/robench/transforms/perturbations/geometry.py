"""Geometric perturbations: translation, rotation, tilt, scale, shear, and zoom blur."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.warps import PaddedBatch, affine, crop, inverse_affine, inverse_tilt, perspective
from robench.transforms.warps import translate as translated
from robench.types import Images, Shape

__all__ = ["SOURCE", "rotate", "scale", "shear", "tilt", "translate", "zoom_blur"]

SOURCE = "arXiv:1903.12261; hendrycks/robustness ImageNet-P/create_p"

_DEGREES = tuple(range(-15, 16))
_EVERYWHERE = ("224", "299", "64", "32")


@perturbation(
    levels={
        "224": {"frames": tuple(range(-20, 21))},
        "299": {"frames": tuple(range(-20, 21))},
        "64": {"frames": tuple(range(-15, 16))},
        "32": {"frames": tuple(range(-7, 9))},
    },
    axis="px",
    source=SOURCE,
)
def translate(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Move the image from left to right."""
    for right in frames:
        yield translated(batch, input_size, right)


@perturbation(levels={name: {"frames": _DEGREES} for name in _EVERYWHERE}, axis="degrees", source=SOURCE)
def rotate(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Rotate the image about its centre."""
    for angle in frames:
        yield _mapped(batch, input_size, partial(inverse_affine, angle=angle))


@perturbation(levels={name: {"frames": _DEGREES} for name in _EVERYWHERE}, axis="degrees", source=SOURCE)
def shear(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Shear the image."""
    for angle in frames:
        yield _mapped(batch, input_size, partial(inverse_affine, shear=angle))


_SCALES = tuple((40 + 2.5 * i) / 100 for i in range(31))


@perturbation(
    levels={
        "224": {"frames": _SCALES},
        "299": {"frames": _SCALES},
        "64": {"frames": _SCALES},
        "32": {"frames": tuple((70 + 2 * i) / 100 for i in range(31))},
    },
    axis="scale",
    source=SOURCE,
)
def scale(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Enlarge the image from a small one on black."""
    for factor in frames:
        yield _mapped(batch, input_size, partial(inverse_affine, scale=factor))


@perturbation(
    levels={
        "224": {"frames": _DEGREES},
        "299": {"frames": _DEGREES},
        "64": {"frames": _DEGREES},
        "32": {"frames": tuple(0.75 * angle for angle in _DEGREES)},
    },
    axis="degrees",
    source=SOURCE,
)
def tilt(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Tilt the image out of its plane about both of its axes."""
    for angle in frames:
        levels = perspective(batch, input_size, [inverse_tilt(size, angle) for size in batch.sizes])
        yield levels.round_().to(torch.uint8)


@perturbation(
    levels={name: {"frames": tuple(1 + 0.004 * j for j in range(31))} for name in _EVERYWHERE},
    axis="scale",
    source=SOURCE,
)
def zoom_blur(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Average over a growing number of zooms into the image."""
    total: Images | None = None
    for count, factor in enumerate(frames, start=1):
        frame = _mapped(batch, input_size, partial(inverse_affine, scale=factor))
        total = frame.int() if total is None else total + frame
        yield total.div(count, rounding_mode="floor").to(torch.uint8)


def _mapped(batch: PaddedBatch, input_size: Shape, matrix: Callable[[tuple[int, int]], tuple[float, ...]]) -> Images:
    matrices = {size: matrix(size) for size in dict.fromkeys(batch.sizes)}
    if all(values == (1, 0, 0, 0, 1, 0) for values in matrices.values()):
        return crop(batch, input_size)
    return affine(batch, input_size, [matrices[size] for size in batch.sizes])
