"""Preprocessing as configurations state it: timm's pretrained_cfg and the processors of Hugging Face folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robench.errors import CheckpointError, OptionError, one_line
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from robench.models.preprocessing.hf_processors import Processor, Steps, find_processor

__all__ = ["from_hf_processor", "from_timm_config", "timm_deviation_note"]

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers."""
_ERRORS = (OptionError, KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError, AttributeError)
_CROP_MODES = ("center", "squash", "border")


def from_timm_config(config: Mapping[str, Any], name: str) -> Preprocessing:
    """Return what timm's pretrained_cfg says; name: of the model or file, for errors.

    What it does not say is timm's own default, as in timm.data.resolve_data_config; the steps are those with which timm
    evaluates, transforms_imagenet_eval, but for what `timm_deviation_note` says.
    """
    try:
        channels, height, width = config.get("input_size") or (3, 224, 224)
        if channels != 3 or height != width:
            raise CheckpointError(f"{name} takes {channels}x{height}x{width} input: only square RGB input is supported")
        whole = math.floor(height / (config.get("crop_pct") or 0.875))
        mode = config.get("crop_mode") or "center"
        if mode not in _CROP_MODES:
            raise ValueError(f"crop_mode {mode!r}, none of {', '.join(_CROP_MODES)}")
        interpolation = config.get("interpolation") or "bicubic"
        if interpolation == "random":
            raise ValueError("interpolation 'random', which timm only trains with: state bilinear or bicubic")
        return Preprocessing(
            resize=(whole, whole) if mode == "squash" else whole,
            crop=int(height),
            interpolation=interpolation,
            mean=_three(config.get("mean") or IMAGENET_MEAN),
            std=_three(config.get("std") or IMAGENET_STD),
        )
    except _ERRORS as error:
        raise CheckpointError(
            f"{name} has a pretrained_cfg that states no preprocessing ({one_line(error)})"
        ) from error


def timm_deviation_note(config: object) -> tuple[str, ...]:
    """Return a note where a pretrained_cfg asks for a step of timm's that `from_timm_config` replaces by another one."""
    if not isinstance(config, Mapping) or config.get("crop_mode") != "border":
        return ()
    return ("its crop_mode is border, which keeps the whole picture between bars; here the middle square is kept",)


