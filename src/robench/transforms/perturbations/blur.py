"""Blur: motion in a rotating direction, and a growing Gaussian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from robench.transforms import filters
from robench.transforms.draws import Draws
from robench.transforms.filters import motion_taps
from robench.transforms.perturbations.base import perturbation
from robench.transforms.perturbations.geometry import SOURCE
from robench.transforms.resize import resize, to_float, to_uint8
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images, Shape

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
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float], radius: int, sigma: float
) -> Iterator[Images]:
    """Smear in one direction, which rotates from frame to frame."""
    return _smeared(crop(batch, input_size), frames, radius, sigma)


@perturbation(
    levels={"64": {"frames": tuple(5 * (i - 30) for i in range(31)), "radius": 14, "sigma": 3}},
    axis="degrees",
    source=SOURCE,
    uses_original_size=True,
)
def stored_motion_blur(
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float], radius: int, sigma: float
) -> Iterator[Images]:
    """Smear the stored image in one direction, which rotates from frame to frame, and then shrink it."""
    stored = [batch.pixels[row : row + 1, :, :height, :width] for row, (height, width) in enumerate(batch.sizes)]
    for smeared in zip(*(_smeared(image, frames, radius, sigma) for image in stored), strict=True):
        small = [resize(image, _resized(image.shape[2], image.shape[3], min(input_size))) for image in smeared]
        yield torch.cat([crop(PaddedBatch.of(image), input_size) for image in small])


def _resized(height: int, width: int, short: int) -> tuple[int, int]:
    """Return the height and width of a resize whose shorter side is `short`."""
    return (int(short * height / width), short) if width <= height else (short, int(short * width / height))


def _smeared(images: Images, frames: Sequence[float], radius: int, sigma: float) -> Iterator[Images]:
    """Yield the smeared images; all images of a frame have one direction, so they are planes of one image."""
    planes, taps = images.flatten(0, 1)[None], motion_taps(radius, sigma)
    for angle in frames:
        yield filters.smeared(planes, taps, angle).reshape(images.shape)


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
    batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float], truncate: float
) -> Iterator[Images]:
    """Blur with a Gaussian that grows from frame to frame; `frames` are its sigmas in pixels."""
    images = to_float(crop(batch, input_size))
    for sigma in frames:
        yield to_uint8(filters.gaussian_blur(images, sigma, truncate))
