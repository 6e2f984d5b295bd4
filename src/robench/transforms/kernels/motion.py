"""Motion blur."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs
from robench.types import Images

__all__ = ["motion", "motion_kernel"]


@triton.jit
def motion_kernel(
    image_ptr,
    weight_ptr,
    down_ptr,
    across_ptr,
    out_ptr,
    channels,
    height,
    width,
    TAPS: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Write floor(round(257 s) / 257) for s = sum of w[k] image[y + down[k], x + across[k]], from the first tap to the last."""
    plane, size = tl.program_id(0).to(tl.int64), height * width
    line = tl.program_id(0) // channels * TAPS
    pixel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = pixel < size
    y, x = pixel // width, pixel % width
    image_ptr += plane * size
    total = tl.zeros((SIZE,), tl.float64)
    for tap in range(TAPS):
        row = tl.minimum(tl.maximum(y + tl.load(down_ptr + line + tap), 0), height - 1)
        column = tl.minimum(tl.maximum(x + tl.load(across_ptr + line + tap), 0), width - 1)
        value = tl.load(image_ptr + row * width + column, mask=inside, other=0)
        total += value.to(tl.float64) * tl.load(weight_ptr + tap)
    # Adding 2^52 rounds to whole numbers, halves to even; the exact result is far from the next whole number.
    steps = (total * 257.0 + 4503599627370496.0) - 4503599627370496.0
    tl.store(out_ptr + plane * size + pixel, (steps / 257.0).to(tl.int32).to(tl.uint8), mask=inside)


def motion(images: Images, weights: Tensor, down: Tensor, across: Tensor) -> Images:
    """Smear (b, c, h, w) uint8 along lines and truncate as ImageMagick does.

    Args:
        images: The images; edge pixels repeat.
        weights: (n,) float64, weight of each tap.
        down: (b, n) int64, rows from a pixel to each tap.
        across: (b, n) int64, columns from a pixel to each tap.
    """
    batch, channels, height, width = images.shape
    images, out = images.contiguous(), torch.empty(images.shape, dtype=torch.uint8, device=images.device)
    offsets = (one.to(torch.int32).contiguous() for one in (down, across))
    number, size = programs(height * width)
    grid = batch * channels, number
    launch(
        motion_kernel, grid, images.device, images, weights, *offsets, out, channels, height, width,
        TAPS=len(weights), SIZE=size,
    )  # fmt: skip
    return out
