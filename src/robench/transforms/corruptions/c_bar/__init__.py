"""The corruptions of ImageNet-C-bar and CIFAR-10-C-bar (arXiv:2102.11273), written from the definitions of the paper's code."""

from __future__ import annotations

from robench.transforms.corruptions.base import Corruption
from robench.transforms.corruptions.c_bar.noise import (
    blue_noise_sample,
    brownish_noise,
    cocentric_sine_waves,
    perlin_noise,
    plasma_noise,
    single_frequency_greyscale,
)
from robench.transforms.corruptions.c_bar.overlays import checkerboard_cutout, inverse_sparkles, lines, sparkles
from robench.transforms.corruptions.c_bar.warps import (
    caustic_refraction,
    circular_motion_blur,
    pinch_and_twirl,
    ripple,
    transverse_chromatic_abberation,
)

__all__ = ["C_BAR"]

C_BAR: dict[str, Corruption] = {
    entry.name: entry
    for entry in (
        caustic_refraction,
        inverse_sparkles,
        sparkles,
        perlin_noise,
        blue_noise_sample,
        plasma_noise,
        checkerboard_cutout,
        cocentric_sine_waves,
        single_frequency_greyscale,
        brownish_noise,
        pinch_and_twirl,
        ripple,
        circular_motion_blur,
        lines,
        transverse_chromatic_abberation,
    )
}
"""Corruptions by name, in the order of ImageNet-C-bar, then of CIFAR-10-C-bar."""
