"""Suites of corruptions: ImageNet-C and its relatives, CIFAR-C (arXiv:1903.12261), imagecorruptions (arXiv:1907.07484)."""

from __future__ import annotations

from functools import partial

from robench.suites.geometry import Geometry
from robench.suites.suite import Suite

__all__ = [
    "CIFAR_C",
    "CORRUPTIONS",
    "EXTRA",
    "IMAGECORRUPTIONS",
    "IMAGENET_64_C",
    "IMAGENET_C",
    "IMAGENET_C_299",
    "TINY_IMAGENET_C",
]

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
"""The fifteen corruptions that mCE covers, in the published order."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four extra corruptions, which mCE never covers."""

_SOURCE = "arXiv:1903.12261; hendrycks/robustness ImageNet-C/create_c"

_suite = partial(Suite, corruptions=CORRUPTIONS, extra=EXTRA)

IMAGENET_C = _suite(
    name="imagenet-c",
    summary="15 corruptions (4 extra) x 5 severities on ImageNet images at 224 px",
    source=f"{_SOURCE}/make_imagenet_c.py",
    geometry=Geometry(resize=256, crop=224),
    constants="224",
    release_jpeg=85,
    baseline="alexnet",
)

IMAGENET_C_299 = _suite(
    name="imagenet-c-299",
    summary="the Inception-sized ImageNet-C at 299 px",
    source=f"{_SOURCE}/make_imagenet_c_inception.py",
    geometry=Geometry(fraction=0.875, resize=(299, 299)),
    constants="299",
    release_jpeg=85,
)

TINY_IMAGENET_C = _suite(
    name="tiny-imagenet-c",
    summary="ImageNet-C at the 64 px of Tiny ImageNet",
    source=f"{_SOURCE}/make_tinyimagenet_c.py",
    geometry=Geometry(resize=(64, 64)),
    constants="64",
    release_jpeg=85,
)

IMAGENET_64_C = _suite(
    name="imagenet-64-c",
    summary="ImageNet squeezed to 64 x 64 px, with Tiny ImageNet-C's constants",
    source=f"{_SOURCE}/make_imagenet_64_c.py",
    geometry=Geometry(resize=(64, 64)),
    constants="64",
    release_jpeg=85,
)

CIFAR_C = _suite(
    name="cifar-c",
    summary="15 corruptions (4 extra) x 5 severities at 32 px (CIFAR-10-C, CIFAR-100-C)",
    source=f"{_SOURCE}/make_cifar_c.py",
    geometry=Geometry(resize=(32, 32)),
    constants="32",
)

IMAGECORRUPTIONS = _suite(
    name="imagecorruptions",
    summary="the imagecorruptions package's own variant, at any size, for values published with it",
    source="arXiv:1907.07484; imagecorruptions 1.1.2",
    constants="imagecorruptions",
)
