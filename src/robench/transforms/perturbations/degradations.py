"""Degradations by strength: noise, light and contrast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.corruptions.base import Corruption, Params, corruption
from robench.transforms.draws import Draws
from robench.transforms.perturbations.base import Perturbation, perturbation
from robench.transforms.warps import PaddedBatch, crop
from robench.types import FloatImages, Images, Shape

__all__ = ["DEGRADATIONS"]

_SOURCE = "degradations of Yin et al. 2019, arXiv:1902.06550 (LocalNorm)"
_EVERYWHERE = ("224", "299", "64", "32")
_SIGMAS = (0.02, 0.04, 0.06, 0.08, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50)
_SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.30, 0.50)
_WIDTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Widths of multiplicative uniform noise, chosen for robench because the paper's levels are unknown.

A uniform factor of width w has the standard deviation w / sqrt(12), here .03 to .87. Speckle's sigma is .02 to .50.
"""


@corruption(levels={}, source=_SOURCE, random=True, per_band=True)
def _uniform(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Add noise that is uniform between -strength and strength."""
    noise: Tensor = draws.uniform("noise", tuple(images.shape[1:]))
    return noise.mul_(2).sub_(1).mul_(strength).add_(images)


@corruption(levels={}, source=_SOURCE, random=True, per_band=True)
def _multiplicative(images: FloatImages, draws: Draws, *, strength: float, low: float) -> FloatImages:
    """Multiply every value by 1 + strength u, where u is uniform between low and low + 1."""
    noise: Tensor = draws.uniform("noise", tuple(images.shape[1:]))
    return noise.add_(low).mul_(strength).mul_(images).add_(images)


@corruption(levels={}, source=_SOURCE, random=True, per_band=True)
def _counts(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Multiply every value by one plus a Poisson count of mean `strength`."""
    row = torch.zeros(images.shape, dtype=torch.int64, device=images.device)
    return draws.poisson("noise", (strength,), row).mul_(images).add_(images)


@corruption(levels={}, source=_SOURCE, random=True, values="uint8", per_band=True)
def _masked(images: Images, draws: Draws, *, strength: float) -> Images:
    """Set a share `strength` of the pixels to 0 in all three channels."""
    drawn = draws.int16("mask", tuple(images.shape[2:]))
    return images.masked_fill(drawn[:, None] < round(strength * 2**16) - 2**15, 0)


@corruption(levels={}, source=_SOURCE, per_band=True)
def _offset(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Add `strength` to every value."""
    return images + strength


@corruption(levels={}, source=_SOURCE, per_band=True)
def _gain(images: FloatImages, draws: Draws, *, strength: float) -> FloatImages:
    """Multiply the distance of all values from mid-grey by `strength`."""
    return (images - 0.5) * strength + 0.5


def _degradation(
    name: str,
    summary: str,
    strengths: tuple[float, ...],
    corruption: Corruption,
    params: Callable[[float], Params] = lambda strength: {"strength": strength},
) -> Perturbation:
    """Return the frames of a corruption whose constants are a function of the strength."""

    def kernel(batch: PaddedBatch, input_size: Shape, draws: Draws, *, frames: Sequence[float]) -> Iterator[Images]:
        images = crop(batch, input_size)
        for strength in frames:
            yield corruption(images, draws, params(strength))

    kernel.__name__, kernel.__doc__ = name, summary
    levels = {constants: {"frames": strengths} for constants in _EVERYWHERE}
    return perturbation(levels=levels, axis="strength", source=_SOURCE)(kernel)


DEGRADATIONS: tuple[Perturbation, ...] = (
    _degradation(
        "gaussian",
        "Add Gaussian noise; strength: its standard deviation, a fraction of full scale.",
        _SIGMAS,
        CORRUPTIONS["gaussian_noise"],
        lambda strength: {"sigma": strength},
    ),
    _degradation("uniform", "Add uniform noise; strength: half of its width.", _SIGMAS, _uniform),
    _degradation(
        "salt_and_pepper",
        "Set values to 0 or 255; strength: their share.",
        _SHARES,
        CORRUPTIONS["impulse_noise"],
        lambda strength: {"amount": strength},
    ),
    _degradation(
        "speckle",
        "Multiply by one plus Gaussian noise; strength: its standard deviation.",
        _SIGMAS,
        CORRUPTIONS["speckle_noise"],
        lambda strength: {"sigma": strength},
    ),
    _degradation(
        "poisson",
        "Count photons; strength: reciprocal of the expected count at full scale.",
        tuple(1 / photons for photons in (500, 250, 120, 60, 30, 15, 10, 6, 4, 3)),
        CORRUPTIONS["shot_noise"],
        lambda strength: {"photons": 1 / strength},
    ),
    _degradation(
        "offset",
        "Add a constant to every value; strength: the constant, a fraction of full scale.",
        (-0.4, -0.3, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.3, 0.4),
        _offset,
    ),
    _degradation(
        "gain",
        "Multiply the distance from mid-grey; strength: the factor, where 1 changes nothing.",
        (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.5, 2, 3, 5),
        _gain,
    ),
    _degradation(
        "multiplicative_one_sided",
        "Multiply by 1 + strength u, u uniform between 0 and 1, which only brightens.",
        _WIDTHS,
        _multiplicative,
        lambda strength: {"strength": strength, "low": 0.0},
    ),
    _degradation(
        "multiplicative_two_sided",
        "Multiply by 1 + strength u, u uniform between -1/2 and 1/2.",
        _WIDTHS,
        _multiplicative,
        lambda strength: {"strength": strength, "low": -0.5},
    ),
    # The strengths of the last two are robench's choice: approximate shares of changed values, as of salt and pepper.
    _degradation(
        "multiplicative_poisson", "Multiply by one plus a Poisson count; strength: its mean.", _SHARES, _counts
    ),
    _degradation(
        "shared_mask",
        "Set pixels to 0 in all channels at once (a Bernoulli mask); strength: their share.",
        _SHARES,
        _masked,
    ),
)
