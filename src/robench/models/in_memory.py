"""Networks that the caller already has in memory: modules, and functions on batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robench.models.architectures.factory import preprocessing_of
from robench.models.device import choose_device
from robench.models.formats.base import LoadedModel
from robench.models.preprocessing import assumed
from robench.plugins import code_digest

__all__ = ["FunctionModule", "device_of", "in_memory", "module_sha256", "unchanged"]


class FunctionModule(nn.Module):
    """A function on batches as a module; its parameters, if it has any, are not moved."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = [function]  # In a list, so that the tensors of a callable object are not registered twice.

    def forward(self, images: Tensor) -> Any:
        """Return the function's output."""
        return self.function[0](images)


def in_memory(model: nn.Module | Callable[[Tensor], Any], label: str | None = None) -> LoadedModel:
    """Return a module or a function as a loaded model.

    Args:
        model: Takes normalised float32 images (b, 3, size, size), and returns logits (b, classes).
        label: Name in tables; None for the architecture of timm's configuration, or the name of the class or function.
    """
    module = model if isinstance(model, nn.Module) else FunctionModule(model)
    config = getattr(model, "pretrained_cfg", None)
    named = config.get("architecture") if isinstance(config, Mapping) else None
    kind = type(model) if isinstance(model, nn.Module) or not hasattr(model, "__name__") else model
    name = getattr(kind, "__name__", "model").strip("<>")
    stated = preprocessing_of(module)
    preprocessing, note = (stated, None) if stated is not None else assumed()
    return LoadedModel(
        label=label or str(named or name),
        arch=f"{getattr(kind, '__module__', None)}.{getattr(kind, '__qualname__', name)}",
        module=module,
        preprocessing=preprocessing,
        sha256=module_sha256(module) if isinstance(model, nn.Module) else _function_sha256(model),
        notes=() if note is None else (note,),
    )


def device_of(model: object, device: str) -> torch.device:
    """Return the device to run a model on: by default the accelerator that it is on, and the CPU for a function."""
    if device != "auto":
        return choose_device(device)
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    own = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return choose_device("auto") if own.type == "cpu" else own


def module_sha256(module: nn.Module) -> str:
    """Return a hash of all tensors of a module, its structure, the settings of its layers and the code of their `forward`.

    It is equal in every process and on every device.
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        forward = getattr(type(part).forward, "__code__", None)
        is_torch = type(part).__module__.startswith("torch.")
        own = "" if is_torch or forward is None else code_digest(type(part).forward)
        # The whole numbers of a user's class may be counters.
        settings = {
            key: value
            for key, value in vars(part).items()
            if key != "training"
            and not key.startswith("_")
            and _is_setting(value)
            and (is_torch or type(value) is not int)
        }
        script = getattr(part, "code", "") if isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) else ""
        digest.update(f"{name} {type(part).__qualname__} {own} {sorted(settings.items())} {script}\n".encode())
        loose = {key: value for key, value in vars(part).items() if isinstance(value, Tensor)}
        _add_tensors(digest, {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))})
        _add_tensors(digest, loose)
    return digest.hexdigest()


def _function_sha256(function: object) -> str:
    """Return a hash of the state dict of a callable object; empty if it has none, so that its results are never resumed."""
    state = getattr(function, "state_dict", None)
    tensors = state() if callable(state) else None
    if not isinstance(tensors, Mapping):
        return ""
    digest = hashlib.sha256(f"{type(function).__qualname__} {code_digest(type(function).__call__)}\n".encode())
    _add_tensors(digest, {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)})
    return digest.hexdigest()


def _add_tensors(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    for key in sorted(tensors):
        value = tensors[key].detach()
        value = (value.to_dense() if value.is_sparse else value).cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        if not value.is_quantized:
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr((value.int_repr().tolist(), value.qscheme())).encode())


def _is_setting(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Give a module back as it was: mode, device and layout of its tensors, and which of them take gradients."""
    modes = [(part, part.training) for part in module.modules()]
    parameters = [(one, one.data, one.requires_grad, one.grad, _data(one.grad)) for one in module.parameters()]
    is_script = isinstance(module, torch.jit.ScriptModule)
    buffers = [] if is_script else [(part, dict(part._buffers)) for part in module.modules()]
    try:
        yield
    finally:
        for parameter, data, needs_gradient, gradient, gradient_data in parameters:
            parameter.data = data
            parameter.requires_grad_(needs_gradient)
            if gradient is not None and gradient_data is not None:
                gradient.data = gradient_data
            parameter.grad = gradient
        for part, tensors in buffers:
            part._buffers.update(tensors)
        for part, mode in modes:
            part.training = mode


def _data(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.data
