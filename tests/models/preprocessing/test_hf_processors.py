"""Preprocessing of Hugging Face and timm configurations, on pictures of odd sizes: transformers' and timm's own are the oracle."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.preprocessing.from_config import from_hf_processor, from_timm_config, timm_deviation_note
from robench.models.preprocessing.hf_processors import PROCESSORS, processor_name
from tests.builders import each

transformers = pytest.importorskip("transformers")
if not hasattr(transformers, "ViTImageProcessorPil"):
    pytest.skip("this transformers has no processors that resize with Pillow by name", allow_module_level=True)

SIZES = ((61, 97), (97, 61), (60, 61), (75, 75), (301, 140))
"""Heights and widths; margins of both parities, above and below, come of them."""

CUT = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
ODD = {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}}
SQUARE = {"size": {"height": 33, "width": 33}}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTImageProcessor", SQUARE),
    "ViT, one number": ("ViTImageProcessor", {"size": 32, "resample": 3}),
    "Swin": ("ViTImageProcessor", {**SQUARE, "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    "BEiT": ("BeitImageProcessor", {**SQUARE, "do_center_crop": False}),
    "BEiT, cut": ("BeitImageProcessor", {"size": {"height": 47, "width": 40}, "crop_size": 32, "do_center_crop": True}),
    "DeiT": ("DeiTImageProcessor", {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}}),
    "ConvNeXt 224": ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875}),
    "ConvNeXt 224, as published": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "ConvNeXt 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "ResNet": ("ConvNextImageProcessor", {"size": {"shortest_edge": 33}, "crop_pct": 0.875, "resample": 3}),
    "BiT": ("BitImageProcessor", ODD),
    "CLIP": ("CLIPImageProcessor", ODD),
    "MobileNetV1": ("MobileNetV1ImageProcessor", ODD),
    "MobileNetV2": ("MobileNetV2ImageProcessor", ODD),
    "MobileNetV2, as published": ("MobileNetV2ImageProcessor", {}),
    "MobileViT": ("MobileViTImageProcessor", {**ODD, "resample": 2}),
    "MobileViT, padded": ("MobileViTImageProcessor", {"size": {"shortest_edge": 26}, "crop_size": 32}),
    "PoolFormer": ("PoolFormerImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": 32, "crop_pct": 0.85}),
    "PoolFormer, square": ("PoolFormerImageProcessor", {"size": {"height": 32, "width": 32}, "crop_size": 32, "crop_pct": 0.9}),
    "LeViT": ("LevitImageProcessor", {"size": {"shortest_edge": 33}, "crop_size": {"height": 32, "width": 32}}),
    "EfficientNet": ("EfficientNetImageProcessor", {**SQUARE, "rescale_factor": 1 / 127.5, "rescale_offset": True, "resample": 0}),
    "EfficientNet, top left out": ("EfficientNetImageProcessor", {**SQUARE, "include_top": False}),
    "SegFormer": ("SegformerImageProcessor", {**SQUARE, "do_center_crop": True, "crop_size": 20}),
    "PVT": ("PvtImageProcessor", SQUARE),
    "SigLIP": ("SiglipImageProcessor", SQUARE),
    "Hiera": ("BitImageProcessor", {**CUT, "resample": 3}),
}  # fmt: skip


def picture(height: int, width: int) -> Image.Image:
    small = np.random.default_rng(height).integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def ours(config: Mapping[str, Any], image: Image.Image, model_type: str = "") -> tuple[Tensor, tuple[str, ...]]:
    preprocessing, notes = from_hf_processor(config, "x", model_type)
    pixels = torch.from_numpy(np.array(preprocessing.geometry().apply(image))).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    values = (pixels - mean) / std
    return (values.flip(0) if preprocessing.channels == "bgr" else values), notes


def theirs(name: str, settings: Mapping[str, Any], image: Image.Image) -> tuple[dict[str, Any], Tensor]:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        processor = getattr(transformers, name)(**settings)
        values = processor(image, return_tensors="pt")["pixel_values"][0].float()
    return processor.to_dict(), values


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as its file holds it."""
    read: dict[str, Any] = json.loads(json.dumps(config, default=dict))
    return read


def level(config: Mapping[str, Any]) -> float:
    """One grey level of 255 in the network's input."""
    return 1 / 255 / min(from_hf_processor(config, "x")[0].std)


