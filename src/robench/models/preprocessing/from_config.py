"""Preprocessing from configurations: timm's pretrained_cfg and the image processors of Hugging Face folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robench.errors import CheckpointError, OptionError, one_line
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from robench.models.preprocessing.hf_processors import PROCESSORS, Processor, Steps, default_settings, processor_name

__all__ = ["from_hf_processor", "from_timm_config", "timm_deviation_note"]

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Filters in the order of Pillow's numbers."""
_ERRORS = (OptionError, KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError, AttributeError)
_CROP_MODES = ("center", "squash", "border")


def from_timm_config(config: Mapping[str, Any], name: str) -> Preprocessing:
    """Return the preprocessing of timm's `transforms_imagenet_eval` for a pretrained_cfg.

    Missing settings have timm's own defaults, as in `timm.data.resolve_data_config`.

    Args:
        config: The pretrained_cfg.
        name: The model or file, for errors.

    Raises:
        CheckpointError: The configuration is impossible, or its input is not a square RGB image.
    """
    try:
        channels, height, width = config.get("input_size") or (3, 224, 224)
        mode = config.get("crop_mode") or "center"
        if height != width and mode != "squash":
            raise CheckpointError(
                f"{name} takes {channels}x{height}x{width} input instead of square images",
                "give a model of square images, or load it with file.py:function",
            )
        fraction = config.get("crop_pct") or 0.875
        whole = math.floor(height / fraction), math.floor(width / fraction)
        if mode not in _CROP_MODES:
            raise ValueError(f"crop_mode {mode!r} is none of {', '.join(_CROP_MODES)}")
        interpolation = config.get("interpolation") or "bicubic"
        if interpolation == "random":
            raise CheckpointError(
                f"{name} has the interpolation 'random', which timm only trains with", "state bilinear or bicubic"
            )
        return Preprocessing(
            resize=whole if mode == "squash" else whole[0],
            crop=(int(height), int(width)),
            interpolation=interpolation,
            mean=_bands(config.get("mean") or IMAGENET_MEAN, channels, 0.0),
            std=_bands(config.get("std") or IMAGENET_STD, channels, 1.0),
        )
    except _ERRORS as error:
        raise _unusable(f"the pretrained_cfg of {name}", error) from error


def timm_deviation_note(config: object) -> tuple[str, ...]:
    """Return a note if a pretrained_cfg has a step that `from_timm_config` replaces by another one."""
    if not isinstance(config, Mapping) or config.get("crop_mode") != "border":
        return ()
    return ("its crop_mode is border, which keeps the whole image between bars; robench keeps the middle square",)


