"""A vision-language model with the classifier that its text tower makes of class names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.formats.base import LoadedModel
from robench.models.heads.cached import cached, key_of
from robench.models.heads.layers import LinearHead, WithHead
from robench.models.zero_shot.choice import IMAGENET, Prompts, ZeroShotChoice
from robench.models.zero_shot.text_encoder import TextEncoder

__all__ = ["with_class_names"]

_TRIAL = Prompts(("ant", "bee"), ("{}",), "trial")
"""Texts of a trial in the sandbox."""


def with_class_names(loaded: LoadedModel, choice: ZeroShotChoice | None, device: torch.device) -> LoadedModel:
    """Return a vision-language model as a classifier.

    Args:
        loaded: The model, whose module returns the features (b, d) of images and which has a text encoder.
        choice: Names and prompts; None for a trial with two texts, which the cache does not keep.
        device: Device of the module.

    Raises:
        OptionError: The names or prompts cannot be read.
        CheckpointError: The text tower does not run, or its features are no numbers.
    """
    encoder = loaded.texts
    assert encoder is not None, "the model has a text encoder"
    prompts = _TRIAL if choice is None else choice.load(loaded.label)
    if len(prompts.names) < 2:
        raise CheckpointError(
            f"{loaded.label} has a single class, {prompts.names[0]!r}", "give at least two class names"
        )
    facts = {
        "prompts": prompts.source,
        "templates": len(prompts.templates),
        "templates_sha256": _sha256(prompts.templates),
        "names_sha256": _sha256(prompts.names),
        "tokenizer_sha256": encoder.tokenizer_sha256,
        **encoder.versions,
    }
    key = key_of({**facts, "weights": _weights_sha256(encoder.tower), "torch": [torch.__version__, device.type]})
    try:
        weights = (
            _encoded(encoder, prompts, device)
            if choice is None
            else cached(key, ("weights",), lambda: {"weights": _encoded(encoder, prompts, device)})["weights"]
        )
    except Exception as error:  # Tokenizers and text towers fail with errors of their own.
        raise CheckpointError(
            f"the text tower of {loaded.label} does not run ({type(error).__name__}: {one_line(error)})",
            "its tokenizer may belong to another model; copy all files again",
        ) from error
    encoder.release()
    if not weights.isfinite().all():
        raise CheckpointError(f"the text tower of {loaded.label} gives features that are not finite", "is it damaged?")
    bias = torch.full((len(weights),), encoder.bias) if encoder.bias else None
    head = LinearHead(encoder.scale * weights, bias, normalises=True).to(device)
    note = f"{loaded.label}: zero-shot classifier of {len(prompts.names):,} names with {_described(prompts)}"
    return replace(
        loaded,
        label=loaded.label if prompts.source == IMAGENET else f"{loaded.label}+{Path(prompts.source).stem}",
        module=WithHead(loaded.module, head).eval(),
        softmax=False,
        class_names=prompts.names if prompts.stated else (),
        head_facts={
            "head": "zero-shot",
            **facts,
            "texts": {"names": [*prompts.names], "templates": [*prompts.templates]},
        },
        texts=None,
        notes=(*loaded.notes, note, *prompts.notes),
    )


def _encoded(encoder: TextEncoder, prompts: Prompts, device: torch.device) -> Tensor:
    return encoder.class_weights([prompts.texts(name) for name in prompts.names], device)


def _described(prompts: Prompts) -> str:
    count = len(prompts.templates)
    return f"{count} template{'s' if count > 1 else ''} ({prompts.source}), such as {prompts.templates[0]!r}"


def _sha256(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _weights_sha256(tower: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(content.tobytes())
    return digest.hexdigest()
