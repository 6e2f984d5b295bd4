"""Suites of ImageNet-C-bar and CIFAR-10-C-bar (arXiv:2102.11273), and of the depth-free part of ImageNet-3DCC (arXiv:2203.01441)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from robench.suites.geometry import Geometry
from robench.suites.suite import Suite

__all__ = ["CIFAR_C_BAR", "C_BAR_VALUES", "IMAGENET_3DCC_2D", "IMAGENET_C_BAR"]

_IMAGENET_VALUES = {
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "inverse_sparkles": (1, 2, 4, 9, 10),
    "sparkles": (1, 2, 3, 5, 6),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "blue_noise_sample": (0.8, 1.6, 2.4, 4, 5.6),
    "plasma_noise": (4.75, 7, 8.5, 9.25, 10),
    "checkerboard_cutout": (2, 3, 4, 5, 6),
    "cocentric_sine_waves": (3, 5, 8, 9, 10),
    "single_frequency_greyscale": (1, 1.5, 2, 4.5, 5),
    "brownish_noise": (1, 2, 3, 4, 5),
}

_CIFAR_VALUES = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "checkerboard_cutout": (1, 2, 3, 4, 5),
    "inverse_sparkles": (1, 1.5, 2.5, 4.5, 5),
    "pinch_and_twirl": (5.5, 6, 6.5, 8.5, 10),
    "ripple": (5.5, 6, 6.5, 7.5, 8),
    "brownish_noise": (2.5, 4, 5.5, 6.5, 7),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6),
    "lines": (0.5, 1, 1.5, 2, 2.5),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7),
    "transverse_chromatic_abberation": (1, 2, 5, 9, 10),
}

C_BAR_VALUES: Mapping[str, Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {"imagenet-c-bar": _IMAGENET_VALUES, "cifar-c-bar": _CIFAR_VALUES}
)
"""Published values of severities 1 to 5, 0 to 10, by suite and corruption, in the published order and spelling.

Severity 5 is the fifth value, not the value 5. The published generator names folders by the values.
"""

_SOURCE = "arXiv:2102.11273; facebookresearch/augmentation-corruption ba4d5a5"

IMAGENET_C_BAR = Suite(
    name="imagenet-c-bar",
    summary="10 corruptions x 5 severities, unlike those of ImageNet-C, at 224 px",
    source=f"{_SOURCE} imagenet_c_bar.csv",
    geometry=Geometry(resize=256, crop=224),
    constants="imagenet-c-bar",
    corruptions=tuple(_IMAGENET_VALUES),
    prefix="c_bar_",
    release_jpeg=85,
)

CIFAR_C_BAR = Suite(
    name="cifar-c-bar",
    summary="10 corruptions x 5 severities, unlike those of CIFAR-C, at 32 px (CIFAR-10-C-bar)",
    source=f"{_SOURCE} cifar10_c_bar.csv",
    geometry=Geometry(resize=(32, 32)),
    constants="cifar-c-bar",
    corruptions=tuple(_CIFAR_VALUES),
    prefix="c_bar_",
)

IMAGENET_3DCC_2D = Suite(
    name="imagenet-3dcc-2d",
    summary="the 3 corruptions of ImageNet-3DCC that need no depth x 5 severities, at 224 px; not 3DCC",
    source="arXiv:2203.01441, corruptions that act on the image alone",
    geometry=Geometry(resize=256, crop=224),
    constants="imagenet-3dcc-2d",
    corruptions=("iso_noise", "low_light", "color_quant"),
    prefix="3dcc_2d_",
)