@each("case", CASES)
def test_input_is_that_of_transformers_with_pillow(case: str) -> None:
    name, settings = CASES[case]
    for size in SIZES:
        config, expected = theirs(f"{name}Pil", settings, picture(*size))
        found, notes = ours(plain(config), picture(*size))
        assert found.shape == expected.shape, size
        # Both resize with Pillow to the same 8 bits. Only the order of the float32 operations differs.
        assert float((found - expected).abs().max()) < 1e-3 * level(config), size
        assert notes == (), size


LEVELS = {2: 1.01, 3: 4.01}
"""Grey levels by which torch's own 8-bit weights, bilinear and bicubic, may differ from Pillow's."""


@each("case", CASES)
def test_input_is_that_of_transformers_with_torchvision(case: str) -> None:
    name, settings = CASES[case]
    for size in SIZES:
        config, expected = theirs(name, settings, picture(*size))
        found, _ = ours(plain(config), picture(*size))
        assert found.shape == expected.shape, size
        if config["resample"] in LEVELS:
            assert float((found - expected).abs().max()) < LEVELS[config["resample"]] * level(config), size
        else:
            # Nearest: where a pixel lies between two, Pillow and torch take another one of them.
            assert float(((found - expected).abs() > level(config)).float().mean()) < 0.04, size


def test_an_odd_padding_is_that_of_the_torchvision_backend() -> None:
    settings = {"size": {"shortest_edge": 25}, "crop_size": 32, "resample": 2}
    config, expected = theirs("MobileViTImageProcessor", settings, picture(61, 97))
    found, _ = ours(plain(config), picture(61, 97))
    assert torch.equal(found[:, :3], torch.zeros(3, 3, 32))
    assert float((found - expected).abs().max()) < 1.01 * level(config)


UNSTATED = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_center_crop": False,
}
UNSTATED |= {"rescale_offset": False, "include_top": False, "do_flip_channel_order": False}


def test_the_table_is_what_transformers_has() -> None:
    for name, processor in PROCESSORS.items():
        kind = getattr(transformers, name)
        assert processor.is_square == kind.default_to_square, name
        own = kind().to_dict()
        differing = {key for key, value in UNSTATED.items() if own.get(key, value) != value}
        assert differing - set(processor.fixed) <= set(processor.varying), name


def test_without_transformers_only_an_explicit_file_works(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"size": 33, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "crop_size": 32}
    config = {"image_processor_type": "BitImageProcessor", **stated}
    explicit = {**config, "do_center_crop": True}
    expected = from_hf_processor(explicit, "x")
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "transformers.models.auto.image_processing_auto", None)
    assert from_hf_processor(explicit, "x") == expected
    with pytest.raises(CheckpointError, match=r"x leaves out do_center_crop, .*; pip install 'robench\[huggingface\]'"):
        from_hf_processor(config, "x")
    with pytest.raises(CheckpointError, match="x names no image_processor_type; pip install"):
        from_hf_processor(stated, "x", "bit")


def test_every_image_classifier_has_its_processor() -> None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    # Their inputs are no pictures of one size: tokens of colours, patches in a row, a document, a conversation; timm states its own.
    others = {"imagegpt", "siglip2", "donut-swin", "shieldgemma2", "timm_wrapper"}
    assert {one for one in CLASSIFIERS if one in NAMES and not processor_name("", one, "x")} == others


@pytest.mark.parametrize(
    "kind", ["ConvNextImageProcessorFast", "ConvNextFeatureExtractor", "ConvNextImageProcessorPil"]
)
def test_other_names_are_of_the_same_class(kind: str) -> None:
    key = "feature_extractor_type" if kind.endswith("FeatureExtractor") else "image_processor_type"
    config = {"size": 224, "crop_pct": 0.875}
    assert from_hf_processor({**config, key: kind}, "x") == from_hf_processor(config, "x", "resnet")
    assert from_hf_processor({**config, key: kind}, "x")[0].resize == 256
    assert "ConvNextish" in from_hf_processor({**config, key: "ConvNextish"}, "x", "resnet")[1][0]


def test_what_a_file_leaves_out_is_the_classes_own() -> None:
    for name in PROCESSORS:
        if name in ("PerceiverImageProcessor", "TextNetImageProcessor", "PPLCNetImageProcessor"):
            continue
        _, expected = theirs(f"{name}Pil", {}, picture(301, 140))
        found, notes = ours({"image_processor_type": name, "size": None}, picture(301, 140))
        assert float((found - expected).abs().max()) < 1e-5
        assert notes == ()


@pytest.mark.parametrize("name", ["PerceiverImageProcessor", "TextNetImageProcessor", "PPLCNetImageProcessor"])
def test_what_a_processor_does_otherwise_is_said(name: str) -> None:
    image = picture(250, 250)
    _, expected = theirs(name, {}, image)
    found, notes = ours({"image_processor_type": name}, image)
    assert found.shape == expected.shape
    assert notes[0].startswith("its processor ")


