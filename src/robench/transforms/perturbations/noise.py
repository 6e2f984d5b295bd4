"""Frames of a picture under ever new noise; frame 0 is the picture itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from robench.transforms import corruptions
from robench.transforms.corruptions.base import Corruption
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Constants, perturbation
from robench.transforms.perturbations.geometry import SOURCE
from robench.transforms.warps import PaddedBatch, crop
from robench.types import Images

__all__ = ["gaussian_noise", "shot_noise", "speckle_noise"]


def _three(name: str, values: tuple[float, float, float]) -> tuple[Constants, ...]:
    return tuple({"frames": tuple(range(31)), name: value} for value in values)


@perturbation(
    levels={
        "224": _three("sigma", (0.03, 0.05, 0.08)),
        "299": _three("sigma", (0.035, 0.055, 0.085)),
        "64": _three("sigma", (0.025, 0.05, 0.075)),
        "32": _three("sigma", (0.02, 0.04, 0.06)),
    },
    axis="frame",
    source=SOURCE,
    independent=True,
)
def gaussian_noise(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int], sigma: float
) -> Iterator[Images]:
    """Add Gaussian noise, each frame its own; sigma is a fraction of full scale."""
    return _noisy(corruptions.CORRUPTIONS["gaussian_noise"], crop(pictures, side), draws, frames, {"sigma": sigma})


@perturbation(
    levels={
        "224": _three("photons", (300, 120, 60)),
        "299": _three("photons", (250, 100, 50)),
        "64": _three("photons", (500, 250, 125)),
        "32": _three("photons", (700, 400, 200)),
    },
    axis="frame",
    source=SOURCE,
    independent=True,
)
def shot_noise(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int], photons: float
) -> Iterator[Images]:
    """Count photons, each frame anew; `photons` are expected at full scale."""
    return _noisy(corruptions.CORRUPTIONS["shot_noise"], crop(pictures, side), draws, frames, {"photons": photons})


@perturbation(
    levels={
        "224": _three("sigma", (0.05, 0.10, 0.15)),
        "299": _three("sigma", (0.06, 0.11, 0.16)),
        "64": _three("sigma", (0.05, 0.10, 0.15)),
        "32": _three("sigma", (0.05, 0.07, 0.10)),
    },
    axis="frame",
    source=SOURCE,
    independent=True,
)
def speckle_noise(
    pictures: PaddedBatch, side: int, draws: Draws, *, frames: Sequence[int], sigma: float
) -> Iterator[Images]:
    """Multiply by one plus Gaussian noise, each frame its own."""
    return _noisy(corruptions.CORRUPTIONS["speckle_noise"], crop(pictures, side), draws, frames, {"sigma": sigma})


def _noisy(
    noise: Corruption, images: Images, draws: Draws, frames: Sequence[int], level: Mapping[str, float]
) -> Iterator[Images]:
    for frame in frames:
        yield noise(images, draws.scoped(str(frame)), level) if frame else images
