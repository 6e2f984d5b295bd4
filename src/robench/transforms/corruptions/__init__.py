"""All corruptions, in one explicit table. To add one, write its kernel in the file of its kind and name it here."""

from __future__ import annotations

from dataclasses import replace

import torch

from robench.errors import OptionError, unknown_name
from robench.plugins import Plugin, find_plugin, plugins
from robench.transforms.corruptions import imagecorruptions
from robench.transforms.corruptions.base import Corruption
from robench.transforms.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from robench.transforms.corruptions.digital import brightness, contrast, pixelate, saturate
from robench.transforms.corruptions.elastic import elastic_transform
from robench.transforms.corruptions.jpeg import jpeg_compression
from robench.transforms.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robench.transforms.corruptions.spatter import spatter
from robench.transforms.corruptions.weather import fog, frost, snow
from robench.transforms.draws import Draws
from robench.types import FloatImages

__all__ = ["CONSTANT_SETS", "CORRUPTIONS", "IMAGECORRUPTIONS", "find_corruption"]

CORRUPTIONS: dict[str, Corruption] = {
    corruption.name: corruption
    for corruption in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
        speckle_noise,
        gaussian_blur,
        spatter,
        saturate,
    )
}


IMAGECORRUPTIONS: dict[str, Corruption] = {
    name: replace(corruption, levels={imagecorruptions.CONSTANTS: corruption.levels["224"]})
    for name, corruption in CORRUPTIONS.items()
} | {
    corruption.name: corruption
    for corruption in (
        imagecorruptions.motion_blur,
        imagecorruptions.zoom_blur,
        imagecorruptions.snow,
        imagecorruptions.frost,
        imagecorruptions.elastic_transform,
        imagecorruptions.pixelate,
    )
}
"""What the imagecorruptions package computes under the same names."""

CONSTANT_SETS: dict[str, dict[str, Corruption]] = {
    "224": CORRUPTIONS,
    "299": CORRUPTIONS,
    "64": CORRUPTIONS,
    "32": CORRUPTIONS,
    imagecorruptions.CONSTANTS: IMAGECORRUPTIONS,
}
"""The corruptions by set of constants, which a suite names."""


def find_corruption(name: str, constants: str) -> Corruption:
    """Return the corruption called `name` of a set of constants, built in or an installed package's.

    OptionError with a suggestion if there is none.
    """
    if name in CORRUPTIONS:
        return CONSTANT_SETS.get(constants, CORRUPTIONS)[name]
    offer = find_plugin("corruption", name)
    if offer is None:
        raise OptionError(
            unknown_name("corruption", name, (*CORRUPTIONS, *(one.name for one in plugins("corruption"))))
        )
    return _offered(offer)


def _offered(offer: Plugin) -> Corruption:
    """A package's corruption, whose mistakes name the package."""
    corruption = offer.load(Corruption)

    def kernel(images: FloatImages, draws: Draws, **level: float) -> FloatImages:
        with offer.attribute_errors(f"fails in the corruption {offer.name!r}"):
            result: FloatImages = corruption.kernel(images.clone(), draws, **level)
        if not isinstance(result, torch.Tensor) or (result.shape, result.dtype) != (images.shape, images.dtype):
            raise OptionError(
                f"{offer.origin} returns no {tuple(images.shape)} {images.dtype} from the corruption {offer.name!r}"
            )
        if result.is_floating_point() and not bool(result.isfinite().all()):
            raise OptionError(f"{offer.origin} returns NaN or infinite pixels from the corruption {offer.name!r}")
        return result

    return replace(corruption, kernel=kernel)
