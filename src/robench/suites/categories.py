"""Categories of corruptions and perturbations, as the papers of ImageNet-C and ImageNet-P name them."""

from __future__ import annotations

__all__ = ["CATEGORIES", "EXTRA_CATEGORY", "OTHER_CATEGORY", "category_of"]

CATEGORIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": (
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
        "saturate",
        "translate",
        "rotate",
        "tilt",
        "scale",
    ),
}
"""Corruptions and perturbations of each category (arXiv:1903.12261)."""

EXTRA_CATEGORY = "extra"
"""Category of corruptions that aggregates exclude."""

OTHER_CATEGORY = "other"
"""Category of corruptions that these papers do not have."""

_CATEGORY = {name: category for category, names in CATEGORIES.items() for name in names}


def category_of(corruption: str, extra: tuple[str, ...] = ()) -> str:
    """Return the category of a corruption: `extra` if it is among the suite's extra ones, `other` if no category has it."""
    return EXTRA_CATEGORY if corruption in extra else _CATEGORY.get(corruption, OTHER_CATEGORY)
