"""transformers' image processors as data: what each takes where its file says nothing, and how it differs from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["PROCESSORS", "Processor", "find_processor"]

Steps: TypeAlias = Literal["plain", "convnext", "levit", "perceiver", "poolformer", "pp_lcnet", "textnet"]
"""How a picture is resized and cut: to `size`, then `crop_size`; or as `configured.STEPS` says."""

_BILINEAR, _BICUBIC = 2, 3
_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_IMAGENET = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
_CLIP = {"image_mean": (0.48145466, 0.4578275, 0.40821073), "image_std": (0.26862954, 0.26130258, 0.27577711)}
_BLUE_FIRST = {"image_mean": IMAGENET_MEAN[::-1], "image_std": IMAGENET_STD[::-1]}


@dataclass(frozen=True)
class Processor:
    """One class of image processors.

    models: the model types whose folders mean it where they name none.
    stated: the class's own values, by the keys of preprocessor_config.json; a file's values go before them.
    ignored: keys that it does not look at.  is_square: whether a size that is one number is that of a square, else the short side.
    flips: whether it can put blue first.
    """

    models: tuple[str, ...] = ()
    stated: Mapping[str, Any] = field(default_factory=dict)
    steps: Steps = "plain"
    is_square: bool = True
    ignored: tuple[str, ...] = ()
    flips: bool = False


def _short(side: int) -> dict[str, int]:
    return {"shortest_edge": side}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


_CUT = {"size": _short(224), "crop_size": _square(224), "do_center_crop": True}
_MOBILENET = {"size": _short(256), "crop_size": _square(224), "do_center_crop": True, "resample": _BILINEAR, **_HALF}

PROCESSORS: dict[str, Processor] = {
    "BeitImageProcessor": Processor(
        ("beit", "data2vec-vision"), {"size": _square(224), "crop_size": _square(224), "resample": _BICUBIC, **_HALF}
    ),
    "BitImageProcessor": Processor(
        ("bit", "dinov2", "focalnet", "hiera"), {**_CUT, "resample": _BICUBIC, **_CLIP}, is_square=False
    ),
    "CLIPImageProcessor": Processor(("clip", "metaclip_2"), {**_CUT, "resample": _BICUBIC, **_CLIP}, is_square=False),
    "ConvNextImageProcessor": Processor(
        ("convnext", "convnextv2", "cvt", "regnet", "resnet"),
        {"size": _short(384), "crop_pct": 224 / 256, "resample": _BICUBIC, **_HALF},
        "convnext",
        is_square=False,
    ),
    "DeiTImageProcessor": Processor(
        ("deit",),
        {"size": _square(256), "crop_size": _square(224), "do_center_crop": True, "resample": _BICUBIC, **_HALF},
    ),
    "EfficientNetImageProcessor": Processor(
        ("efficientnet",),
        {"size": _square(346), "crop_size": _square(289), "include_top": True, "resample": _BICUBIC, **_HALF},
    ),
    "LevitImageProcessor": Processor(("levit",), {**_CUT, "resample": _BICUBIC, **_IMAGENET}, "levit", is_square=False),
    "MobileNetV1ImageProcessor": Processor(("mobilenet_v1",), _MOBILENET, is_square=False),
    "MobileNetV2ImageProcessor": Processor(("mobilenet_v2",), _MOBILENET, is_square=False),
    "MobileViTImageProcessor": Processor(
        ("mobilevit", "mobilevitv2"),
        {**_CUT, "crop_size": _square(256), "do_normalize": False, "do_flip_channel_order": True, "resample": _BICUBIC},
        is_square=False,
        ignored=("do_normalize",),
        flips=True,
    ),
    "PerceiverImageProcessor": Processor(
        ("perceiver",),
        {"size": _square(224), "crop_size": _square(256), "do_center_crop": True, "resample": _BICUBIC, **_IMAGENET},
        "perceiver",
    ),
    "PoolFormerImageProcessor": Processor(
        ("poolformer",), {**_CUT, "crop_pct": 0.9, "resample": _BICUBIC, **_IMAGENET}, "poolformer", is_square=False
    ),
    "PPLCNetImageProcessor": Processor(
        ("pp_lcnet",),
        {"size": _square(256), "resize_short": 256, "crop_size": 224, "do_center_crop": True, "resample": _BILINEAR}
        # It normalises before it puts blue first, whatever file it reads.
        | {"do_flip_channel_order": True, **_BLUE_FIRST},
        "pp_lcnet",
        ignored=("do_flip_channel_order",),
        flips=True,
    ),
    "PvtImageProcessor": Processor(("pvt", "pvt_v2"), {"size": _square(224), "resample": _BICUBIC, **_IMAGENET}),
    "SegformerImageProcessor": Processor(
        ("segformer",),
        {"size": _square(512), "do_center_crop": False, "resample": _BILINEAR, **_IMAGENET},
        ignored=("do_center_crop",),
    ),
    "SiglipImageProcessor": Processor(
        ("siglip",), {"size": _square(224), "resample": _BICUBIC, **_HALF}, is_square=False
    ),
    "TextNetImageProcessor": Processor(
        ("textnet",),
        {"size": _short(640), "crop_size": _square(224), "size_divisor": 32, "resample": _BILINEAR, **_IMAGENET},
        "textnet",
        is_square=False,
    ),
    "ViTImageProcessor": Processor(
        ("dinat", "ijepa", "swiftformer", "swin", "swinv2", "vit", "vit_msn"),
        {"size": _square(224), "resample": _BILINEAR, **_HALF},
    ),
}
"""By the name of the class in transformers 5; see `find_processor` for its other names."""

_ENDINGS = (("Fast", ""), ("Pil", ""), ("FeatureExtractor", "ImageProcessor"))
"""How the same class ends in files of other versions, and what transformers itself puts in its place."""


def find_processor(kind: str, model_type: str) -> Processor | None:
    """Return the processor of a class's name in a file or, where the file has none, that of the type of the model."""
    for ending, other in _ENDINGS:
        if kind.endswith(ending):
            kind = kind.removesuffix(ending) + other
    if kind:
        return PROCESSORS.get(kind)
    return next((one for one in PROCESSORS.values() if model_type in one.models), None)
