"""Frames of a picture that moves: translate, rotate, tilt, scale, shear, and zoom blur."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import perturbation
from robench.transforms.warps import PaddedBatch, affine, crop, inverse_affine, inverse_tilt, perspective
from robench.transforms.warps import translate as moved
from robench.types import Images

__all__ = ["rotate", "scale", "shear", "tilt", "translate", "zoom_blur"]

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
def translate(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int]) -> Iterator[Images]:
    """Move the picture from left to right."""
    for right in frames:
        yield moved(pictures, side, right)


@perturbation(levels={name: {"frames": _DEGREES} for name in _EVERYWHERE}, axis="degrees", source=SOURCE)
def rotate(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Turn the picture about its middle."""
    for angle in frames:
        yield _mapped(pictures, side, partial(inverse_affine, angle=angle))


@perturbation(levels={name: {"frames": _DEGREES} for name in _EVERYWHERE}, axis="degrees", source=SOURCE)
def shear(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Lean the picture over."""
    for angle in frames:
        yield _mapped(pictures, side, partial(inverse_affine, shear=angle))


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
def scale(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Enlarge the picture from a small one amid black."""
    for factor in frames:
        yield _mapped(pictures, side, partial(inverse_affine, scale=factor))


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
def tilt(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Turn the picture out of its plane about both of its axes."""
    for angle in frames:
        levels = perspective(pictures, side, [inverse_tilt(size, angle) for size in pictures.sizes])
        yield levels.round_().to(torch.uint8)


@perturbation(
    levels={name: {"frames": tuple(1 + 0.004 * j for j in range(31))} for name in _EVERYWHERE},
    axis="scale",
    source=SOURCE,
)
def zoom_blur(pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Average over ever more zooms into the picture."""
    total: Images | None = None
    for count, factor in enumerate(frames, start=1):
        frame = _mapped(pictures, side, partial(inverse_affine, scale=factor))
        total = frame.int() if total is None else total + frame
        yield total.div(count, rounding_mode="floor").to(torch.uint8)


def _mapped(pictures: PaddedBatch, side: int, matrix: Callable[[tuple[int, int]], tuple[float, ...]]) -> Images:
    matrices = {size: matrix(size) for size in dict.fromkeys(pictures.sizes)}
    if all(one == (1, 0, 0, 0, 1, 0) for one in matrices.values()):
        return crop(pictures, side)
    return affine(pictures, side, [matrices[size] for size in pictures.sizes])