def from_hf_processor(
    config: Mapping[str, Any], name: str, model_type: str = ""
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing of a preprocessor_config.json, as transformers reads it.

    All steps that change the values of pixels become one mean and std.

    Args:
        config: Content of the file.
        name: The file, for errors and notes.
        model_type: Type of the folder's model, whose usual processor applies if the file names none.

    Returns:
        The preprocessing, and notes.

    Raises:
        CheckpointError: The configuration is impossible, or leaves out settings that only transformers knows.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    processor_class = processor_name(kind, model_type, name)
    processor = PROCESSORS.get(processor_class, Processor(reverses=True))
    settings = {key: value for key, value in config.items() if value is not None}
    if processor_class in PROCESSORS:
        settings = {**default_settings(processor_class, settings, name), **settings, **processor.fixed}
    try:
        shape = _STEPS[processor.steps](settings, processor)
        if not settings.get("do_resize", True):
            # Preprocessing always resizes; images of the crop's size still stay as they are.
            note = "its processor does not resize images; robench resizes the short side to the crop"
            shape = _Shape(shape.crop, shape.crop, (note,))
        mean, std = _mean_and_std(settings)
        preprocessing = Preprocessing(
            shape.resize,
            shape.crop,
            _filter(settings.get("resample", _RESAMPLE.index("bilinear"))),
            mean,
            std,
            floors=_can_be_odd(shape.resize, shape.crop),
            channels="bgr" if processor.reverses and settings.get("do_flip_channel_order") else "rgb",
        )
    except _ERRORS as error:
        raise _unusable(name, error) from error
    notes = shape.notes
    if kind and processor_class not in PROCESSORS:
        unknown = f"{name} has the unknown image processor {kind[:80]!r}; robench reads its settings as those of most processors"
        notes = (unknown, *notes)
    return preprocessing, notes


@dataclass(frozen=True)
class _Shape:
    """Sizes of resize and crop, and notes on deviations from the processor."""

    resize: int | tuple[int, int]
    crop: int
    notes: tuple[str, ...] = ()


def _plain(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    return _cut(_resize(settings, processor), settings)


def _convnext(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    """Resize by crop_pct and crop below 384 pixels; squash from there on."""
    side = _short_side(settings, processor)
    shape = _Shape(int(side / settings["crop_pct"]), side) if side < 384 else _Shape((side, side), side)
    return _Shape(shape.resize, _square(settings["crop_size"])) if settings.get("do_center_crop") else shape


def _levit(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    size = _resize(settings, processor)
    return _cut(size if isinstance(size, tuple) else int((256 / 224) * size), settings)


def _perceiver(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    """Resize, then crop; the processor crops by the ratio of both sizes first, which is nearly the same."""
    side = _square(settings["size"])
    if not settings.get("do_center_crop"):
        return _Shape((side, side), side)
    note = "its processor crops images before it resizes them; robench resizes first"
    return _Shape(_square(settings["crop_size"]), side, (note,))


def _poolformer(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    """Divide the size by crop_pct; a square size is the short side too."""
    size = _resize(settings, processor)
    fraction = settings["crop_pct"]
    if isinstance(size, tuple) and size[0] != size[1]:
        return _cut((int(size[0] / fraction), int(size[1] / fraction)), settings)
    return _cut(int((size[0] if isinstance(size, tuple) else size) / fraction), settings)


def _pp_lcnet(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    shape = _cut(int(settings["resize_short"]), settings)
    note = "its processor rounds the long side, which robench rounds down; sizes differ by up to one pixel"
    return _Shape(shape.resize, shape.crop, (*shape.notes, note))


def _textnet(settings: Mapping[str, Any], processor: Processor) -> _Shape:
    """Round the short side up to a multiple of size_divisor; the processor keeps the whole image."""
    divisor = settings["size_divisor"]
    return _cut(math.ceil(_short_side(settings, processor) / divisor) * divisor, settings)


_STEPS: dict[Steps, Callable[[Mapping[str, Any], Processor], _Shape]] = {
    "plain": _plain,
    "convnext": _convnext,
    "levit": _levit,
    "perceiver": _perceiver,
    "poolformer": _poolformer,
    "pp_lcnet": _pp_lcnet,
    "textnet": _textnet,
}


def _cut(resize: int | tuple[int, int], settings: Mapping[str, Any]) -> _Shape:
    if settings.get("do_center_crop"):
        return _Shape(resize, _square(settings.get("crop_size") or settings.get("size")))
    if isinstance(resize, tuple):
        return _Shape(resize, _square(resize))
    note = "its processor keeps whole images of any shape; robench cuts out the middle square"
    return _Shape(resize, resize, (note,))


def _resize(settings: Mapping[str, Any], processor: Processor) -> int | tuple[int, int]:
    """Return the size to resize to: an int is the short side, a pair is (height, width)."""
    match settings.get("size"):
        case bool():
            pass
        case int() | float() as side if settings.get("default_to_square", processor.is_square):
            return int(side), int(side)
        case int() | float() as side:
            return int(side)
        case {"shortest_edge": side, **rest} if not any(rest.values()):
            return int(side)
        case {"height": height, "width": width, **rest} if not any(rest.values()):
            return int(height), int(width)
        case [height, width]:
            return int(height), int(width)
    raise ValueError(f"an input of size {settings.get('size')}")


def _short_side(settings: Mapping[str, Any], processor: Processor) -> int:
    side = _resize(settings, processor)
    if isinstance(side, tuple):
        raise ValueError(f"a size {settings.get('size')} without shortest_edge")
    return side


def _square(size: Any) -> int:
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
    """Return whether the margin around the crop can be odd, so that its rounding matters."""
    return not isinstance(resize, tuple) or any((side - crop) % 2 for side in resize)


def _filter(number: Any) -> str:
    if not isinstance(number, int) or not 0 <= number < len(_RESAMPLE):
        raise ValueError(f"resample {number!r} is none of Pillow's filters, 0 to {len(_RESAMPLE) - 1}")
    return _RESAMPLE[number]


def _mean_and_std(settings: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and std of values in 0..1, for a processor that takes 0..255, rescales, offsets and normalises."""
    factor = 255 * float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 255.0
    offset = 1.0 if settings.get("rescale_offset") else 0.0
    normalises = settings.get("do_normalize", True)
    mean = _rgb(settings.get("image_mean", IMAGENET_MEAN)) if normalises else (0.0, 0.0, 0.0)
    std = _rgb(settings.get("image_std", IMAGENET_STD)) if normalises else (1.0, 1.0, 1.0)
    divisor = (
        _rgb(settings["image_std"]) if settings.get("include_top") else (1.0, 1.0, 1.0)
    )  # EfficientNet divides twice
    return (
        _rgb((offset + value) / factor for value in mean),
        _rgb(value * again / factor for value, again in zip(std, divisor, strict=True)),
    )


def _bands(values: Any, channels: int, neutral: float) -> tuple[float, ...]:
    """Return a value for each channel; values of another number of channels do not count."""
    if channels == 3:
        return _rgb(values)
    given = tuple(map(float, values)) if isinstance(values, list | tuple) else ()
    return given if len(given) == channels else (neutral,) * channels


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in ([values] * 3 if isinstance(values, int | float) else values))
    return red, green, blue


def _unusable(name: str, error: Exception) -> CheckpointError:
    """Return the error for a configuration that `error` refused."""
    problem, hint = (error.problem, error.hint) if isinstance(error, OptionError) else (one_line(error), "")
    return CheckpointError(f"{name} states no usable preprocessing ({problem})", hint)
