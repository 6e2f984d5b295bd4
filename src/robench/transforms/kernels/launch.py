"""The launch of a kernel on the device of its tensors."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch
import triton

__all__ = ["launch", "programs"]

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_MOST = 1 << 16


def programs(values: int, size: int = 512) -> tuple[int, int]:
    """Return the number of programs for some values, and the values of each; a power of two, on a device `size`.

    Triton's interpreter takes about as long for many values as for few, so its programs are as large as they can be.
    """
    if _INTERPRETED:
        size = min(triton.next_power_of_2(max(1, values)), _MOST)
    return -(-values // size), size


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Run a kernel, unless the grid is empty.

    Triton launches on the current device, so it is set first. Without `enable_fp_fusion=False` the compiler contracts
    multiplications and additions, and pixels change.
    """
    if 0 in grid:
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, **constants, enable_fp_fusion=False)
