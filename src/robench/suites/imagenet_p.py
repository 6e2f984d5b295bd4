"""ImageNet-P and its relatives: perturbation sequences (Hendrycks & Dietterich 2019, arXiv:1903.12261)."""

from __future__ import annotations

from robench.suites.suite import Suite

__all__ = ["CIFAR_P", "IMAGENET_P", "IMAGENET_P_299", "TINY_IMAGENET_P"]

DIFFICULTIES = (1, 2, 3)

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
"""The ten that mFR is over, in the published order. The evaluation script lists spatter for snow; the figures are of snow."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "shear")

_SOURCE = "arXiv:1903.12261; hendrycks/robustness ImageNet-P/create_p"

IMAGENET_P = Suite(
    name="imagenet-p",
    summary="10 perturbation sequences (4 extra) of ImageNet images at 224 px",
    source=f"{_SOURCE}/make_imagenet_p.py",
    constants="224",
    corruptions=PERTURBATIONS,
    extra=EXTRA,
    severities=DIFFICULTIES,
    baseline="alexnet",
    family="sequences",
    side=224,
    source_region="rectangle",
)

IMAGENET_P_299 = Suite(
    name="imagenet-p-299",
    summary="the Inception-sized ImageNet-P at 299 px",
    source=f"{_SOURCE}/make_imagenet_p_inception.py",
    constants="299",
    corruptions=PERTURBATIONS,
    extra=EXTRA,
    severities=DIFFICULTIES,
    family="sequences",
    side=299,
    source_region="rectangle",
)

TINY_IMAGENET_P = Suite(
    name="tiny-imagenet-p",
    summary="ImageNet-P at the 64 px of Tiny ImageNet",
    source=f"{_SOURCE}/make_tinyimagenet_p.py",
    constants="64",
    corruptions=PERTURBATIONS,
    extra=EXTRA,
    severities=DIFFICULTIES,
    family="sequences",
    side=64,
    source_region="rectangle",
)

_OF_CIFAR = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)

CIFAR_P = Suite(
    name="cifar-p",
    summary="10 perturbation sequences (4 extra) at 32 px (CIFAR-10-P)",
    source=f"{_SOURCE}/make_cifar_p.py",
    constants="32",
    corruptions=_OF_CIFAR,
    extra=tuple("snow" if name == "spatter" else name for name in EXTRA),
    severities=DIFFICULTIES,
    family="sequences",
    side=32,
    source_region="rectangle",
)
