"""Suites at the input size of the model: shift, scale, noise strength, occlusion and resolution."""

from __future__ import annotations

from robench.suites import families
from robench.suites.imagenet_c import CORRUPTIONS, EXTRA
from robench.suites.suite import CLEAN, Suite

__all__ = [
    "EXITS",
    "MAP_AXIS",
    "NETWORK",
    "NOISE",
    "OCCLUSION",
    "RESOLUTION",
    "RESOLUTIONS",
    "SCALE",
    "SHIFT",
    "SMALL",
    "SMALL_RESOLUTIONS",
    "UNTREATED",
]

SMALL = 64
"""Largest side in pixels at which images are resized whole. Larger images are cropped from a somewhat larger square."""

MAP_AXIS = "offset"
"""Axis of the map of offsets. The columns `dx` and `dy` hold its positions."""

RESOLUTIONS = (64, 96, 128, 160, 192, 224, 256, 288, 320)
SMALL_RESOLUTIONS = (16, 20, 24, 28, 32, 40, 48)
"""Test sizes of models with an input of at most `SMALL` pixels."""

SHIFT = Suite(
    name="shift",
    summary="crops at other offsets: how often the predicted class stays (consistency), and accuracy by offset",
    source="Zhang 2019, arXiv:1904.11486",
    corruptions=("crop", "circular", "diagonal", "map"),
    severities=(1,),
    family=families.SHIFT,
    smallest=1,
    source_region="margin",
)

SCALE = Suite(
    name="scale",
    summary="the object smaller or larger in the frame: accuracy by scale, consistency between neighbours",
    source="arXiv:1903.12261; the scale sequence of ImageNet-P",
    corruptions=("scale",),
    severities=(1,),
    family=families.SCALE,
    smallest=1,
    source_region="rectangle",
)

NOISE = Suite(
    name="noise",
    summary="seven degradations (4 extra) at ten strengths: accuracy by strength, its area, the strength that halves it",
    source="degradations of Yin et al. 2019, arXiv:1902.06550 (LocalNorm)",
    corruptions=("gaussian", "uniform", "salt_and_pepper", "speckle", "poisson", "offset", "gain"),
    extra=("multiplicative_one_sided", "multiplicative_two_sided", "multiplicative_poisson", "shared_mask"),
    severities=(1,),
    family=families.NOISE,
)

OCCLUSION = Suite(
    name="occlusion",
    summary="a rectangle (extra: of noise) or a grid covers ten shares of the image: accuracy by area, its area, what halves it",
    source="Zhong et al. 2017, arXiv:1708.04896 (Random Erasing); Chen et al. 2020, arXiv:2001.04086 (GridMask)",
    corruptions=("rectangle", "grid"),
    extra=("noise_rectangle",),
    severities=(1,),
    family=families.OCCLUSION,
    smallest=1,
)

NETWORK = "network"
"""The network at another input size."""

UNTREATED = "untreated"
"""`network` without any treatment in the same run, for comparison with a treatment that acts differently at every size."""

RESOLUTION = Suite(
    name="resolution",
    summary="the network at other input sizes, what choosing one for each image could reach, and the information of smaller ones",
    source="Touvron et al. 2019, arXiv:1906.06423; Huang et al. 2018, arXiv:1703.09844",
    corruptions=(NETWORK, "information", "best_of_k"),
    severities=(1,),
    family=families.RESOLUTION,
    smallest=1,
)

EXITS = Suite(
    name="exits",
    summary="a network with several exits or settings: accuracy by operations, budgeted batches, also under --corruption",
    source="Huang et al. 2018, arXiv:1703.09844 (MSDNet); Yang et al. 2020, arXiv:1909.12978 (MutualNet)",
    corruptions=(CLEAN, *CORRUPTIONS),
    extra=EXTRA,
    family=families.EXITS,
    smallest=1,
)
"""Clean images alone unless `--corruption` or `--severity` select conditions of the corruption suite of the input size."""
