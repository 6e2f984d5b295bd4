"""Noise that is independent for every value."""

from __future__ import annotations

import torch

from robench.transforms.corruptions.base import PUBLISHED, corruption, severities
from robench.transforms.draws import Draws
from robench.types import FloatImages, Images

__all__ = ["gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"]


@corruption(
    levels={
        "224": severities(sigma=(0.08, 0.12, 0.18, 0.26, 0.38)),
        "299": severities(sigma=(0.09, 0.13, 0.19, 0.27, 0.40)),
        "64": severities(sigma=(0.04, 0.08, 0.12, 0.15, 0.18)),
        "32": severities(sigma=(0.04, 0.06, 0.08, 0.09, 0.10)),
    },
    source=PUBLISHED,
    random=True,
    per_band=True,
)
def gaussian_noise(images: FloatImages, draws: Draws, *, sigma: float) -> FloatImages:
    """Add independent Gaussian noise to every value; `sigma` is a fraction of full scale."""
    return draws.normal("noise", tuple(images.shape[1:])).mul_(sigma).add_(images)


@corruption(
    levels={
        "224": severities(photons=(60, 25, 12, 5, 3)),
        "299": severities(photons=(50, 20, 10, 5, 3)),
        "64": severities(photons=(250, 100, 50, 30, 15)),
        "32": severities(photons=(500, 250, 100, 75, 50)),
    },
    source=PUBLISHED,
    random=True,
    per_band=True,
)
def shot_noise(images: FloatImages, draws: Draws, *, photons: float) -> FloatImages:
    """Replace every value by a Poisson count; `photons` is the expected count at full scale."""
    # The input has 8 bits, so 256 rates occur, with the same quotients as in the published NumPy code.
    rates = tuple(level / 255 * photons for level in range(256))
    counts = draws.poisson("noise", rates, images.mul(255).round_().long())
    return counts.div_(torch.full((), float(photons), device=images.device))


@corruption(
    levels={
        "224": severities(amount=(0.03, 0.06, 0.09, 0.17, 0.27)),
        "299": severities(amount=(0.04, 0.07, 0.10, 0.18, 0.28)),
        "64": severities(amount=(0.01, 0.02, 0.05, 0.08, 0.14)),
        "32": severities(amount=(0.01, 0.02, 0.03, 0.05, 0.07)),
    },
    source=PUBLISHED,
    random=True,
    values="uint8",
    per_band=True,
)
def impulse_noise(images: Images, draws: Draws, *, amount: float) -> Images:
    """Set a share `amount` of all values to 0 or 255, half each."""
    # Both ends of one draw are used, so every value that a mild severity sets is equal at a stronger one.
    drawn = draws.int16("noise", tuple(images.shape[1:]))
    half = round(amount / 2 * 2**16)
    return images.masked_fill(drawn < half - 2**15, 255).masked_fill_(drawn >= 2**15 - half, 0)


@corruption(
    levels={
        "224": severities(sigma=(0.15, 0.2, 0.35, 0.45, 0.6)),
        "299": severities(sigma=(0.16, 0.21, 0.36, 0.46, 0.61)),
        "64": severities(sigma=(0.15, 0.2, 0.25, 0.3, 0.35)),
        "32": severities(sigma=(0.06, 0.1, 0.12, 0.16, 0.2)),
    },
    source=PUBLISHED,
    random=True,
    per_band=True,
)
def speckle_noise(images: FloatImages, draws: Draws, *, sigma: float) -> FloatImages:
    """Multiply every value by one plus Gaussian noise of standard deviation `sigma`."""
    return draws.normal("noise", tuple(images.shape[1:])).mul_(sigma).mul_(images).add_(images)
