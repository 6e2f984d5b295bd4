"""Digital corruptions: brightness, saturation, contrast, pixelation."""

from __future__ import annotations

import torch

from robench.transforms.corruptions.base import PUBLISHED, corruption, severities
from robench.transforms.draws import Draws
from robench.transforms.resize import resize
from robench.types import FloatImages, Images

__all__ = ["brightness", "contrast", "pixelate", "saturate"]


_BRIGHTNESS = severities(shift=(0.1, 0.2, 0.3, 0.4, 0.5))


@corruption(
    levels={
        "224": _BRIGHTNESS,
        "299": _BRIGHTNESS,
        "64": _BRIGHTNESS,
        "32": severities(shift=(0.05, 0.1, 0.15, 0.2, 0.3)),
    },
    source=PUBLISHED,
)
def brightness(images: FloatImages, draws: Draws, *, shift: float) -> FloatImages:
    """Raise HSV's value by `shift`, a fraction of full scale, and clip it to 1.

    With hue and saturation fixed, every channel is proportional to the value, so the conversion is one factor a pixel. A
    black pixel has neither hue nor saturation, and becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    raised = (value + shift).clamp_(0, 1)
    return torch.where(value > 0, images * (raised / value), raised)


_SATURATE = severities(factor=(0.3, 0.1, 2, 5, 20), shift=(0, 0, 0, 0.1, 0.2))


@corruption(
    levels={
        "224": _SATURATE,
        "299": _SATURATE,
        "64": severities(factor=(0.3, 0.1, 2, 5, 30), shift=(0, 0, 0, 0.1, 0.2)),
        "32": severities(factor=(0.3, 0.1, 1.5, 2, 2.5), shift=(0, 0, 0, 0.1, 0.2)),
    },
    source=PUBLISHED,
)
def saturate(images: FloatImages, draws: Draws, *, factor: float, shift: float) -> FloatImages:
    """Scale and shift HSV's saturation, and clip it to [0, 1].

    With hue and value fixed, a channel's distance below the value is proportional to the saturation. A grey pixel has hue 0,
    red, so a higher saturation lowers its green and blue.
    """
    value = images.amax(dim=1, keepdim=True)
    depth = value - images
    span = depth.amax(dim=1, keepdim=True)
    coloured = span > 0
    saturation = torch.where(coloured, span / value, 0).mul_(factor).add_(shift).clamp_(0, 1)
    red = torch.zeros(3, device=images.device).index_fill_(0, torch.arange(1, 3, device=images.device), 1)
    share = torch.where(coloured, depth / span, red[:, None, None])
    return value - share * (saturation * value)


_CONTRAST = severities(factor=(0.4, 0.3, 0.2, 0.1, 0.05))


@corruption(
    levels={
        "224": _CONTRAST,
        "299": _CONTRAST,
        "64": _CONTRAST,
        "32": severities(factor=(0.75, 0.5, 0.4, 0.3, 0.15)),
    },
    source=PUBLISHED,
    per_band=True,
)
def contrast(images: FloatImages, draws: Draws, *, factor: float) -> FloatImages:
    """Shrink every channel towards its mean over the image by `factor`."""
    # A sum of integers is exact, so the mean depends neither on the batch nor on the device's order of addition.
    total = images.mul(255).round_().sum(dim=(2, 3), keepdim=True, dtype=torch.int64)
    mean = (total.double() / (255 * images.shape[2] * images.shape[3])).float()
    return (images - mean).mul_(factor).add_(mean)


@corruption(
    levels={
        "224": severities(scale=(0.6, 0.5, 0.4, 0.3, 0.25)),
        "299": severities(scale=(0.5, 0.4, 0.3, 0.25, 0.2)),
        "64": severities(scale=(0.9, 0.8, 0.7, 0.6, 0.5)),
        "32": severities(scale=(0.95, 0.9, 0.85, 0.75, 0.65)),
    },
    source=PUBLISHED,
    values="uint8",
    per_band=True,
)
def pixelate(images: Images, draws: Draws, *, scale: float) -> Images:
    """Shrink to `scale` of the size with a box filter, and enlarge with the same filter."""
    height, width = images.shape[2:]
    small = resize(images, (int(height * scale), int(width * scale)), "box")
    return resize(small, (height, width), "box")
