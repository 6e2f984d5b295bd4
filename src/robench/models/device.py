"""Choose the device that a model runs on."""

from __future__ import annotations

import torch

from robench.errors import DeviceError, unknown_name

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """Return the device that auto, cpu, cuda, cuda:N or mps means here; raise DeviceError if it is absent.

    auto prefers CUDA, then MPS, then the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if kind == "cuda" and (number.isdecimal() if colon else True):
        return _cuda(int(number) if colon else None)
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("no MPS device on this machine: use --device cpu")
        return torch.device("mps")
    if name == "cpu":
        return torch.device("cpu")
    raise DeviceError(unknown_name("device", name, ("auto", "cpu", "cuda", "cuda:N", "mps")))


def _cuda(number: int | None) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError("no CUDA device that this torch can use: use --device cpu, or check the driver and torch")
    count = torch.cuda.device_count()
    if number is None:
        number = torch.cuda.current_device()
    if number >= count:
        raise DeviceError(f"no device cuda:{number}: this machine has cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", number)
