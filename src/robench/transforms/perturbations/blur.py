"""Frames of a picture that is blurred: by motion in a turning direction, and ever more by a Gaussian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from robench.transforms import filters
from robench.transforms.draws import Draws
from robench.transforms.filters import magick_bytes, motion_taps
from robench.transforms.perturbations.base import perturbation
from robench.transforms.perturbations.geometry import SOURCE
from robench.transforms.resize import resize, to_float, to_uint8
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images

__all__ = ["gaussian_blur", "motion_blur", "stored_motion_blur"]


@perturbation(
    levels={
        "224": {"frames": tuple(4 * (i - 30) for i in range(31)), "radius": 10, "sigma": 3},
        "299": {"frames": tuple(4 * (i - 30) for i in range(31)), "radius": 13, "sigma": 3},
        "32": {"frames": tuple(9 * (i - 20) for i in range(21)), "radius": 6, "sigma": 1.8},
    },
    axis="degrees",
    source=SOURCE,
)
def motion_blur(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float], radius: int, sigma: float
) -> Iterator[Images]:
    """Smear in one direction, which turns from frame to frame."""
    return _smeared(crop(pictures, side), frames, radius, sigma)


@perturbation(
    levels={"64": {"frames": tuple(5 * (i - 30) for i in range(31)), "radius": 14, "sigma": 3}},
    axis="degrees",
    source=SOURCE,
    uses_original_size=True,
)
def stored_motion_blur(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float], radius: int, sigma: float
) -> Iterator[Images]:
    """Smear the picture as it is stored in one direction, which turns from frame to frame, and only then shrink it."""
    whole = [pictures.pixels[row : row + 1, :, :height, :width] for row, (height, width) in enumerate(pictures.sizes)]
    for smeared in zip(*(_smeared(one, frames, radius, sigma) for one in whole), strict=True):
        small = [resize(one, _short_side(one.shape[2], one.shape[3], side)) for one in smeared]
        yield torch.cat([crop(PaddedBatch.of(one), side) for one in small])


def _short_side(height: int, width: int, side: int) -> tuple[int, int]:
    return (int(side * height / width), side) if width <= height else (side, int(side * width / height))


def _smeared(images: Images, frames: Sequence[float], radius: int, sigma: float) -> Iterator[Images]:
    """All images of a frame are smeared alike, so they are planes of one."""
    planes, taps = images.flatten(0, 1)[None].double(), motion_taps(radius, sigma)
    for angle in frames:
        direction = torch.full((1,), float(angle), device=images.device)
        yield magick_bytes(filters.motion_blur(planes, taps, direction)).reshape(images.shape)


@perturbation(
    levels={
        "224": {"frames": tuple(0.25 + 0.035 * i for i in range(31)), "truncate": 6.0},
        "299": {"frames": tuple(0.35 + 0.035 * i for i in range(31)), "truncate": 6.0},
        "64": {"frames": tuple(0.35 + 0.014 * i for i in range(31)), "truncate": 7.0},
        "32": {"frames": tuple(0.3 + 0.015 * i for i in range(31)), "truncate": 7.0},
    },
    axis="sigma",
    source=SOURCE,
)
def gaussian_blur(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[float], truncate: float
) -> Iterator[Images]:
    """Blur with a Gaussian that grows from frame to frame; sigma in pixels."""
    images = to_float(crop(pictures, side))
    for sigma in frames:
        yield to_uint8(filters.gaussian_blur(images, sigma, truncate))