def from_hf_processor(
    config: Mapping[str, Any], name: str, model_type: str = ""
) -> tuple[Preprocessing, tuple[str, ...], bool]:
    """Return what a preprocessor_config.json says, what to note about it, and whether channels go in as blue, green, red.

    model_type: of the folder's model, whose usual processor it is where none is named.
    Steps that change the values of pixels are folded into one mean and std.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    processor = find_processor(kind, model_type)
    known = Processor(flips=True) if processor is None else processor
    said = {key: value for key, value in config.items() if value is not None and key not in known.ignored}
    whole = {**known.stated, **said}
    try:
        shape = _STEPS[known.steps](whole, known)
        if not whole.get("do_resize", True):
            # Preprocessing has no such case: images of the crop's size are as the processor leaves them.
            note = "its processor does not resize pictures; here the short side is resized to what it cuts"
            shape = _Shape(shape.crop, shape.crop, (note,))
        mean, std = _colours(whole)
        preprocessing = Preprocessing(
            shape.resize,
            shape.crop,
            _filter(whole.get("resample", _RESAMPLE.index("bilinear"))),
            mean,
            std,
            floors=_can_be_odd(shape.resize, shape.crop),
        )
    except _ERRORS as error:
        raise CheckpointError(f"{name} states no preprocessing that robench knows ({one_line(error)})") from error
    unknown = f"{name} is of {kind[:80]!r}, which robench does not know: its numbers are taken as most processors do"
    notes = (unknown, *shape.notes) if processor is None and kind else shape.notes
    return preprocessing, notes, known.flips and bool(whole.get("do_flip_channel_order"))


@dataclass(frozen=True)
class _Shape:
    """What a picture is resized to and cut to, and where the processor does it in another way."""

    resize: int | tuple[int, int]
    crop: int
    notes: tuple[str, ...] = ()


def _plain(config: Mapping[str, Any], processor: Processor) -> _Shape:
    return _cut(_size(config, processor), config)


def _convnext(config: Mapping[str, Any], processor: Processor) -> _Shape:
    """Below 384 pixels resize by crop_pct and cut, from there on squash."""
    side = _size(config, processor)
    if isinstance(side, tuple):
        raise ValueError(f"a size {config.get('size')} without shortest_edge")
    shape = _Shape(int(side / config["crop_pct"]), side) if side < 384 else _Shape((side, side), side)
    return _Shape(shape.resize, _side(config["crop_size"])) if config.get("do_center_crop") else shape


def _levit(config: Mapping[str, Any], processor: Processor) -> _Shape:
    size = _size(config, processor)
    return _cut(size if isinstance(size, tuple) else int((256 / 224) * size), config)


def _perceiver(config: Mapping[str, Any], processor: Processor) -> _Shape:
    """Cut the middle by the ratio of the two sizes, then resize: nearly the same as to resize and then cut."""
    side = _side(config["size"])
    if not config.get("do_center_crop"):
        return _Shape((side, side), side)
    note = "its processor cuts pictures before it resizes them; here it is the other way round"
    return _Shape(_side(config["crop_size"]), side, (note,))


def _poolformer(config: Mapping[str, Any], processor: Processor) -> _Shape:
    """A square size is the short side too, divided by crop_pct."""
    size = _size(config, processor)
    if isinstance(size, tuple) and size[0] != size[1]:
        return _cut((int(size[0] / config["crop_pct"]), int(size[1] / config["crop_pct"])), config)
    return _cut(int((size[0] if isinstance(size, tuple) else size) / config["crop_pct"]), config)


def _pp_lcnet(config: Mapping[str, Any], processor: Processor) -> _Shape:
    note = "its processor rounds the long side where this cuts it off: up to one pixel of difference"
    shape = _cut(int(config["resize_short"]), config)
    return _Shape(shape.resize, shape.crop, (*shape.notes, note))


def _textnet(config: Mapping[str, Any], processor: Processor) -> _Shape:
    """Sides are multiples of size_divisor, and the whole picture is kept."""
    size = _size(config, processor)
    if isinstance(size, tuple):
        raise ValueError(f"a size {config.get('size')} without shortest_edge")
    return _cut(math.ceil(size / config["size_divisor"]) * config["size_divisor"], config)


_STEPS: dict[Steps, Callable[[Mapping[str, Any], Processor], _Shape]] = {
    "plain": _plain,
    "convnext": _convnext,
    "levit": _levit,
    "perceiver": _perceiver,
    "poolformer": _poolformer,
    "pp_lcnet": _pp_lcnet,
    "textnet": _textnet,
}


def _cut(resize: int | tuple[int, int], config: Mapping[str, Any]) -> _Shape:
    if config.get("do_center_crop"):
        return _Shape(resize, _side(config.get("crop_size") or config.get("size")))
    if isinstance(resize, tuple):
        return _Shape(resize, _side(resize))
    note = "its processor keeps whole pictures, of any shape; here the middle square is cut out"
    return _Shape(resize, resize, (note,))


def _size(config: Mapping[str, Any], processor: Processor) -> int | tuple[int, int]:
    """Return the size to resize to: an int is the short side, a pair is (height, width)."""
    match config.get("size"):
        case bool():
            pass
        case int() | float() as side if config.get("default_to_square", processor.is_square):
            return int(side), int(side)
        case int() | float() as side:
            return int(side)
        case {"shortest_edge": side, **rest} if not any(rest.values()):
            return int(side)
        case {"height": height, "width": width, **rest} if not any(rest.values()):
            return int(height), int(width)
        case [height, width]:
            return int(height), int(width)
    raise ValueError(f"an input of size {config.get('size')}")


def _side(size: Any) -> int:
    """Return the side of an int, a pair, {height, width} or {shortest_edge}; raise ValueError unless it is square."""
    match size:
        case bool():
            pass
        case int() | float():
            return int(size)
        case {"shortest_edge": side}:
            return int(side)
        case {"height": height, "width": width} | (height, width) if height == width:
            return int(height)
    raise ValueError(f"an input of size {size}")


def _can_be_odd(resize: int | tuple[int, int], crop: int) -> bool:
    """Whether the margin around the crop can be odd, so that it matters how it is halved."""
    return not isinstance(resize, tuple) or any((side - crop) % 2 for side in resize)


def _filter(number: Any) -> str:
    if not isinstance(number, int) or not 0 <= number < len(_RESAMPLE):
        raise ValueError(f"resample {number!r} is none of Pillow's filters, 0 to {len(_RESAMPLE) - 1}")
    return _RESAMPLE[number]


def _colours(config: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and std of values in 0..1, for a processor that takes 0..255, rescales, offsets and normalises."""
    factor = 255 * float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 255.0
    offset = 1.0 if config.get("rescale_offset") else 0.0
    normalises = config.get("do_normalize", True)
    mean, std = (
        (_three(config.get("image_mean", IMAGENET_MEAN)), _three(config.get("image_std", IMAGENET_STD)))
        if normalises
        else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    )
    again = _three(config["image_std"]) if config.get("include_top") else (1.0, 1.0, 1.0)  # EfficientNet divides twice
    return (
        _three((offset + value) / factor for value in mean),
        _three(value * more / factor for value, more in zip(std, again, strict=True)),
    )


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in ([values] * 3 if isinstance(values, int | float) else values))
    return red, green, blue
