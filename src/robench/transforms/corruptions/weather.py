"""Weather: snow, frost and fog."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from robench.transforms.corruptions.base import PUBLISHED, Params, corruption, severities
from robench.transforms.corruptions.frost_textures import frost_textures
from robench.transforms.device import shared
from robench.transforms.draws import Draws
from robench.transforms.filters import clipped_zoom, motion_taps, pad, smeared
from robench.transforms.resize import to_float, to_uint8
from robench.types import FloatImages, Images

__all__ = ["fog", "frost", "plasma", "random_crops", "snow", "textures_on", "whitened"]


_FROST = severities(image=(1, 0.8, 0.7, 0.65, 0.6), frost=(0.4, 0.6, 0.7, 0.7, 0.75), scale=(1, 1, 1, 1, 1))


@corruption(
    levels={
        "224": _FROST,
        "299": _FROST,
        "64": severities(image=(1, 0.9, 0.8, 0.75, 0.7), frost=(0.3, 0.4, 0.45, 0.5, 0.55), scale=(0.3,) * 5),
        "32": severities(image=(1, 1, 0.9, 0.85, 0.75), frost=(0.2, 0.3, 0.4, 0.4, 0.45), scale=(0.2,) * 5),
    },
    source=PUBLISHED,
    random=True,
    values="uint8",
)
def frost(images: Images, draws: Draws, *, image: float, frost: float, scale: float) -> Images:
    """Overlay a crop of a photograph of a frozen window; `image` and `frost` are their shares."""
    crops = random_crops(draws, images, scale=scale)
    # The sum is in float64 as published, because its truncation to bytes depends on the last bit.
    return (images.double() * image + crops.double() * frost).clamp_(0, 255).to(torch.uint8)


def random_crops(draws: Draws, images: Images, scale: float = 1.0, margin: float = 1.0) -> Images:
    """Return a random crop of a random texture of `frost_textures` for each image, of the image's size."""
    device, (height, width) = images.device, images.shape[2:]
    pixels, start, rows, columns = textures_on(device, (height, width), scale, margin)
    chosen = draws.integers("photograph", 0, len(start), ())
    top = draws.integers("top", 0, (rows[chosen] - height).clamp_(min=1), ())
    left = draws.integers("left", 0, (columns[chosen] - width).clamp_(min=1), ())
    first = (start[chosen] + top * columns[chosen] + left)[:, None, None]
    down = torch.arange(height, device=device)[:, None] * columns[chosen][:, None, None]
    index = first + down + torch.arange(width, device=device)
    crops = pixels.index_select(1, index.flatten()).reshape(3, len(images), height, width)
    return crops.transpose(0, 1)


@lru_cache(maxsize=16)
def textures_on(device: torch.device, size: tuple[int, int], scale: float, margin: float) -> tuple[Tensor, ...]:
    """Return the arrays of `frost_textures` on a device; later calls share them."""
    textures = frost_textures(size, scale, margin)
    arrays = textures.pixels, textures.start, textures.height, textures.width
    return tuple(shared(torch.from_numpy(array), device) for array in arrays)


_SNOW = severities(
    mean=(0.1, 0.2, 0.55, 0.55, 0.55),
    deviation=(0.3, 0.3, 0.3, 0.3, 0.3),
    zoom=(3, 2, 4, 4.5, 2.5),
    threshold=(0.5, 0.5, 0.9, 0.85, 0.85),
    radius=(10, 12, 12, 12, 12),
    sigma=(4, 4, 8, 8, 12),
    mix=(0.8, 0.7, 0.7, 0.65, 0.55),
)


def _small_snow(mix: tuple[float, ...]) -> tuple[Params, ...]:
    return severities(
        mean=(0.1, 0.1, 0.15, 0.25, 0.3),
        deviation=(0.2, 0.2, 0.3, 0.3, 0.3),
        zoom=(1, 1, 1.75, 2.25, 1.25),
        threshold=(0.6, 0.5, 0.55, 0.6, 0.65),
        radius=(8, 10, 10, 12, 14),
        sigma=(3, 4, 4, 6, 12),
        mix=mix,
    )