@each(
    ("config", "text"),
    [
        ({"size": 32, "resample": -1}, "resample -1 is none of Pillow's filters, 0 to 5"),
        ({"size": 32, "resample": 6}, "resample 6 is none"),
        ({"size": 32, "resample": "bicubic"}, "resample 'bicubic' is none"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "an input of size"),
        ({"size": {"height": 32, "width": 40}}, "an input of size"),
        ({"size": True}, "an input of size True"),
        ({"size": 32, "image_std": 0}, "std must be fractions"),
        ({"size": 1e300}, "crop must be from 1"),
        ({"size": {"shortest_edge": 32}, "crop_size": 4_000, "do_center_crop": True}, "far less than crop 4000"),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"height": 3, "width": 3}},
            "without shortest_edge",
        ),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 32, "crop_pct": 0}, "division by zero"),
    ],
)
def test_impossible_numbers_are_told(config: dict[str, Any], text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        from_hf_processor(config, "x")


TIMM: dict[str, dict[str, Any]] = {
    "center": {"input_size": (3, 32, 32), "crop_pct": 0.875},
    "odd": {"input_size": (3, 32, 32), "crop_pct": 0.86, "interpolation": "bilinear"},
    "squash": {"input_size": (3, 32, 32), "crop_pct": 1.0, "crop_mode": "squash"},
    "squash, cut": {"input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear"},
    "padded": {"input_size": (3, 32, 32), "crop_pct": 1.15, "mean": (0.5, 0.4, 0.3)},
    "nothing": {},
}


@pytest.mark.parametrize("case", TIMM)
def test_input_is_that_of_timm(case: str) -> None:
    import timm.data

    config = TIMM[case]
    resolved = timm.data.resolve_data_config(pretrained_cfg=config or {"num_classes": 3})
    transform = timm.data.create_transform(**resolved, is_training=False)
    stated = from_timm_config(config, "x")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (stated.mean, stated.std))
    for size in SIZES:
        pixels = torch.from_numpy(np.array(stated.geometry().apply(picture(*size)))).permute(2, 0, 1) / 255
        assert torch.equal((pixels - mean) / std, transform(picture(*size))), size


def test_what_timm_would_do_otherwise_is_said() -> None:
    import timm.data

    assert timm_deviation_note({"crop_mode": "border"})[0].startswith("its crop_mode is border")
    assert timm_deviation_note({"crop_mode": "squash"}) == timm_deviation_note(None) == ()
    with pytest.raises(CheckpointError, match="only trains with"):
        from_timm_config({"interpolation": "random"}, "x")
    # timm itself has nothing to evaluate such a model with.
    with pytest.raises(KeyError, match="random"):
        timm.data.create_transform(224, is_training=False, interpolation="random")
    with pytest.raises(CheckpointError, match="none of center, squash, border"):
        from_timm_config({"crop_mode": "none"}, "x")


def test_no_configuration_makes_another_error() -> None:
    values = [
        *(
            None,
            -1,
            0,
            1.5,
            "x",
            "abc",
            [],
            {},
            True,
            2**40,
            10**400,
            float("inf"),
            float("nan"),
            1e-300,
            [3, 4],
            [[1]],
        ),
        *(
            [1, 2, 3],
            {"height": 4, "width": 4},
            {"shortest_edge": "x"},
            {"height": [1], "width": [1]},
            [3, 10**400, 10**400],
        ),
    ]
    processors = ("size", "crop_size", "do_center_crop", "do_resize", "resample", "image_mean", "image_std", "crop_pct")
    others = ("rescale_factor", "do_normalize", "include_top", "resize_short", "size_divisor", "default_to_square")
    pretrained = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
    kinds, draws = list(PROCESSORS), np.random.default_rng(0)
    told: list[str] = []

    def drawn(keys: tuple[str, ...]) -> dict[str, Any]:
        chosen = draws.choice(len(keys), int(draws.integers(1, 5)), replace=False)
        return {keys[key]: values[int(draws.integers(len(values)))] for key in chosen}

    for number in range(4000):
        try:
            if number % 3:
                from_hf_processor(
                    {"image_processor_type": kinds[number % len(kinds)], **drawn(processors + others)}, "x"
                )
            else:
                from_timm_config(drawn(pretrained), "x")
        except CheckpointError as error:
            told.append(str(error))
    assert 500 < len(told) < 3500
    assert not any("\n" in text for text in told)
