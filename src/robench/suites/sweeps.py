"""Shift, scale, noise strength, occlusion and resolution: suites at the size of the model's input."""

from __future__ import annotations

from robench.suites.suite import Suite

__all__ = [
    "BEST_OF_K",
    "MAP_AXIS",
    "NOISE",
    "OCCLUSION",
    "RESOLUTION",
    "RESOLUTIONS",
    "SCALE",
    "SHIFT",
    "SMALL",
    "SMALL_RESOLUTIONS",
    "UNTREATED",
    "map_offset",
    "map_place",
]

SMALL = 64
"""Side up to which images are taken whole: no crop is cut out of a somewhat larger image."""

MAP_AXIS = "offset"
"""Axis of the map of offsets; `dx` and `dy` hold its positions."""

_DOWN = 1000


def map_place(down: int, right: int) -> int:
    """Encode the offset of a crop of the map, in pixels, as one frame value."""
    return _DOWN * down + right


def map_offset(place: float) -> tuple[int, int]:
    """Decode a frame value of the map: pixels down and pixels to the right."""
    return divmod(int(place), _DOWN)


RESOLUTIONS = (64, 96, 128, 160, 192, 224, 256, 288, 320)
SMALL_RESOLUTIONS = (16, 20, 24, 28, 32, 40, 48)
"""Test sizes of models with an input of at most 64 px."""

SHIFT = Suite(
    name="shift",
    summary="crops at other offsets: how often the predicted class stays (consistency), and accuracy by offset",
    source="Zhang 2019, arXiv:1904.11486",
    corruptions=("crop", "circular", "diagonal", "map"),
    severities=(1,),
    family="shift",
    smallest=1,
    source_region="margin",
)

SCALE = Suite(
    name="scale",
    summary="the object smaller or larger in the frame: accuracy by scale, consistency between neighbours",
    source="arXiv:1903.12261; the scale sequence of ImageNet-P",
    corruptions=("scale",),
    severities=(1,),
    family="scale",
    smallest=1,
    source_region="rectangle",
)

_OF_LOCALNORM = ("multiplicative_one_sided", "multiplicative_two_sided", "multiplicative_poisson", "shared_mask")

NOISE = Suite(
    name="noise",
    summary="seven degradations (4 extra) at ten strengths: accuracy by strength, its area, the strength that halves it",
    source="degradations of Yin et al. 2020, arXiv:1902.06550 (LocalNorm)",
    corruptions=("gaussian", "uniform", "salt_and_pepper", "speckle", "poisson", "offset", "gain"),
    extra=_OF_LOCALNORM,
    later=_OF_LOCALNORM,
    severities=(1,),
    family="noise",
)

OCCLUSION = Suite(
    name="occlusion",
    summary="a rectangle (extra: of noise) or a grid covers ten shares of the image: accuracy by area, its area, what halves it",
    source="Zhong et al. 2017, arXiv:1708.04896 (Random Erasing); Chen et al. 2020, arXiv:2001.04086 (GridMask)",
    corruptions=("rectangle", "grid"),
    extra=("noise_rectangle",),
    severities=(1,),
    family="occlusion",
    smallest=1,
)

UNTREATED = "untreated"
"""What `network` is without any treatment, in the same run: beside a treatment that does something else at every size."""

BEST_OF_K = "best_of_k"
"""Copies at one size, as many as there are sizes: what an oracle gains by choosing among any predictions at all."""

RESOLUTION = Suite(
    name="resolution",
    summary="the network at other input sizes, what choosing one for each image could reach, and the information of smaller ones",
    source="Touvron et al. 2019, arXiv:1906.06423; Huang et al. 2018, arXiv:1703.09844",
    corruptions=("network", "information", BEST_OF_K),
    later=(BEST_OF_K,),
    severities=(1,),
    family="resolution",
    smallest=1,
)
