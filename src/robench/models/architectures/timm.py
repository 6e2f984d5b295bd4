"""Architectures of timm, without weights or with the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from robench.errors import CheckpointError, RobenchError, one_line
from robench.models.architectures.base import unknown_architecture
from robench.models.hub_client import download_command, offline_unless_reachable
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config

__all__ = ["FORBIDDEN", "average_pooled", "build", "build_with", "names", "pretrained", "translate_names"]

FORBIDDEN = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "features_only",
)
"""Arguments of timm.create_model that read files or build another network than a classifier."""

_ERRORS = (LookupError, ArithmeticError, AttributeError, TypeError, ValueError, RuntimeError, AssertionError, NameError)
"""Errors of functions that expect the layout of one family, for a file that has another."""
_CLASSES = 1000
"""Number of classes of an untrained network whose published weights have no head."""


def build(name: str, classes: int | None = None, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
    """Return the untrained network `name` and its preprocessing; a tag such as `.a1_in1k` chooses the preprocessing.

    Args:
        name: The name, with or without a tag.
        classes: Number of classes; None for the default.
        arguments: Further arguments of the network. `img_size` also becomes the input size of the preprocessing.
    """
    timm = _timm(name, arguments)
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if classes is None and config is not None and config.num_classes == 0:
            classes = _CLASSES
        number = {} if classes is None else {"num_classes": classes}
        module: nn.Module = timm.create_model(name, pretrained=False, **number, **arguments)
    except RuntimeError as error:
        raise CheckpointError(
            f"timm cannot build {name!r}: {one_line(error)}",
            "another version of timm may have it: pip install --upgrade timm",
        ) from error
    return module, _preprocessing(name, module, arguments)


def build_with(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network `name`, built with the arguments of a configuration."""
    timm = _timm(name)
    try:
        module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except RobenchError:
        raise
    except Exception as error:  # Architectures check their arguments with errors of their own.
        raise CheckpointError(
            f"timm cannot build {name!r} with {dict(arguments)}: {one_line(error)}", "correct or omit these arguments"
        ) from error
    return module


def pretrained(name: str, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
    """Return `name` with its published weights, downloaded if they are not cached, and its preprocessing.

    Args:
        name: The name, with or without a tag.
        arguments: As for `build`.
    """
    timm = _timm(name, arguments)
    try:
        with offline_unless_reachable() as is_online:
            module: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except TypeError:
        raise  # The caller names the argument.
    except Exception as error:  # The errors of timm's download clients share no base class.
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if not is_online and getattr(config, "hf_hub_id", None):
            raise CheckpointError(
                f"the weights of timm:{name} are not in the local cache, and the Hugging Face hub cannot be reached",
                f"download them where there is a network: {download_command(config.hf_hub_id)}",
            ) from error
        raise CheckpointError(
            f"cannot load the published weights of timm:{name} ({one_line(error)})",
            f"download the file elsewhere and load it with --arch timm:{name}",
        ) from error
    return module, _preprocessing(name, module, arguments)


def translate_names(
    name: str, state: Mapping[str, Tensor], arguments: Mapping[str, Any]
) -> tuple[dict[str, Tensor], bool] | None:
    """Return tensors by timm's own names, from those of the network's authors or of an older timm.

    timm has a function for this in each family (`checkpoint_filter_fn`), and passes it to the loader of published weights alone.

    Args:
        name: The network.
        state: Tensors by name.
        arguments: Arguments of the network.

    Returns:
        The tensors, and whether a tensor was interpolated to another size; None if timm has no such function or it fails.
    """
    from timm.models import _builder

    timm, found = _timm(name, arguments), []
    load = _builder.load_pretrained
    _builder.load_pretrained = lambda *_, filter_fn=None, **__: found.append(filter_fn)
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    finally:
        _builder.load_pretrained = load
    function = found[0] if found else None
    if function is None:
        return None
    takes_module = len(signature(function).parameters) > 1
    try:
        with _Interpolations() as interpolations:
            translated = function(dict(state), module) if takes_module else function(dict(state))
    except _ERRORS:
        return None
    if not isinstance(translated, Mapping) or not all(isinstance(value, Tensor) for value in translated.values()):
        return None
    return dict(translated), interpolations.found


def average_pooled(arch: str, names: Iterable[str]) -> str | None:
    """Return a ViT of timm with the average pooling that the names of tensors show, as after MAE's fine-tuning, else None."""
    has_norm = any(f".{name}".endswith(".fc_norm.weight") for name in names)
    if not has_norm or not arch.startswith("timm:") or "global_pool=" in arch:
        return None
    return f"{arch}{'&' if '?' in arch else '?'}global_pool=avg"


class _Interpolations(TorchFunctionMode):
    """Record whether a tensor was interpolated, as position embeddings are for another input size."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function unchanged."""
        self.found = self.found or func is functional.interpolate
        return func(*args, **(kwargs or {}))


def names() -> list[str]:
    """Return the names of all architectures of the installed timm."""
    return sorted(_timm().list_models())


def _timm(name: str | None = None, arguments: Iterable[str] = ()) -> ModuleType:
    """Import timm and refuse forbidden arguments and unknown names, because timm fetches `hf-hub:` and `local-dir:` names."""
    if forbidden := next((argument for argument in arguments if argument in FORBIDDEN), None):
        raise CheckpointError(f"timm:{name} takes no argument {forbidden!r} here", "it does not describe the network")
    try:
        import timm
    except ImportError as error:
        raise CheckpointError(f"timm cannot be imported ({one_line(error)})", "pip install timm") from error
    if name is not None and not timm.is_model(name.partition(".")[0]):
        raise unknown_architecture("timm", name, timm.list_models())
    module: ModuleType = timm
    return module


def _preprocessing(name: str, module: nn.Module, arguments: Mapping[str, Any]) -> Preprocessing:
    config = getattr(module, "pretrained_cfg", None)
    config = dict(config) if isinstance(config, Mapping) else {}
    match arguments.get("img_size"):
        case int() as height:
            config["input_size"] = (3, height, height)
        case (height, width):
            config["input_size"] = (3, height, width)
    return from_timm_config(config, f"timm:{name}")
