"""Image processors of transformers: default settings, and the steps by which each class resizes and crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from robench.errors import CheckpointError

__all__ = ["PROCESSORS", "Processor", "Steps", "default_settings", "processor_name"]

Steps: TypeAlias = Literal["plain", "convnext", "levit", "perceiver", "poolformer", "pp_lcnet", "textnet"]
"""Arithmetic of resize and crop: plain is `size`, then `crop_size`; `from_config` holds the others."""

_PLAIN = ("size", "resample", "image_mean", "image_std")
_CROPPED = (*_PLAIN, "do_center_crop")
_INSTALL = "pip install 'robench[huggingface]'"


@dataclass(frozen=True)
class Processor:
    """Mapping from the settings of one class of image processors to resize, crop and normalisation.

    Attributes:
        steps: Arithmetic of resize and crop.
        is_square: Whether a size that is one number is the side of a square; otherwise it is the short side.
        fixed: Settings that the class has, whatever its file states.
        varying: Settings whose defaults differ between classes. Without transformers, a file must state them.
        reverses: Whether the class can put blue first.
    """

    steps: Steps = "plain"
    is_square: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)
    varying: tuple[str, ...] = _PLAIN
    reverses: bool = False


_SHORT_SIDE = Processor(is_square=False, varying=_CROPPED)

PROCESSORS: dict[str, Processor] = {
    "BeitImageProcessor": Processor(),
    "BitImageProcessor": _SHORT_SIDE,
    "ChineseCLIPImageProcessor": _SHORT_SIDE,
    "CLIPImageProcessor": _SHORT_SIDE,
    "ConvNextImageProcessor": Processor("convnext", is_square=False),
    "DeiTImageProcessor": Processor(varying=_CROPPED),
    "EfficientNetImageProcessor": Processor(varying=(*_PLAIN, "include_top")),
    "LevitImageProcessor": Processor("levit", is_square=False, varying=_CROPPED),
    "MobileNetV1ImageProcessor": _SHORT_SIDE,
    "MobileNetV2ImageProcessor": _SHORT_SIDE,
    "MobileViTImageProcessor": Processor(
        is_square=False,
        fixed={"do_normalize": False},
        varying=("size", "resample", "do_center_crop", "do_flip_channel_order"),
        reverses=True,
    ),
    "PerceiverImageProcessor": Processor("perceiver", varying=_CROPPED),
    "PoolFormerImageProcessor": Processor("poolformer", is_square=False, varying=_CROPPED),
    # It normalises before it puts blue first.
    "PPLCNetImageProcessor": Processor(
        "pp_lcnet", fixed={"do_flip_channel_order": True}, varying=_CROPPED, reverses=True
    ),
    "PvtImageProcessor": Processor(),
    "SegformerImageProcessor": Processor(fixed={"do_center_crop": False}),
    "SiglipImageProcessor": Processor(is_square=False),
    "TextNetImageProcessor": Processor("textnet", is_square=False),
    "ViTImageProcessor": Processor(),
}
"""Classes by their name in transformers 5; `processor_name` translates other names."""

_ENDINGS = (("Fast", ""), ("Pil", ""), ("FeatureExtractor", "ImageProcessor"))
"""Endings of a class's name in files of other versions, and the ending in transformers 5."""


def processor_name(kind: str, model_type: str, file: str) -> str:
    """Return the name in transformers 5 of an image processor's class.

    Args:
        kind: The class's name in the file, which may be that of another version; empty if the file has none.
        model_type: Type of the folder's model, whose usual processor an empty `kind` means; empty if unknown.
        file: The file, for errors.

    Returns:
        The name; empty if neither argument leads to a class in `PROCESSORS`.

    Raises:
        CheckpointError: Only transformers knows the usual processor, and it is not installed.
    """
    for ending, replacement in _ENDINGS:
        if kind.endswith(ending):
            kind = kind.removesuffix(ending) + replacement
    if kind or not model_type:
        return kind
    try:
        from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
    except ImportError as error:
        raise CheckpointError(f"{file} names no image_processor_type", _INSTALL) from error
    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, ())
    return next((name for name in (names.values() if isinstance(names, Mapping) else names) if name in PROCESSORS), "")


def default_settings(name: str, stated: Mapping[str, Any], file: str) -> Mapping[str, Any]:
    """Return the default settings of a class in `PROCESSORS`, as the installed transformers has them.

    Args:
        name: The class.
        stated: Settings of its file. Without transformers, they must hold every varying setting.
        file: The file, for errors.

    Raises:
        CheckpointError: The file leaves out a setting, and the installed libraries do not have the class.
    """
    try:
        import transformers

        defaults: Mapping[str, Any] = getattr(transformers, name)().to_dict()
    except (ImportError, AttributeError) as error:
        if missing := [key for key in PROCESSORS[name].varying if key not in stated]:
            raise CheckpointError(
                f"{file} leaves out {', '.join(missing)}, and no installed library has the defaults of {name}", _INSTALL
            ) from error
        return {}
    return defaults
