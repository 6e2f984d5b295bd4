"""The suite of the imagecorruptions package (Michaelis et al. 2019, arXiv:1907.07484)."""

from __future__ import annotations

from robench.suites.imagenet_c import CORRUPTIONS, EXTRA
from robench.suites.suite import Suite

__all__ = ["IMAGECORRUPTIONS"]

IMAGECORRUPTIONS = Suite(
    name="imagecorruptions",
    summary="the imagecorruptions package's own variant, at any size, for figures published with it",
    source="arXiv:1907.07484; imagecorruptions 1.1.2",
    constants="imagecorruptions",
    corruptions=CORRUPTIONS,
    extra=EXTRA,
)
