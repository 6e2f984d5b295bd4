"""Torchvision's classification architectures, built without weights or with the published ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from robench.errors import CheckpointError, one_line, unknown_name
from robench.models.architectures.base import unknown_architecture
from robench.models.architectures.download import unreachable
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

__all__ = ["build", "names", "pretrained"]

_ARGUMENTS: dict[str, dict[str, Any]] = {
    # The published files hold the auxiliary heads, and were trained on the inputs that transform_input makes of
    # ImageNet-normalised ones. Initialising here would be slow, and torchvision warns that its default will change.
    "googlenet": {"aux_logits": True, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "transform_input": True, "init_weights": False},
}


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and the preprocessing of its first published ImageNet weights.

    googlenet and inception_v3 come with auxiliary heads and transform_input, as their published weights need them.
    """
    models = _models()
    if name not in names():
        raise CheckpointError(unknown_architecture("torchvision", name, names()))
    arguments = dict(_ARGUMENTS.get(name, {}))
    if classes is not None:
        arguments["num_classes"] = classes
    module: nn.Module = models.get_model(name, weights=None, **arguments)
    return module, _preprocessing(_first_weights(name))


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Return `NAME` or `NAME@WEIGHTS` with published weights (the default ones without @), downloaded if need be."""
    models = _models()
    arch, _, wanted = name.partition("@")
    if arch not in names():
        raise CheckpointError(unknown_architecture("torchvision", arch, names()))
    published = _published(arch)
    if not published:
        raise CheckpointError(f"torchvision:{arch} has no published weights: give a file and --arch torchvision:{arch}")
    weights = published.get(wanted) if "@" in name else models.get_model_weights(arch).DEFAULT
    if weights is None:
        raise CheckpointError(unknown_name(f"weights of torchvision:{arch}", wanted, published))
    cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    try:
        if not cached.exists() and (reason := unreachable(weights.url)):
            raise OSError(reason)
        module: nn.Module = models.get_model(arch, weights=weights, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash of the download does not match
        raise CheckpointError(
            f"cannot download torchvision:{arch}@{weights.name} ({one_line(error)}): "
            f"download {weights.url} elsewhere and give the file with --arch torchvision:{arch}"
        ) from error
    return module, _preprocessing(weights)


def names() -> list[str]:
    """Names of all classification architectures of the installed torchvision."""
    models = _models()
    return sorted(models.list_models(module=models))


def _models() -> ModuleType:
    try:
        import torchvision.models as models
    except ImportError as error:
        raise CheckpointError(
            f"torchvision cannot be imported ({one_line(error)}): pip install torch torchvision"
        ) from error
    module: ModuleType = models
    return module


def _published(name: str) -> dict[str, Any]:
    return {weights.name: weights for weights in _models().get_model_weights(name)}


def _first_weights(name: str) -> Any:
    published = _published(name)
    if not published:
        return None
    return published.get("IMAGENET1K_V1") or _models().get_model_weights(name).DEFAULT


def _preprocessing(weights: Any) -> Preprocessing:
    if weights is None:
        return Preprocessing(resize=256, crop=224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    transforms = weights.transforms()
    return Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
