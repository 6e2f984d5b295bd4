"""Copies to a device without a wait of the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["constant", "shared", "to_device", "to_host"]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device`; values already there are not copied.

    A copy to a GPU goes through page-locked memory. A copy from other memory would wait for all work of the stream.
    The buffer is free for reuse only after the copies from it are done.
    """
    if device.type != "cuda":
        return values.to(device)
    locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return locked.copy_(values).to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constant(device: torch.device, make: Callable[..., Any], *arguments: Any) -> Tensor:
    """Return `make(*arguments)` as a tensor on `device`, which later calls share and must not change.

    Args:
        device: Device of the tensor.
        make: Function that returns an array, or numbers in lists.
        arguments: Hashable arguments of `make`.
    """
    return shared(torch.tensor(make(*arguments)), device)


def shared(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device` for work on any of its streams: the host waits for the copy."""
    values = to_device(values, device)
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.current_stream(device).synchronize()
    return values


def to_host(values: Tensor) -> Callable[[], Tensor]:
    """Begin to copy `values` to the host; the result waits for the copy, in any thread, and returns it."""
    if values.device.type != "cuda":
        copy = values.cpu()
        return lambda: copy
    locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    copied = torch.cuda.current_stream(values.device).record_event(torch.cuda.Event(blocking=True))

    def wait() -> Tensor:
        copied.synchronize()
        return locked

    return wait
