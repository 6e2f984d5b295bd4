"""ImageNet-P and its relatives, suites of perturbation sequences (Hendrycks & Dietterich 2019, arXiv:1903.12261)."""

from __future__ import annotations

from functools import partial

from robench.suites import families
from robench.suites.suite import Suite

__all__ = ["CIFAR_P", "IMAGENET_P", "IMAGENET_P_299", "TINY_IMAGENET_P"]

PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The ten perturbations that mFR covers, in the published order.

The published evaluation script lists spatter instead of snow; the published values are of snow.
"""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "shear")

_SOURCE = "arXiv:1903.12261; hendrycks/robustness ImageNet-P/create_p"

_suite = partial(
    Suite,
    corruptions=PERTURBATIONS,
    extra=EXTRA,
    severities=(1, 2, 3),
    family=families.SEQUENCES,
    source_region="rectangle",
)

IMAGENET_P = _suite(
    name="imagenet-p",
    summary="10 perturbation sequences (4 extra) of ImageNet images at 224 px",
    source=f"{_SOURCE}/make_imagenet_p.py",
    constants="224",
    baseline="alexnet",
    side=224,
)

IMAGENET_P_299 = _suite(
    name="imagenet-p-299",
    summary="the Inception-sized ImageNet-P at 299 px",
    source=f"{_SOURCE}/make_imagenet_p_inception.py",
    constants="299",
    side=299,
)

TINY_IMAGENET_P = _suite(
    name="tiny-imagenet-p",
    summary="ImageNet-P at the 64 px of Tiny ImageNet",
    source=f"{_SOURCE}/make_tinyimagenet_p.py",
    constants="64",
    side=64,
)

CIFAR_P = _suite(
    name="cifar-p",
    summary="10 perturbation sequences (4 extra) at 32 px (CIFAR-10-P)",
    source=f"{_SOURCE}/make_cifar_p.py",
    constants="32",
    corruptions=tuple("spatter" if name == "snow" else name for name in PERTURBATIONS),
    extra=tuple("snow" if name == "spatter" else name for name in EXTRA),
    side=32,
)
