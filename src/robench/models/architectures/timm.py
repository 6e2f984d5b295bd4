"""Architectures of timm, without weights or with the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from robench.errors import CheckpointError, RobenchError, one_line
from robench.models.architectures.base import unknown_architecture
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config

__all__ = ["build", "build_with", "names", "pretrained"]

_CLASSES = 1000
"""Number of classes of an untrained network whose published weights have no head."""


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and its preprocessing; a tag such as `.a1_in1k` chooses the preprocessing."""
    timm = _timm(name)
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if classes is None and config is not None and config.num_classes == 0:
            classes = _CLASSES
        arguments = {} if classes is None else {"num_classes": classes}
        module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except RuntimeError as error:
        raise CheckpointError(f"timm cannot build {name!r}: {one_line(error)}") from error
    return module, _preprocessing(name, module)


def build_with(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network `name`, built with the arguments of a configuration."""
    timm = _timm(name)
    try:
        module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except RobenchError:
        raise
    except Exception as error:  # Architectures check their arguments with errors of their own.
        raise CheckpointError(f"timm cannot build {name!r} with {dict(arguments)}: {one_line(error)}") from error
    return module


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Return `name` with its published weights, downloaded if they are not cached, and its preprocessing."""
    timm = _timm(name)
    try:
        module: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # The errors of timm's download clients share no base class.
        raise CheckpointError(
            f"cannot load the published weights of timm:{name} ({one_line(error)})",
            f"download the file elsewhere and load it with --arch timm:{name}",
        ) from error
    if getattr(module, "num_classes", None) == 0:
        raise CheckpointError(
            f"the published weights of timm:{name} have no classification head",
            f"give a weights file of a classifier with --arch timm:{name}",
        )
    return module, _preprocessing(name, module)


def names() -> list[str]:
    """Return the names of all architectures of the installed timm."""
    return sorted(_timm().list_models())


def _timm(name: str | None = None) -> ModuleType:
    """Import timm and refuse an unknown name, because timm fetches `hf-hub:` and `local-dir:` names."""
    try:
        import timm
    except ImportError as error:
        raise CheckpointError(f"timm cannot be imported ({one_line(error)})", "pip install timm") from error
    if name is not None and not timm.is_model(name.partition(".")[0]):
        raise unknown_architecture("timm", name, timm.list_models())
    module: ModuleType = timm
    return module


def _preprocessing(name: str, module: nn.Module) -> Preprocessing:
    config = getattr(module, "pretrained_cfg", None)
    return from_timm_config(config if isinstance(config, Mapping) else {}, f"timm:{name}")
