"""Choose the device that a model runs on."""

from __future__ import annotations

import torch

from robench.errors import DeviceError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """Return the named device of this machine.

    Args:
        name: cpu, cuda, cuda:N, mps, or auto for CUDA where it exists, else the CPU. MPS lacks float64, which several corruptions need.

    Raises:
        DeviceError: The device is absent or the name is unknown.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    if kind == "cuda" and (index.isdecimal() if colon else True):
        return _cuda(int(index) if colon else None)
    if name not in ("cpu", "mps"):
        raise DeviceError(f"unknown device {name!r}", "choose one of auto, cpu, cuda, cuda:N, mps")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("this machine has no MPS device", "use --device cpu")
    return torch.device(name)


def _cuda(index: int | None) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError("torch finds no CUDA device", "use --device cpu, or check the driver and torch")
    count = torch.cuda.device_count()
    if index is None:
        index = torch.cuda.current_device()
    if index >= count:
        raise DeviceError(f"there is no device cuda:{index}", f"this machine has cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", index)
