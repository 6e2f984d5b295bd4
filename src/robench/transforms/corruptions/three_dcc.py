"""The three corruptions of ImageNet-3DCC that act on the image alone, written from the formulas of the paper."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from robench.transforms.corruptions.base import Corruption, corruption, severities
from robench.transforms.device import constant
from robench.transforms.draws import Draws
from robench.types import Floats, Images, Ints

__all__ = ["THREE_DCC", "THREE_DCC_CONSTANTS"]

THREE_DCC_CONSTANTS = "imagenet-3dcc-2d"
"""Name of the set of constants."""

_SOURCE = "arXiv:2203.01441 (formulas)"


@corruption(
    levels={THREE_DCC_CONSTANTS: severities(sigma=tuple(0.7 * sigma for sigma in (0.08, 0.12, 0.18, 0.26, 0.38)))},
    source=_SOURCE,
    values="uint8",
    random=True,
)
def iso_noise(images: Images, draws: Draws, *, sigma: float) -> Images:
    """Add the shot noise of 25 photons, clip, and add Gaussian noise; `sigma` is a fraction of full scale."""
    rates = tuple(level / 255 * 25 for level in range(256))
    shot = (draws.poisson("photons", rates, images.long()).double() / 25).clamp_(0, 1)
    return _with_noise(shot, draws, sigma)


@corruption(
    levels={THREE_DCC_CONSTANTS: severities(scale=(0.6, 0.5, 0.4, 0.3, 0.2))},
    source=_SOURCE,
    values="uint8",
    random=True,
)
def low_light(images: Images, draws: Draws, *, scale: float) -> Images:
    """Square the stretched image, darken it to `scale`, and add the noise of a camera in the dark.

    The image is stretched from its smallest to its largest value. An image of one value becomes black.
    """
    values = images.long()
    low, high = (extreme[:, None, None, None] for extreme in values.flatten(1).aminmax(dim=1))
    span = high - low
    fraction = constant(images.device, _fraction_numbers)[span, values - low]
    photons = draws.poisson("photons", _low_light_rates(scale), fraction)
    dark = _with_noise((photons.double() / _PHOTONS).clamp_(0, 1), draws, 0.018)
    return dark.masked_fill_(span == 0, 0)


_PHOTONS = 120
"""Expected photons at full scale in low light."""


@lru_cache(maxsize=1)
def _fractions() -> tuple[Floats, Ints]:
    """Return the fractions n / d of two numbers up to 255, each once, and the place of each among them by d, then n.

    A value less the smallest one is n, and the range of the image is d.
    """
    span = np.maximum(np.arange(256), 1)
    found, places = np.unique(np.minimum(np.arange(256) / span[:, None], 1), return_inverse=True)
    return found, places.reshape(256, 256)


def _fraction_numbers() -> Ints:
    return _fractions()[1]


@lru_cache(maxsize=8)
def _low_light_rates(scale: float) -> tuple[float, ...]:
    """Return the expected photons of each of the fractions."""
    return tuple((_fractions()[0] ** 2 * scale * _PHOTONS).tolist())


@corruption(
    levels={THREE_DCC_CONSTANTS: severities(bits=(5, 4, 3, 2, 1))}, source=_SOURCE, values="uint8", interpolates=False
)
def color_quant(images: Images, draws: Draws, *, bits: int) -> Images:
    """Keep the highest `bits` bits of every value, and clear the others."""
    return images & (256 - (1 << (8 - bits)))


def _with_noise(values: torch.Tensor, draws: Draws, sigma: float) -> Images:
    """Add Gaussian noise to (b, 3, h, w) float64 in 0..1; clip and truncate to uint8."""
    noisy = draws.normal("noise", tuple(values.shape[1:])).double().mul_(sigma).add_(values)
    return noisy.clamp_(0, 1).mul_(255).to(torch.uint8)


THREE_DCC: dict[str, Corruption] = {entry.name: entry for entry in (iso_noise, low_light, color_quant)}
"""Corruptions by name, in the order of the suite."""