@corruption(
    levels={
        "224": _SNOW,
        "299": _SNOW,
        "64": _small_snow(mix=(0.8, 0.8, 0.7, 0.65, 0.6)),
        "32": _small_snow(mix=(0.95, 0.9, 0.9, 0.85, 0.8)),
    },
    source=PUBLISHED,
    random=True,
    interpolates=False,
)
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
    """Whiten the image, and add flakes that fall from both sides: noise above a threshold, enlarged and smeared."""
    flakes = draws.normal("flakes", tuple(images.shape[2:]))[:, None] * deviation + mean
    flakes = clipped_zoom(flakes, zoom)
    flakes = to_uint8(torch.where(flakes < threshold, 0, flakes))
    angle = draws.uniform("angle", ()) * 90 - 135
    flakes = to_float(smeared(flakes, motion_taps(radius, sigma), angle))
    return whitened(images, mix) + flakes + flakes.flip(2, 3)


def whitened(images: FloatImages, mix: float) -> FloatImages:
    """Keep a share `mix` of (b, 3, h, w) images; the rest is at least their own luma times 1.5 plus 0.5."""
    red, green, blue = images.split(1, dim=1)
    luma = red * 0.299 + green * 0.587 + blue * 0.114
    return images * mix + torch.maximum(images, luma * 1.5 + 0.5) * (1 - mix)


@corruption(
    levels={
        "224": severities(amount=(1.5, 2, 2.5, 2.5, 3), decay=(2, 2, 1.7, 1.5, 1.4)),
        "299": severities(amount=(1.5, 2, 2.5, 2.5, 3), decay=(2, 2, 1.8, 1.6, 1.5)),
        "64": severities(amount=(0.4, 0.7, 1, 1.5, 2), decay=(3, 3, 2.5, 2, 1.75)),
        "32": severities(amount=(0.2, 0.5, 0.75, 1, 1.5), decay=(3, 3, 2.5, 2, 1.75)),
    },
    source=PUBLISHED,
    random=True,
)
def fog(images: FloatImages, draws: Draws, *, amount: float, decay: float) -> FloatImages:
    """Add `amount` of a fractal cloud, then rescale by the brightest value of the image."""
    height, width = images.shape[2:]
    cloud = plasma(draws, 1 << (max(height, width) - 1).bit_length(), decay)[:, None, :height, :width]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + amount * cloud) * (brightest / (brightest + amount))


def plasma(draws: Draws, width: int, decay: float) -> Tensor:
    """Return a cloud by the diamond-square algorithm on a torus.

    Every halving of the step sets the centres of squares, then those of diamonds, to the mean of four neighbours plus
    noise. The amplitude of the noise falls by `decay` from one halving to the next.

    Args:
        draws: Random draws.
        width: Width and height of the cloud, a power of two.
        decay: Factor of the amplitude.

    Returns:
        (b, width, width) float32, 0 to 1.
    """
    noise = draws.uniform("plasma", (width * width - 1,)) * 2 - 1
    used, cloud = 0, torch.zeros((len(noise), 1, 1), device=noise.device)
    wibble = 100.0
    while cloud.shape[1] < width:
        size = cloud.shape[1]
        rough = noise[:, used : used + 3 * size * size].reshape(-1, 3, size, size) * (wibble * wibble)
        used += 3 * size * size
        after = pad(cloud[:, None], (0, 1, 0, 1), "circular")[:, 0]
        below = after[:, :-1] + after[:, 1:]
        middle = (below[:, :, :-1] + below[:, :, 1:]) / 4 + rough[:, 0]
        before = pad(middle[:, None], (1, 0, 1, 0), "circular")[:, 0]
        down, right = before[:, 1:, 1:] + before[:, :-1, 1:], before[:, 1:, 1:] + before[:, 1:, :-1]
        finer = cloud.new_empty((len(cloud), 2 * size, 2 * size))
        finer[:, ::2, ::2] = cloud
        finer[:, 1::2, 1::2] = middle
        finer[:, ::2, 1::2] = (down + (cloud + after[:, :-1, 1:])) / 4 + rough[:, 1]
        finer[:, 1::2, ::2] = (right + below[:, :, :-1]) / 4 + rough[:, 2]
        cloud = finer
        wibble /= decay
    lowest = cloud.amin(dim=(1, 2), keepdim=True)
    return (cloud - lowest) / (cloud.amax(dim=(1, 2), keepdim=True) - lowest)
