"""Vision-language models of transformers: their image tower, tokenizer and text tower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.formats.base import CONFIG_NAME
from robench.models.zero_shot.text_encoder import TextEncoder, tokenizer_sha256

__all__ = ["DUAL_ENCODERS", "TOKENIZERS", "default_settings", "dual_encoder", "processor_settings"]

DUAL_ENCODERS = {
    "CLIPModel": False,
    "SiglipModel": True,
    "Siglip2Model": True,
    "MetaClip2Model": False,
    "AlignModel": False,
    "AltCLIPModel": False,
    "ChineseCLIPModel": False,
}
"""Classes of transformers, and whether each text is padded to the longest text of the model, and the padding is no mask."""
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Files of tokenizers; every tokenizer has one of them."""
_OF_TEXTS = ("text_model", "text_projection")
_NAFLEX = "siglip2"
_CROPPED = ("clip", "metaclip_2", "altclip", "chinese_clip")
"""Types of models whose processors resize the short side and crop."""


class _Images(nn.Module):
    """The image tower, which returns features (b, d).

    Args:
        model: The model.
        patch: Side in pixels of the patches that the model takes instead of images; None if it takes images.
    """

    returns_features = True

    def __init__(self, model: nn.Module, patch: int | None) -> None:
        super().__init__()
        self.model, self.patch = model, patch

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, d)."""
        model: Any = self.model
        if self.patch is None:
            return _features(model.get_image_features(pixel_values=images))
        count, channels, height, width = images.shape
        rows, columns = height // self.patch, width // self.patch
        patches = images.reshape(count, channels, rows, self.patch, columns, self.patch).permute(0, 2, 4, 3, 5, 1)
        output = model.get_image_features(
            pixel_values=patches.reshape(count, rows * columns, -1),
            pixel_attention_mask=torch.ones((count, rows * columns), dtype=torch.int32, device=images.device),
            spatial_shapes=torch.tensor([[rows, columns]] * count, device=images.device),
        )
        return _features(output)


def dual_encoder(
    transformers: ModuleType, folder: Path, config: Mapping[str, Any], name: str, model: Any
) -> tuple[nn.Module, TextEncoder]:
    """Return the image tower and the text encoder of a model.

    Args:
        transformers: The library.
        folder: Folder of the tokenizer.
        config: The folder's configuration.
        name: Class of the model, a key of `DUAL_ENCODERS`.
        model: The model with its weights.

    Raises:
        CheckpointError: The tokenizer is missing or cannot be loaded.
    """
    tokenizer = _tokenizer(transformers, folder)
    pads = DUAL_ENCODERS[name]
    longest = getattr(model.config.text_config, "max_position_embeddings", None)
    if pads:
        padding: dict[str, Any] = {"padding": "max_length", "max_length": longest, "truncation": True}
        if getattr(tokenizer, "pad_token", None) is None:
            raise CheckpointError(f"the tokenizer of {folder} has no token for padding", "copy its files again")
    else:
        padding = {"padding": True, "truncation": True, "max_length": longest}

    def tokenize(texts: list[str]) -> Mapping[str, Tensor]:
        tokens = tokenizer(texts, return_tensors="pt", **padding)
        # Models with padded texts were trained without a mask.
        return {key: value for key, value in tokens.items() if key == "input_ids" or not pads}

    def release() -> None:
        for part in _OF_TEXTS:
            if isinstance(getattr(model, part, None), nn.Module):
                setattr(model, part, None)

    scale = 1 / model.temperature if hasattr(model, "temperature") else model.logit_scale.exp()
    bias = getattr(model, "logit_bias", None)
    numbers = [float(value.detach().float().reshape(-1)[0]) if value is not None else 0.0 for value in (scale, bias)]
    if not all(map(math.isfinite, numbers)):
        raise CheckpointError(f"the scale or bias of the logits of {folder} is not finite", "is it damaged?")
    encoder = TextEncoder(
        tower=model,
        tokenize=tokenize,
        encode=lambda tokens: _features(model.get_text_features(**tokens)),
        scale=numbers[0],
        bias=numbers[1],
        tokenizer_sha256=tokenizer_sha256(folder),
        versions={"transformers": version("transformers")},
        release=release,
    )
    return _Images(model, patch_side(config)), encoder


def patch_side(config: Mapping[str, Any]) -> int | None:
    """Return the side of the patches of a model that takes them instead of images, in pixels; None for other models."""
    vision = config.get("vision_config")
    side = vision.get("patch_size", 16) if isinstance(vision, Mapping) and config.get("model_type") == _NAFLEX else None
    return side if isinstance(side, int) and side > 0 else None


def processor_settings(config: Mapping[str, Any], stated: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of an image processor, for a model of patches those of one that resizes to a square.

    Its processor keeps the shape of an image. A square one becomes the largest square of whole patches.

    Args:
        config: The folder's configuration.
        stated: Settings of the folder's image processor.
    """
    side, most = patch_side(config), stated.get("max_num_patches") or 256
    if side is None or not isinstance(most, int) or most < 1:
        return stated
    size = side * math.isqrt(most)
    defaults = {"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    square = {"size": {"height": size, "width": size}, "image_processor_type": "SiglipImageProcessor"}
    return {**defaults, **stated, **square}


def default_settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return settings of an image processor for the input size of a model; None if the model states none.

    Args:
        config: The configuration of a folder without image processor.
    """
    vision = config.get("vision_config")
    size = vision.get("image_size") if isinstance(vision, Mapping) else None
    if not isinstance(size, int) or size < 1:
        return None
    square = {"height": size, "width": size}
    if config.get("model_type") in _CROPPED:
        return {"size": {"shortest_edge": size}, "crop_size": square}
    return {"size": square}


def _tokenizer(transformers: ModuleType, folder: Path) -> Any:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(
            f"{folder} lacks the files of its tokenizer, such as {TOKENIZERS[0]}",
            f"copy them from where {CONFIG_NAME} comes from",
        )
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # Tokenizers fail with errors of their own.
        raise CheckpointError(
            f"the tokenizer of {folder} cannot be loaded ({one_line(error)})", "copy its files again"
        ) from error


def _features(output: Any) -> Tensor:
    """Return the features of a tower; transformers 5 returns them in an output, older versions alone."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features
