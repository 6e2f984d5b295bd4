"""Contexts for precision and for running out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

from robench.errors import DeviceError, OptionError, ran_out_of_memory, unknown_name
from robench.treatments import STATISTICS_BATCH

__all__ = ["PRECISIONS", "memory_scope", "precision_scope", "statistics_scope"]


PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of the model's arithmetic under autocast by name; None for no autocast."""


@contextmanager
def precision_scope(precision: str, device: torch.device) -> Iterator[None]:
    """Run the model in a precision of `PRECISIONS` and restore the settings of the process afterwards."""
    if precision not in PRECISIONS:
        raise OptionError(*unknown_name("precision", precision, PRECISIONS))
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    algorithms = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    dtype = PRECISIONS[precision]
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = algorithms


@contextmanager
def memory_scope(device: torch.device, work: str, hint: str, error: type[DeviceError] = DeviceError) -> Iterator[None]:
    """Turn an out-of-memory error of a library into a DeviceError.

    Args:
        device: The device that computes.
        work: The amount of work, for the message.
        hint: Advice for the user.
        error: `OutOfMemory` if less work may fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as raised:
        if not ran_out_of_memory(raised):
            raise
        clear_frames(raised.__traceback__)  # The frames hold the tensors that filled the memory.
        raise error(f"{device} ran out of memory with {work}", hint) from raised


@contextmanager
def statistics_scope(precision: str, device: torch.device) -> Iterator[None]:
    """Run the model for a treatment's statistics."""
    work = f"{STATISTICS_BATCH} images for a treatment's statistics"
    with memory_scope(device, work, "use another --device"), precision_scope(precision, device):
        yield
