"""Copies to a device for which the host does not wait."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, itself where that is the host.

    To a GPU it goes from page-locked memory: a copy of other memory lets the host wait for all that the stream has still to do.
    torch uses a page-locked buffer again only when the copies from it are done.
    """
    if device.type != "cuda":
        return values.to(device)
    locked = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return locked.copy_(values).to(device, non_blocking=True)
