"""All corruptions, in one explicit table.

To add a corruption, write its kernel in the file of its kind and add it here. A plugin defines one with `corruption`
and `severities`.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch

from robench.errors import OptionError, unknown_name
from robench.plugins import Plugin, find_plugin, is_own, plugins
from robench.suites import C_BAR_VALUES, constants_for
from robench.transforms.checks import check
from robench.transforms.corruptions import imagecorruptions
from robench.transforms.corruptions.base import Corruption, corruption, severities
from robench.transforms.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from robench.transforms.corruptions.c_bar import C_BAR
from robench.transforms.corruptions.digital import brightness, contrast, pixelate, saturate
from robench.transforms.corruptions.elastic import elastic_transform
from robench.transforms.corruptions.jpeg import jpeg_compression
from robench.transforms.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robench.transforms.corruptions.spatter import spatter
from robench.transforms.corruptions.three_dcc import THREE_DCC, THREE_DCC_CONSTANTS
from robench.transforms.corruptions.weather import fog, frost, snow
from robench.transforms.draws import Draws
from robench.types import FloatImages

__all__ = [
    "BUILT_IN",
    "CONSTANT_SETS",
    "CORRUPTIONS",
    "IMAGECORRUPTIONS",
    "Corruption",
    "Draws",
    "constants_at",
    "corruption",
    "find_corruption",
    "severities",
]

CORRUPTIONS: dict[str, Corruption] = {
    entry.name: entry
    for entry in (
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

"""The corruptions of ImageNet-C."""

IMAGECORRUPTIONS: dict[str, Corruption] = {
    name: replace(entry, levels={imagecorruptions.CONSTANTS: entry.levels["224"]})
    for name, entry in CORRUPTIONS.items()
} | {
    entry.name: entry
    for entry in (
        imagecorruptions.motion_blur,
        imagecorruptions.zoom_blur,
        imagecorruptions.snow,
        imagecorruptions.frost,
        imagecorruptions.elastic_transform,
        imagecorruptions.pixelate,
    )
}
"""The variants of the imagecorruptions package, under the same names."""

CONSTANT_SETS: dict[str, dict[str, Corruption]] = {
    **dict.fromkeys(("224", "299", "64", "32"), CORRUPTIONS),
    imagecorruptions.CONSTANTS: IMAGECORRUPTIONS,
    **{suite: {name: C_BAR[name] for name in values} for suite, values in C_BAR_VALUES.items()},
    THREE_DCC_CONSTANTS: THREE_DCC,
}
"""The corruptions by set of constants, which a suite names."""

BUILT_IN: dict[str, Corruption] = {**CORRUPTIONS, **C_BAR, **THREE_DCC}
"""All corruptions by name, without the variants of the imagecorruptions package."""

OWN = "own"
"""The set of constants of a corruption of the user's own file, outside a suite."""


def find_corruption(name: str, constants: str) -> Corruption:
    """Return a corruption of a set of constants: built in, of an installed package, or of an own file.

    A suite of an own file has a set of constants of its own, with the suite's name.

    Raises:
        OptionError: If the name is unknown; the message suggests a similar one.
    """
    if is_own(constants) or constants == OWN:
        own = find_plugin("corruption", f"{constants}/{name}")
        if own is not None:
            return _load(own)
    if name in BUILT_IN:
        return CONSTANT_SETS.get(constants, BUILT_IN).get(name, BUILT_IN[name])
    plugin = find_plugin("corruption", name)
    if plugin is None:
        names = (*BUILT_IN, *(plugin.name for plugin in plugins("corruption")))
        raise OptionError(*unknown_name("corruption", name, names))
    return _load(plugin)


def constants_at(name: str, side: int) -> str:
    """Return the set of constants of a corruption that fits images with a shorter side of `side` pixels.

    Corruptions of C-bar have those of CIFAR-10-C-bar below 128 pixels, if they are among its ten, else those of ImageNet-C-bar.
    """
    fitting = constants_for(side)
    if name not in BUILT_IN or name in CORRUPTIONS:
        return fitting
    levels = BUILT_IN[name].levels
    small = ("cifar-c-bar", "imagenet-c-bar") if fitting in ("32", "64") else ("imagenet-c-bar", "cifar-c-bar")
    return next(one for one in (*small, *levels) if one in levels)


def _load(plugin: Plugin) -> Corruption:
    """Return a package's corruption; its errors name the package."""
    loaded = plugin.load(Corruption)

    def kernel(images: FloatImages, draws: Draws, **params: float) -> FloatImages:
        before = _generators()
        with plugin.attribute_errors(f"fails in the corruption {loaded.name!r}"):
            result: FloatImages = loaded.kernel(images.clone(), draws, **params)
        if _generators() != before:
            raise OptionError(
                f"{plugin.origin} draws from a global random generator in the corruption {loaded.name!r}",
                'take every value from the parameter `draws`, such as draws.uniform("name", (3, 1, 1))',
            )
        if not isinstance(result, torch.Tensor) or (result.shape, result.dtype) != (images.shape, images.dtype):
            raise OptionError(
                f"{plugin.origin} returns no {tuple(images.shape)} {images.dtype} from the corruption {loaded.name!r}"
            )
        if result.is_floating_point():
            problem = f"{plugin.origin} returns NaN or infinite pixels from the corruption {loaded.name!r}"
            check(result.isfinite().all(), OptionError(problem))
        return result

    return replace(loaded, kernel=kernel)


def _generators() -> tuple[object, ...]:
    """Return the states of the global random generators, from which kernels must not draw."""
    numbers = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numbers["key"].tobytes(), numbers["pos"], random.getstate()
