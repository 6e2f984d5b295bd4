"""Separable filters, one axis at a time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs

__all__ = ["correlate", "correlate_kernel"]

BORDERS = {"none": 0, "replicate": 1, "reflect": 2}
_REPLICATE, _REFLECT = tl.constexpr(BORDERS["replicate"]), tl.constexpr(BORDERS["reflect"])


@triton.jit
def source(position, length, BORDER: tl.constexpr):
    """Return the position inside 0..length-1 of a position outside: a a | a b for "replicate", b a | a b for "reflect"."""
    if BORDER == _REPLICATE:
        position = tl.minimum(tl.maximum(position, 0), length - 1)
    elif BORDER == _REFLECT:
        period = 2 * length
        folded = (position % period + period) % period
        position = tl.minimum(folded, period - 1 - folded)
    return position


@triton.jit
def correlate_kernel(
    value_ptr, weight_ptr, out_ptr, height, width, length, stride, AXIS: tl.constexpr, BORDER: tl.constexpr,
    RADIUS: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Write w[r] x[p] + sum of w[k] (x[p - r + k] + x[p + r - k]) for k < r, in this order.

    `height` and `width` are those of the result.
    """
    plane = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = pixel < height * width
    y, x = pixel // width, pixel % width
    if AXIS == 2:
        position, step, line = y, stride, value_ptr + plane * length * stride + x
    else:
        position, step, line = x, 1, value_ptr + (plane * height + y) * length
    start = position if BORDER == 0 else position - RADIUS
    middle = tl.load(line + source(start + RADIUS, length, BORDER) * step, mask=inside, other=0)
    total = middle * tl.load(weight_ptr + RADIUS)
    for tap in range(RADIUS):
        before = tl.load(line + source(start + tap, length, BORDER) * step, mask=inside, other=0)
        after = tl.load(line + source(start + 2 * RADIUS - tap, length, BORDER) * step, mask=inside, other=0)
        total += (before + after) * tl.load(weight_ptr + tap)
    tl.store(out_ptr + plane * height * width + pixel, total, mask=inside)


def correlate(values: Tensor, weights: Tensor, axis: int, border: str) -> Tensor:
    """Correlate (b, c, h, w) along `axis` (2 or 3) with 2 r + 1 symmetric weights.

    Args:
        values: float32 or float64.
        weights: (2 r + 1,) of the same type.
        axis: 2 or 3.
        border: "replicate", "reflect" (b a | a b), or "none", which shortens the axis by 2 r pixels.
    """
    radius, shape = len(weights) // 2, list(values.shape)
    shape[axis] -= 2 * radius if border == "none" else 0
    values, out = values.contiguous(), torch.empty(shape, dtype=values.dtype, device=values.device)
    number, size = programs(shape[2] * shape[3])
    grid = shape[0] * shape[1], number
    launch(
        correlate_kernel, grid, values.device, values, weights, out, *shape[2:], values.shape[axis], values.shape[3],
        AXIS=axis, BORDER=BORDERS[border], RADIUS=radius, SIZE=size,
    )  # fmt: skip
    return out
