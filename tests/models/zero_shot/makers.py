"""Tiny untrained vision-language models in the folders of their libraries.

Models of open_clip take the vocabulary that the library ships. Models of transformers have a tokenizer of whole words, made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

__all__ = ["KINDS", "hf_folder", "open_clip_config", "open_clip_folder", "state_of"]

_WORDS = ["a", "photo", "of", "the", "cat", "dog", "sea", "lion", "ant", "bee", "cow", ".", "bad", "many"]
_TEXT: dict[str, Any] = {
    "vocab_size": len(_WORDS) + 4,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
    "projection_dim": 16,
    "projection_size": 16,
    "project_dim": 16,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 3,
}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "num_patches": 16,
    "projection_dim": 16,
}
_SHORT_SIDE: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": 32}
_SQUARE: dict[str, Any] = {"size": {"height": 32, "width": 32}}
KINDS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "clip": ("CLIP", "CLIPImageProcessor", _SHORT_SIDE),
    "siglip": ("Siglip", "SiglipImageProcessor", _SQUARE),
    "siglip2": ("Siglip2", "Siglip2ImageProcessor", {"max_num_patches": 16, "patch_size": 8}),
    "metaclip_2": ("MetaClip2", "CLIPImageProcessor", _SHORT_SIDE),
    "chinese_clip": ("ChineseCLIP", "ChineseCLIPImageProcessor", _SHORT_SIDE),
    "altclip": ("AltCLIP", "CLIPImageProcessor", _SHORT_SIDE),
    "align": ("Align", "EfficientNetImageProcessor", {**_SQUARE, "do_center_crop": False}),
}
"""Prefix of the classes, image processor and its settings, by the type of the model."""


def hf_folder(folder: Path, kind: str) -> tuple[Any, Any]:
    """Write a folder of transformers, and return the model and its image processor."""
    prefix, processor, settings = KINDS[kind]
    text, vision = dict(_TEXT), dict(_VISION)
    if kind == "altclip":  # Positions of its text tower begin after the one of padding.
        text["max_position_embeddings"] = 26
    if kind == "align":
        vision = {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 16}
    width = 32 if kind == "align" else 16  # That of its image tower.
    config = getattr(transformers, f"{prefix}Config")(text_config=text, vision_config=vision, projection_dim=width)
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}Model")(config).eval()
    with torch.no_grad():  # The initial scale is too flat for a test.
        for name, value in model.named_parameters():
            if kind == "align" and value.ndim == 4:  # Its features vanish otherwise.
                torch.nn.init.kaiming_normal_(value)
            if "logit" in name:
                value.fill_(2.0 if name == "logit_scale" else -3.0)
    model.save_pretrained(folder)
    images = getattr(transformers, processor)(**settings)
    images.save_pretrained(folder)
    words = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "<s>", *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 3), ("</s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>"
    ).save_pretrained(folder)
    return model, images


def open_clip_config(kind: str) -> dict[str, Any]:
    """The configuration of a tiny CLIP or SigLIP."""
    vision: dict[str, Any] = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 16}
    text: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    model: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    if kind == "siglip":
        model |= {"init_logit_bias": -10, "custom_text": True}
        text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return {"model_cfg": model, "preprocess_cfg": {"mean": mean, "std": std, "resize_mode": "shortest"}}


def open_clip_folder(folder: Path, kind: str) -> Any:
    """Write a folder of open_clip with random weights, and return the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(open_clip_config(kind)))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file(state_of(model), folder / "open_clip_model.safetensors")
    return model


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the tensors of a model."""
    return {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}


def texts_of(names: Sequence[str]) -> list[str]:
    """The plain prompt of each name."""
    return [f"a photo of a {name}." for name in names]
