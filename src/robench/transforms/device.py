"""Copies to a device without a wait of the host."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device`; values already there are not copied.

    A copy to a GPU goes through page-locked memory. A copy from other memory would wait for all work of the stream.
    The buffer is free for reuse only after the copies from it are done.
    """
    if device.type != "cuda":
        return values.to(device)
    locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return locked.copy_(values).to(device, non_blocking=True)
