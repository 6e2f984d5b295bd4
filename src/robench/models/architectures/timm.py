"""Architectures of timm, built without weights or with the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from robench.errors import CheckpointError, RobenchError, one_line
from robench.models.architectures.base import unknown_architecture
from robench.models.architectures.download import unreachable
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config

__all__ = ["build", "build_with", "names", "pretrained"]

_CLASSES = 1000
"""Where the published weights have no head and so are no classifier; whoever trained one has as many as the file says."""


def build(name: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` (a tag such as `.a1_in1k` chooses the preprocessing) and its preprocessing."""
    timm = _timm()
    _check_name(timm, name)
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
    """Return the untrained network `name` made with the arguments that a configuration gives."""
    timm = _timm()
    _check_name(timm, name)
    try:
        module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except RobenchError:
        raise
    except Exception as error:
        # Every architecture checks its arguments with errors of its own.
        raise CheckpointError(f"timm cannot build {name!r} with {dict(arguments)} ({one_line(error)})") from error
    return module


def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
    """Return `name` with its published weights, downloaded if need be, and its preprocessing."""
    timm = _timm()
    _check_name(timm, name)
    try:
        _check_available(timm, name)
        module: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:
        # The errors of a failed download come from whichever client timm uses and share no base class.
        raise CheckpointError(
            f"cannot load the published weights of timm:{name} ({one_line(error)}): "
            f"download the file elsewhere and give it with --arch timm:{name}"
        ) from error
    if getattr(module, "num_classes", None) == 0:
        raise CheckpointError(
            f"the published weights of timm:{name} have no head, so it is no classifier: give trained weights"
        )
    return module, _preprocessing(name, module)


def names() -> list[str]:
    """Names of all architectures of the installed timm."""
    return sorted(_timm().list_models())


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise CheckpointError(f"timm cannot be imported ({one_line(error)}): pip install timm") from error
    module: ModuleType = timm
    return module


def _check_name(timm: ModuleType, name: str) -> None:
    """Refuse unknown names first: timm takes `hf-hub:` and `local-dir:` names for something to fetch."""
    arch = name.partition(".")[0]
    if not timm.is_model(arch):
        raise CheckpointError(unknown_architecture("timm", name, timm.list_models()))


def _check_available(timm: ModuleType, name: str) -> None:
    """Raise an OSError if the weights are on the hub, not in its cache, and the hub cannot be reached."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        return
    from huggingface_hub import constants, try_to_load_from_cache

    files = (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files if file):
        return
    if reason := unreachable(constants.ENDPOINT):
        raise OSError(reason)


def _preprocessing(name: str, module: nn.Module) -> Preprocessing:
    stated = getattr(module, "pretrained_cfg", None)
    return from_timm_config(stated if isinstance(stated, Mapping) else {}, f"timm:{name}")
