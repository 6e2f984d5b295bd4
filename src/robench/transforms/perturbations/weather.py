"""Changing light, falling snow, and water that runs down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robench.transforms import corruptions, filters
from robench.transforms.corruptions.spatter import water
from robench.transforms.corruptions.weather import whitened
from robench.transforms.draws import Draws
from robench.transforms.filters import clipped_zoom, motion_taps
from robench.transforms.perturbations.base import perturbation
from robench.transforms.perturbations.geometry import SOURCE
from robench.transforms.resize import to_float, to_uint8
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images, Shape

__all__ = ["brightness", "snow", "spatter"]

_SHIFTS = tuple(0.02 * (i - 15) for i in range(31))


@perturbation(
    levels={
        "224": {"frames": _SHIFTS},
        "299": {"frames": _SHIFTS},
        "64": {"frames": _SHIFTS},
        "32": {"frames": tuple(0.015 * (i - 15) for i in range(31))},
    },
    axis="shift",
    source=SOURCE,
    per_band=False,
)
def brightness(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
    """Raise HSV's value from frame to frame, from darker than the image to lighter."""
    images = crop(batch, input_size)
    for shift in frames:
        yield corruptions.CORRUPTIONS["brightness"](images, draws, {"shift": shift})


_ANGLES = tuple(4 * i - 150 for i in range(31))
_FLAKES = {"frames": _ANGLES, "mean": 0.05, "threshold": 0.5, "mix": 0.85}


@perturbation(
    levels={
        "224": {**_FLAKES, "deviation": 0.3, "zoom": 3, "radius": 14, "sigma": 4},
        "299": {**_FLAKES, "deviation": 0.3, "zoom": 3, "radius": 14, "sigma": 4},
        "64": {**_FLAKES, "deviation": 0.28, "zoom": 2, "radius": 10, "sigma": 2.5},
        "32": {**_FLAKES, "deviation": 0.3, "zoom": 2, "radius": 10, "sigma": 2},
    },
    axis="degrees",
    source=SOURCE,
    per_band=False,
)
def snow(
    batch: PaddedBatch,
    input_size: Shape,
    draws: Draws,
    *,
    frames: Sequence[float],
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    mix: float,
) -> Iterator[Images]:
    """Let the same flakes fall in a direction that rotates from frame to frame."""
    white = whitened(to_float(crop(batch, input_size)), mix)
    flakes = clipped_zoom(draws.normal("flakes", input_size)[:, None] * deviation + mean, zoom)
    # All images of a frame have one direction, so their flakes are planes of one image.
    planes = to_uint8(torch.where(flakes < threshold, 0, flakes)).transpose(0, 1)
    for angle in frames:
        falling = to_float(filters.smeared(planes, motion_taps(radius, sigma), angle))
        falling = falling.transpose(0, 1)
        yield to_uint8(white + falling + falling.flip(2, 3))


_DRIPS = {"frames": tuple(range(31)), "strength": 0.6}


@perturbation(
    levels={
        "224": {
            **_DRIPS,
            "mean": 0.65,
            "deviation": 0.27,
            "sigma": 3.7,
            "threshold": 0.69,
            "drip": (0.05, 0.1, 0.15, 0.7),
        },
        "299": {
            **_DRIPS,
            "mean": 0.65,
            "deviation": 0.3,
            "sigma": 4,
            "threshold": 0.69,
            "drip": (0.05, 0.1, 0.15, 0.7),
        },
        "64": {**_DRIPS, "mean": 0.6, "deviation": 0.25, "sigma": 1.75, "threshold": 0.7, "drip": (0.2, 0.8)},
        "32": {**_DRIPS, "mean": 0.6, "deviation": 0.265, "sigma": 1.75, "threshold": 0.7, "drip": (0.2, 0.8)},
    },
    axis="frame",
    source=SOURCE,
    per_band=False,
)
def spatter(
    batch: PaddedBatch,
    input_size: Shape,
    draws: Draws,
    *,
    frames: Sequence[int],
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    drip: tuple[float, ...],
    strength: float,
) -> Iterator[Images]:
    """Splash water over the image, and let it run down from frame to frame."""
    images = to_float(crop(batch, input_size))
    liquid = filters.gaussian_blur(draws.normal("liquid", input_size)[:, None] * deviation + mean, sigma)
    liquid = torch.where(liquid < threshold, 0, liquid)
    for _ in frames:
        yield to_uint8(images + water(liquid, strength))
        liquid = _run_down(liquid, drip)


def _run_down(liquid: Tensor, drip: tuple[float, ...]) -> Tensor:
    """Convolve the columns of (b, 1, h, w) with `drip`, zero outside, to the same shape."""
    after = (len(drip) - 1) // 2
    height = liquid.shape[2]
    padded = functional.pad(liquid, (0, 0, len(drip) - 1 - after, after))
    result = torch.zeros_like(liquid)
    for row, weight in enumerate(reversed(drip)):
        result.add_(padded.narrow(2, row, height) * weight)
    return result
