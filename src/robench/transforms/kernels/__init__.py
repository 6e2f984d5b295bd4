"""Fused kernels for a GPU, in Triton, with the pixels of the eager code.

The eager code is the reference and the fallback; `fused` alone chooses between the two. Triton is imported only when a kernel
runs. `TRITON_INTERPRET=1` makes Triton interpret the kernels on a CPU, which is slow and needs no GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

from robench.errors import OptionError, one_line, unknown_name

__all__ = ["KERNELS", "check_kernels", "fused", "kernel_scope", "why_eager"]

KERNELS = ("auto", "eager", "fused")
"""Choices: fused kernels on a CUDA device that can run them, none, or fused kernels or an error."""

_CHOICE: ContextVar[str] = ContextVar("_CHOICE", default=KERNELS[0])
_CAPABILITY = (8, 0)
"""Oldest compute capability that Triton supports."""


@contextmanager
def kernel_scope(choice: str) -> Iterator[None]:
    """Choose the kernels inside the context by a name of `KERNELS`."""
    token = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(token)


def fused(device: torch.device) -> ModuleType | None:
    """Return the module of the fused kernels for tensors of a device, or None if the eager code is to run."""
    choice = _CHOICE.get()
    if choice == "eager" or (choice == "auto" and device.type != "cuda") or why_eager(device):
        return None
    return import_module("robench.transforms.kernels.launchers")


def check_kernels(choice: str, device: torch.device) -> None:
    """Check a choice of kernels.

    Raises:
        OptionError: The choice is unknown, or is "fused" on a device without fused kernels.
    """
    if choice not in KERNELS:
        raise OptionError(*unknown_name("kernels", choice, KERNELS))
    if choice == "fused" and (reason := why_eager(device)):
        raise OptionError(f"--kernels fused cannot run on {device}: {reason}", "omit it; the pixels are the same")


def why_eager(device: torch.device) -> str:
    """Return the reason why a device has no fused kernels; empty if it has them."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cuda":
        return _cuda_problem(device) if torch.cuda.is_available() else "there is no CUDA device"
    if os.environ.get("TRITON_INTERPRET") == "1" and device.type == "cpu":
        return ""
    return "they need a CUDA device, or TRITON_INTERPRET=1 for tests"


@lru_cache(maxsize=16)
def _cuda_problem(device: torch.device) -> str:
    """Run a kernel once, because Triton also needs a C compiler and Python's header files."""
    if torch.version.cuda is None:
        return "it is not a device of NVIDIA"
    if torch.cuda.get_device_capability(device) < _CAPABILITY:
        return f"Triton needs compute capability {'.'.join(map(str, _CAPABILITY))}"
    try:
        return (
            "" if import_module("robench.transforms.kernels.draws").works(device) else "Triton computes wrong integers"
        )
    except Exception as error:  # noqa: BLE001 - Triton, the compiler and the driver have no common error.
        return one_line(error)
