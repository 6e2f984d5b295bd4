"""Normalisation of a network's input."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs
from robench.types import Images

__all__ = ["normalise", "normalise_kernel"]


@triton.jit
def normalise_kernel(image_ptr, mean_ptr, std_ptr, out_ptr, size, REVERSED: tl.constexpr, SIZE: tl.constexpr):
    """Write (level / 255 - mean) / std as (b, h, w, 3), with the channels in reverse order if REVERSED."""
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = pixel < size
    for channel in tl.static_range(3):
        level = tl.load(image_ptr + (image * 3 + channel) * size + pixel, mask=inside, other=0).to(tl.float32)
        deviation = tl.div_rn(level, level * 0 + 255.0) - tl.load(mean_ptr + channel)
        value = tl.div_rn(deviation, level * 0 + tl.load(std_ptr + channel))
        place = (image * size + pixel) * 3 + (2 - channel if REVERSED else channel)
        tl.store(out_ptr + place, value.to(out_ptr.dtype.element_ty), mask=inside)


def normalise(images: Images, mean: Tensor, std: Tensor, reverse: bool, dtype: torch.dtype) -> Tensor:
    """Return (b, 3, h, w) of a floating dtype in channels-last layout.

    Args:
        images: (b, 3, h, w) uint8.
        mean: (3,) float32.
        std: (3,) float32.
        reverse: Whether the result has the channels in reverse order.
        dtype: Type of the result.
    """
    batch, channels, height, width = images.shape
    out = torch.empty((batch, height, width, channels), dtype=dtype, device=images.device)
    number, size = programs(height * width)
    launch(
        normalise_kernel, (batch, number), images.device, images.contiguous(), mean, std, out,
        height * width, REVERSED=reverse, SIZE=size,
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)
