"""CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich 2019, arXiv:1903.12261)."""

from __future__ import annotations

from robench.suites.geometry import Geometry
from robench.suites.imagenet_c import CORRUPTIONS, EXTRA
from robench.suites.suite import Suite

__all__ = ["CIFAR_C"]

CIFAR_C = Suite(
    name="cifar-c",
    summary="15 corruptions (4 extra) x 5 severities at 32 px (CIFAR-10-C, CIFAR-100-C)",
    source="arXiv:1903.12261; hendrycks/robustness ImageNet-C/create_c/make_cifar_c.py",
    geometry=Geometry(resize=(32, 32)),
    constants="32",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
)
