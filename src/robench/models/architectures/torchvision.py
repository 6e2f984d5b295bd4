"""Classification architectures of torchvision, without weights or with the published ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
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
_FORBIDDEN = ("weights", "pretrained", "progress")
"""Arguments that choose or download weights."""


def build(name: str, classes: int | None = None, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and the preprocessing of its first published ImageNet weights.

    googlenet and inception_v3 have auxiliary heads and transform_input, as their published weights need them.

    Args:
        name: The name.
        classes: Number of classes; None for the default.
        arguments: Further arguments of the network. `image_size` also becomes the input size of the preprocessing.
    """
    models = _models(name, arguments)
    own = _AUXILIARY if name in ("googlenet", "inception_v3") else {}
    number = {} if classes is None else {"num_classes": classes}
    module: nn.Module = models.get_model(name, weights=None, **{**own, **number, **arguments})
    return module, _preprocessing(_first_weights(name), arguments.get("image_size"))


def pretrained(name: str, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
    """Return `NAME` or `NAME@WEIGHTS` with published weights, downloaded if they are not cached, and its preprocessing.

    Without `@WEIGHTS`, torchvision's default weights are used. `arguments` are those of `build`.
    """
    arch, at, requested = name.partition("@")
    models = _models(arch, arguments)
    published = _published(arch)
    if not published:
        raise CheckpointError(
            f"torchvision:{arch} has no published weights", f"give a weights file with --arch torchvision:{arch}"
        )
    weights = published.get(requested) if at else models.get_model_weights(arch).DEFAULT
    if weights is None:
        raise CheckpointError(*unknown_name(f"weights of torchvision:{arch}", requested, published))
    try:
        module: nn.Module = models.get_model(arch, weights=weights, progress=sys.stderr.isatty(), **arguments)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash of the download does not match.
        raise CheckpointError(
            f"cannot load torchvision:{arch}@{weights.name} ({one_line(error)})",
            f"download {weights.url} elsewhere and load it with --arch torchvision:{arch}",
        ) from error
    return module, _preprocessing(weights, arguments.get("image_size"))


def names() -> list[str]:
    """Return the names of all classification architectures of the installed torchvision."""
    models = _models()
    return sorted(models.list_models(module=models))


def _models(name: str | None = None, arguments: Iterable[str] = ()) -> ModuleType:
    """Import torchvision.models and refuse an unknown name or an argument that chooses weights."""
    try:
        import torchvision.models as models
    except ImportError as error:
        raise CheckpointError(
            f"torchvision cannot be imported ({one_line(error)})", "pip install torch torchvision"
        ) from error
    if name is not None and name not in (known := models.list_models(module=models)):
        raise unknown_architecture("torchvision", name, known)
    if forbidden := next((argument for argument in arguments if argument in _FORBIDDEN), None):
        raise CheckpointError(
            f"torchvision:{name} takes no argument {forbidden!r} here", "it does not describe the network"
        )
    module: ModuleType = models
    return module


def _published(name: str) -> dict[str, Any]:
    return {weights.name: weights for weights in _models().get_model_weights(name)}


def _first_weights(name: str) -> Any:
    published = _published(name)
    return published.get("IMAGENET1K_V1") or _models().get_model_weights(name).DEFAULT if published else None


def _preprocessing(weights: Any, size: object = None) -> Preprocessing:
    """Return the preprocessing of published weights, ImageNet's usual one for None, at an input size that is a whole number."""
    crop = size if isinstance(size, int) else None
    if weights is None:
        usual = Preprocessing(resize=256, crop=224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return usual.replaced(crop=crop)
    transforms = weights.transforms()
    return Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    ).replaced(crop=crop)
