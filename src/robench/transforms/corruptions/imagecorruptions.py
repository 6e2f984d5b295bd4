"""The six corruptions that the imagecorruptions package computes in its own way, with ImageNet's constants at any size."""

from __future__ import annotations

import numpy as np
import torch

from robench.transforms import filters
from robench.transforms.corruptions import blur, weather
from robench.transforms.corruptions.base import Corruption, Params, corruption, severities
from robench.transforms.corruptions.elastic import displaced, smooth_noise
from robench.transforms.draws import Draws
from robench.transforms.filters import motion_taps
from robench.transforms.resize import resize, to_float
from robench.types import FloatImages, Images

__all__ = ["CONSTANTS", "elastic_transform", "frost", "motion_blur", "pixelate", "snow", "zoom_blur"]

CONSTANTS = "imagecorruptions"
"""Name of the package's set of constants."""

_SOURCE = "imagecorruptions 1.1.2, corruptions.py"


def _published(corruption: Corruption) -> dict[str, tuple[Params, ...]]:
    return {CONSTANTS: corruption.levels["224"]}


@corruption(
    levels=_published(blur.motion_blur), source=_SOURCE, random=True, values="uint8", interpolates=False, per_band=True
)
def motion_blur(images: Images, draws: Draws, *, radius: int, sigma: float) -> Images:
    """Smear along one direction, within 45 degrees of the horizontal, and truncate the sum without ImageMagick's 16 bits."""
    angle = draws.uniform("angle", ()) * 90 - 45
    blurred = filters.motion_blur(images.double(), motion_taps(radius, sigma), angle, beyond=False)
    return blurred.clamp_(0, 255).to(torch.uint8)


@corruption(
    levels=_published(blur.zoom_blur),
    source=_SOURCE,
    interpolates=False,
    per_band=True,
    chunk_values=blur.zoom_blur.chunk_values,
)
def zoom_blur(images: FloatImages, draws: Draws, *, stop: float, step: float) -> FloatImages:
    """Average the image and its enlarged middle, for factors up to `stop`, cropped at the top left."""
    return blur.zoomed_mean(images, np.arange(1, stop, step).tolist(), _top_left_zoom)


def _top_left_zoom(images: FloatImages, factor: float) -> FloatImages:
    return filters.zoom(images, factor)[:, :, : images.shape[2], : images.shape[3]]


@corruption(levels=_published(weather.snow), source=_SOURCE, random=True, interpolates=False)
def snow(
    images: FloatImages,
    draws: Draws,
    *,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    mix: float,
) -> FloatImages:
    """Whiten the image and add flakes, whose layer is rounded to bytes after the smear instead of before it."""
    height, width = images.shape[2:]
    flakes = filters.zoom(draws.normal("flakes", (height, width))[:, None] * deviation + mean, zoom)
    flakes = torch.where(flakes < threshold, 0, flakes).clamp_(0, 1)
    angle = draws.uniform("angle", ()) * 90 - 135
    flakes = filters.motion_blur(flakes, motion_taps(radius, sigma), angle, beyond=False)
    flakes = to_float(flakes.mul_(255).round_().to(torch.uint8))[:, :, :height, :width]
    return weather.whitened(images, mix) + flakes + flakes.flip(2, 3)


@corruption(
    levels={CONSTANTS: severities(image=(1, 0.8, 0.7, 0.65, 0.6), frost=(0.4, 0.6, 0.7, 0.7, 0.75))},
    source=_SOURCE,
    random=True,
    values="uint8",
)
def frost(images: Images, draws: Draws, *, image: float, frost: float) -> Images:
    """Overlay a crop of a photograph of a frozen window, enlarged by a tenth or more."""
    crops = weather.random_crops(draws, images, margin=1.1)
    return (images.double() * image + crops.double() * frost).clamp_(0, 255).to(torch.uint8)


@corruption(
    levels={CONSTANTS: severities(alpha=(12.5, 16.25, 21.25, 25, 30))}, source=_SOURCE, random=True, per_band=True
)
def elastic_transform(images: FloatImages, draws: Draws, *, alpha: float) -> FloatImages:
    """Displace every pixel by a random field that is smooth over a hundredth of the image; the image is not moved as a whole."""
    height, width = images.shape[2:]
    sigma, reach = (0.01 * height, 0.01 * width), 0.005 * height
    right, down = (smooth_noise(draws, name, (height, width), sigma) * (reach * alpha) for name in ("right", "down"))
    return displaced(images, right, down)


@corruption(
    levels={CONSTANTS: severities(scale=(0.6, 0.5, 0.4, 0.3, 0.25))}, source=_SOURCE, values="uint8", per_band=True
)
def pixelate(images: Images, draws: Draws, *, scale: float) -> Images:
    """Shrink to `scale` of the size with a box filter, and enlarge by repeating pixels."""
    height, width = images.shape[2:]
    small = resize(images, (int(height * scale), int(width * scale)), "box")
    return resize(small, (height, width), "nearest")
