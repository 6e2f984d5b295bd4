"""Frames of a picture that is degraded ever more: noises, light and contrast, by strength."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from robench import corruptions
from robench.corruption import Level, corruption
from robench.draws import Draws
from robench.perturbation import Perturbation, perturbation
from robench.rectangles import Rectangles, crop
from robench.types import FloatImages, Images

__all__ = ["DEGRADATIONS"]

_SOURCE = "degradations of Yin et al. 2020, arXiv:1902.06550 (LocalNorm)"
_EVERYWHERE = ("224", "299", "64", "32")
_SIGMAS = (0.02, 0.04, 0.06, 0.08, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50)


@corruption(levels={}, source=_SOURCE, random=True)
def _uniform(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Add noise that is uniform between -strength and strength."""
    noise: Tensor = draws.uniform("noise", tuple(images.shape[1:]))
    return noise.mul_(2).sub_(1).mul_(strength).add_(images)


@corruption(levels={}, source=_SOURCE)
def _offset(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Add the same to every value."""
    return images + strength


@corruption(levels={}, source=_SOURCE)
def _gain(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Spread all values about mid-grey by a factor."""
    return (images - 0.5) * strength + 0.5


def _degradation(
    name: str, summary: str, strengths: tuple[float, ...], apply: Callable[[Images, Draws, float], Images]
) -> Perturbation:
    def kernel(pictures: Rectangles, side: int, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
        images = crop(pictures, side)
        for strength in frames:
            yield apply(images, draws, strength)

    kernel.__name__, kernel.__doc__ = name, summary
    return perturbation(levels={one: {"frames": strengths} for one in _EVERYWHERE}, axis="strength", source=_SOURCE)(
        kernel
    )


def _published(name: str, level: Callable[[float], Level]) -> Callable[[Images, Draws, float], Images]:
    """A corruption of the -C family, whose constant is a function of the strength."""
    return lambda images, draws, strength: corruptions.CORRUPTIONS[name](images, draws, level(strength))


DEGRADATIONS: tuple[Perturbation, ...] = (
    _degradation(
        "gaussian",
        "Add Gaussian noise; strength: its standard deviation, a fraction of full scale.",
        _SIGMAS,
        _published("gaussian_noise", lambda strength: {"sigma": strength}),
    ),
    _degradation(
        "uniform",
        "Add uniform noise; strength: half of its width.",
        _SIGMAS,
        lambda images, draws, strength: _uniform(images, draws, {"strength": strength}),
    ),
    _degradation(
        "salt_and_pepper",
        "Set values to 0 or 255; strength: their share.",
        (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.30, 0.50),
        _published("impulse_noise", lambda strength: {"amount": strength}),
    ),
    _degradation(
        "speckle",
        "Multiply by one plus Gaussian noise; strength: its standard deviation.",
        _SIGMAS,
        _published("speckle_noise", lambda strength: {"sigma": strength}),
    ),
    _degradation(
        "poisson",
        "Count photons; strength: one by the number expected at full scale.",
        tuple(1 / photons for photons in (500, 250, 120, 60, 30, 15, 10, 6, 4, 3)),
        _published("shot_noise", lambda strength: {"photons": 1 / strength}),
    ),
    _degradation(
        "offset",
        "Add the same to every value; strength: a fraction of full scale.",
        (-0.4, -0.3, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.3, 0.4),
        lambda images, draws, strength: _offset(images, draws, {"strength": strength}),
    ),
    _degradation(
        "gain",
        "Spread all values about mid-grey; strength: the factor, 1 leaves them.",
        (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.5, 2, 3, 5),
        lambda images, draws, strength: _gain(images, draws, {"strength": strength}),
    ),
)
