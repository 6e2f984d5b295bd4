"""Preprocessing as configurations state it: timm's pretrained_cfg and the processors of Hugging Face folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from robench.errors import CheckpointError, OptionError
from robench.models.classifier import Preprocessing
from robench.models.family import IMAGENET_MEAN, IMAGENET_STD, one_line

__all__ = ["of_pretrained_cfg", "of_processor"]

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers."""
_ERRORS = (OptionError, KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError, AttributeError)


def of_pretrained_cfg(config: Mapping[str, Any], name: str) -> Preprocessing:
    """Return what timm's pretrained_cfg says; name: of the model or file, for errors.

    What it does not say is timm's own default, as in timm.data.resolve_data_config.
    """
    try:
        channels, height, width = config.get("input_size") or (3, 224, 224)
        if channels != 3 or height != width:
            raise CheckpointError(f"{name} takes {channels}x{height}x{width} input: only square RGB input is supported")
        return Preprocessing(
            resize=math.floor(height / (config.get("crop_pct") or 0.875)),
            crop=int(height),
            interpolation=config.get("interpolation") or "bicubic",
            mean=_three(config.get("mean") or IMAGENET_MEAN),
            std=_three(config.get("std") or IMAGENET_STD),
        )
    except _ERRORS as error:
        raise CheckpointError(
            f"{name} has a pretrained_cfg that states no preprocessing ({one_line(error)})"
        ) from error


def of_processor(config: Mapping[str, Any], name: str) -> tuple[Preprocessing, tuple[str, ...], bool]:
    """Return what a preprocessor_config.json says, what to note about it, and whether channels go in as blue, green, red.

    Steps that change the values of pixels are folded into one mean and std.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    try:
        resize, crop, notes = _sides(config, kind)
        mean, std = _colours(config, kind)
        is_reversed = bool(config.get("do_flip_channel_order"))
        if is_reversed:
            mean, std = mean[::-1], std[::-1]
        interpolation = _RESAMPLE[config.get("resample", _RESAMPLE.index("bilinear"))]
        return Preprocessing(resize, crop, interpolation, _three(mean), _three(std)), notes, is_reversed
    except _ERRORS as error:
        raise CheckpointError(f"{name} states no preprocessing that robench knows ({one_line(error)})") from error


def _sides(config: Mapping[str, Any], kind: str) -> tuple[int, int, tuple[str, ...]]:
    """Return the short side to resize to, the side of the input, and a note where the processor does it in another way."""
    size = config.get("size")
    side = _side(size)
    squashes = not (isinstance(size, Mapping) and "shortest_edge" in size)
    fraction = config.get("crop_pct")
    if "ConvNext" in kind:
        # transformers' rule: below 384 pixels resize by crop_pct and crop, from there on resize to a square.
        resize, crop, squashes = (
            (math.floor(side / (fraction or 224 / 256)), side, False) if side < 384 else (side, side, True)
        )
    elif config.get("do_center_crop"):
        crop = _side(config.get("crop_size") or size)
        resize = math.floor(side / fraction) if fraction else side * 256 // 224 if "Levit" in kind else side
    else:
        resize = crop = side
    if not config.get("do_resize", True):
        resize = crop
    elif squashes:
        shape = f"resizes to {resize}x{resize} whatever an image's shape"
        return resize, crop, (f"its processor {shape}; here the short side is resized and the middle kept",)
    return max(resize, crop), crop, ()


def _side(size: Any) -> int:
    """Return the side of an int, a pair, {height, width} or {shortest_edge}; raise ValueError unless it is square."""
    match size:
        case int() | float():
            return int(size)
        case {"shortest_edge": side}:
            return int(side)
        case {"height": height, "width": width} | [height, width] if height == width:
            return int(height)
    raise ValueError(f"an input of size {size}")


def _colours(config: Mapping[str, Any], kind: str) -> tuple[list[float], list[float]]:
    """Return mean and std of values in 0..1, for a processor that takes 0..255, rescales, offsets and normalises."""
    factor = 255 * float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 255.0
    offset = 1.0 if config.get("rescale_offset") else 0.0
    normalises = config.get(
        "do_normalize", "do_flip_channel_order" not in config
    )  # MobileViT's processor has no such step
    mean = list(config.get("image_mean") or IMAGENET_MEAN) if normalises else [0.0] * 3
    std = list(config.get("image_std") or IMAGENET_STD) if normalises else [1.0] * 3
    twice = "EfficientNet" in kind and config.get("include_top", True) and normalises  # it divides by std once more
    return (
        [(offset + value) / factor for value in mean],
        [value * (value if twice else 1.0) / factor for value in std],
    )


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
