"""Classification architectures of torchvision, without weights or with the published ones."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from torch import nn

from robench.errors import CheckpointError, one_line, unknown_name
from robench.models.architectures.base import unknown_architecture
from robench.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

__all__ = ["build", "names", "pretrained"]

# The published files hold the auxiliary heads, and were trained on the inputs that transform_input makes of
# ImageNet-normalised ones. Torchvision's own initialisation is slow and warns about its default.
_AUXILIARY = {"aux_logits": True, "transform_input": True, "init_weights": False}


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and the preprocessing of its first published ImageNet weights.

    googlenet and inception_v3 have auxiliary heads and transform_input, as their published weights need them.
    """
    models = _models(name)
    arguments: dict[str, Any] = dict(_AUXILIARY) if name in ("googlenet", "inception_v3") else {}
    if classes is not None:
        arguments["num_classes"] = classes
    module: nn.Module = models.get_model(name, weights=None, **arguments)
    return module, _preprocessing(_first_weights(name))


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Return `NAME` or `NAME@WEIGHTS` with published weights, downloaded if they are not cached, and its preprocessing.

    Without `@WEIGHTS`, torchvision's default weights are used.
    """
    arch, at, requested = name.partition("@")
    models = _models(arch)
    published = _published(arch)
    if not published:
        raise CheckpointError(
            f"torchvision:{arch} has no published weights", f"give a weights file with --arch torchvision:{arch}"
        )
    weights = published.get(requested) if at else models.get_model_weights(arch).DEFAULT
    if weights is None:
        raise CheckpointError(*unknown_name(f"weights of torchvision:{arch}", requested, published))
    try:
        module: nn.Module = models.get_model(arch, weights=weights, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash of the download does not match.
        raise CheckpointError(
            f"cannot download torchvision:{arch}@{weights.name} ({one_line(error)})",
            f"download {weights.url} elsewhere and load it with --arch torchvision:{arch}",
        ) from error
    return module, _preprocessing(weights)


def names() -> list[str]:
    """Return the names of all classification architectures of the installed torchvision."""
    models = _models()
    return sorted(models.list_models(module=models))


def _models(name: str | None = None) -> ModuleType:
    """Import torchvision.models and refuse an unknown name."""
    try:
        import torchvision.models as models
    except ImportError as error:
        raise CheckpointError(
            f"torchvision cannot be imported ({one_line(error)})", "pip install torch torchvision"
        ) from error
    if name is not None and name not in (known := models.list_models(module=models)):
        raise unknown_architecture("torchvision", name, known)
    module: ModuleType = models
    return module


def _published(name: str) -> dict[str, Any]:
    return {weights.name: weights for weights in _models().get_model_weights(name)}


def _first_weights(name: str) -> Any:
    published = _published(name)
    return published.get("IMAGENET1K_V1") or _models().get_model_weights(name).DEFAULT if published else None


def _preprocessing(weights: Any) -> Preprocessing:
    """Return the preprocessing of published weights; ImageNet's usual one for None."""
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
