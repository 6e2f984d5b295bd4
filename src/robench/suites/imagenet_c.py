"""ImageNet-C and its relatives (Hendrycks & Dietterich 2019, arXiv:1903.12261)."""

from __future__ import annotations

from robench.suites.geometry import Geometry
from robench.suites.suite import Suite

__all__ = ["CORRUPTIONS", "EXTRA", "IMAGENET_64_C", "IMAGENET_C", "IMAGENET_C_299", "TINY_IMAGENET_C"]

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The fifteen that mCE is over, in the published order."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four extra ones, never part of mCE."""

_SOURCE = "arXiv:1903.12261; hendrycks/robustness ImageNet-C/create_c"

IMAGENET_C = Suite(
    name="imagenet-c",
    summary="15 corruptions (4 extra) x 5 severities on ImageNet images at 224 px",
    source=f"{_SOURCE}/make_imagenet_c.py",
    geometry=Geometry(resize=256, crop=224),
    constants="224",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
    release_jpeg=85,
    baseline="alexnet",
)

IMAGENET_C_299 = Suite(
    name="imagenet-c-299",
    summary="the Inception-sized ImageNet-C at 299 px",
    source=f"{_SOURCE}/make_imagenet_c_inception.py",
    geometry=Geometry(fraction=0.875, resize=(299, 299)),
    constants="299",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
    release_jpeg=85,
)

TINY_IMAGENET_C = Suite(
    name="tiny-imagenet-c",
    summary="ImageNet-C at the 64 px of Tiny ImageNet",
    source=f"{_SOURCE}/make_tinyimagenet_c.py",
    geometry=Geometry(resize=(64, 64)),
    constants="64",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
    release_jpeg=85,
)

IMAGENET_64_C = Suite(
    name="imagenet-64-c",
    summary="ImageNet squeezed to 64 x 64 px, with Tiny ImageNet-C's constants",
    source=f"{_SOURCE}/make_imagenet_64_c.py",
    geometry=Geometry(resize=(64, 64)),
    constants="64",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
    release_jpeg=85,
)
