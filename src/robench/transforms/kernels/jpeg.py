"""The round trip through JPEG, in whole numbers: 4:2:0, "islow" transforms, triangle upsampling.

Sources: libjpeg's jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jidctint.c, jdsample.c, jdcolor.c. A pass of a transform is a
sum along the first axis, which Triton keeps within a thread.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs
from robench.types import Images

__all__ = ["decode_kernel", "encode_kernel", "jpeg"]


@triton.jit
def level(image_ptr, y, x, height, width, mask, R: tl.constexpr, G: tl.constexpr, B: tl.constexpr, HALF: tl.constexpr):
    """Return R red + G green + B blue at rows y and columns x in 16-bit fixed point (jccolor.c); edge pixels repeat."""
    pixel = image_ptr + tl.minimum(y, height - 1) * width + tl.minimum(x, width - 1)
    red = tl.load(pixel, mask=mask, other=0).to(tl.int32)
    green = tl.load(pixel + height * width, mask=mask, other=0).to(tl.int32)
    blue = tl.load(pixel + 2 * height * width, mask=mask, other=0).to(tl.int32)
    return (R * red + G * green + B * blue + HALF) >> 16


@triton.jit
def passed(values, matrix, BITS: tl.constexpr):
    """Return sum over i of values[i, j] matrix[i, k] as [k, j], divided by 2^BITS, halves up."""
    return (tl.sum(values[:, None, :, :] * matrix[:, :, None, None], 0) + (1 << (BITS - 1))) >> BITS


@triton.jit
def coded(samples, forward_ptr, step_ptr):
    """Transform, quantise, dequantise and invert (8 columns, 8 rows, n) samples, 0..255."""
    i, k = tl.arange(0, 8)[:, None], tl.arange(0, 8)[None, :]
    inverse, forward = tl.load(forward_ptr + i * 8 + k), tl.load(forward_ptr + k * 8 + i)
    steps = tl.load(step_ptr + i * 8 + k)[:, :, None]
    rows = tl.permute(passed(samples - 128, forward, 11), (1, 0, 2))
    coefficients = passed(rows, forward, 15)
    # jcdctmgr.c: (|c| + 4 s) // (8 s). Both are below 2^21, and half a unit keeps the quotient off the whole numbers.
    scaled = (tl.abs(coefficients) + 4 * steps).to(tl.float32) + 0.5
    count = tl.div_rn(scaled, (8 * steps + coefficients * 0).to(tl.float32)).to(tl.int32)
    dequantised = tl.where(coefficients < 0, -count, count) * steps
    columns = tl.permute(passed(dequantised, inverse, 11), (1, 0, 2))
    return tl.minimum(tl.maximum(passed(columns, inverse, 18) + 128, 0), 255)


@triton.jit
def encode_kernel(
    image_ptr, luma_ptr, chroma_ptr, forward_ptr, luma_step_ptr, chroma_step_ptr, height, width, COUNT: tl.constexpr
):
    """Write the decoded luma (b, h, w) and chroma (b, 2, ceil(h / 2), ceil(w / 2)) of (b, 3, h, w) uint8."""
    image, plane = tl.program_id(0).to(tl.int64), tl.program_id(2)
    image_ptr += image * 3 * height * width
    rows, columns = height, width
    if plane > 0:
        rows, columns = (height + 1) // 2, (width + 1) // 2
    across = (columns + 7) // 8
    number = tl.program_id(1) * COUNT + tl.arange(0, COUNT)[None, None, :]
    known = number < (rows + 7) // 8 * across
    y = number // across * 8 + tl.arange(0, 8)[None, :, None]
    x = number % across * 8 + tl.arange(0, 8)[:, None, None]
    inside = known & (y < rows) & (x < columns)
    if plane == 0:
        luma = level(image_ptr, y, x, height, width, known, 19595, 38470, 7471, 32768)
        decoded = coded(luma, forward_ptr, luma_step_ptr)
        tl.store(luma_ptr + image * rows * columns + y * columns + x, decoded.to(tl.uint8), mask=inside)
    elif tl.program_id(1) * COUNT < (rows + 7) // 8 * across:
        # jcsample.c: the sum of 2x2 pixels plus 1 and 2 in turn. Rows below the last repeat it, after the sum.
        total, top = x * 0 + y * 0 + 1 + x % 2, 2 * tl.minimum(y, rows - 1)
        for near in tl.static_range(4):
            down, right = top + near // 2, 2 * x + near % 2
            if plane == 1:
                total += level(image_ptr, down, right, height, width, known, -11059, -21709, 32768, 8421375)
            else:
                total += level(image_ptr, down, right, height, width, known, 32768, -27439, -5329, 8421375)
        decoded = coded(total >> 2, forward_ptr, chroma_step_ptr)
        out = chroma_ptr + (image * 2 + plane - 1) * rows * columns
        tl.store(out + y * columns + x, decoded.to(tl.uint8), mask=inside)


@triton.jit
def upsampled(plane_ptr, y, x, rows, columns, mask):
    """Return chroma less 128 at pixel (y, x) by jdsample.c: 3/4 of the nearer and 1/4 of the further row, then column."""
    near, far = y // 2 * columns, tl.minimum(tl.maximum(y // 2 - 1 + y % 2 * 2, 0), rows - 1) * columns
    further = tl.minimum(tl.maximum(x // 2 - 1 + x % 2 * 2, 0), columns - 1)
    total = x * 0 + 8 - x % 2
    for part in tl.static_range(4):
        row = near if part < 2 else far
        column = x // 2 if part % 2 == 0 else further
        weight = (3 - part // 2 * 2) * (3 - part % 2 * 2)
        total += weight * tl.load(plane_ptr + row + column, mask=mask, other=0).to(tl.int32)
    return (total >> 4) - 128


@triton.jit
def decode_kernel(luma_ptr, chroma_ptr, out_ptr, height, width, SIZE: tl.constexpr):
    """Write (b, 3, h, w) uint8 from the decoded planes, in 16-bit fixed point (jdcolor.c)."""
    image, size = tl.program_id(0).to(tl.int64), height * width
    pixel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = pixel < size
    y, x = pixel // width, pixel % width
    rows, columns = (height + 1) // 2, (width + 1) // 2
    chroma_ptr += image * 2 * rows * columns
    luma = tl.load(luma_ptr + image * size + pixel, mask=inside, other=0).to(tl.int32)
    blue = upsampled(chroma_ptr, y, x, rows, columns, inside)
    red = upsampled(chroma_ptr + rows * columns, y, x, rows, columns, inside)
    for channel in tl.static_range(3):
        if channel == 0:
            value = luma + ((91881 * red + 32768) >> 16)
        elif channel == 1:
            value = luma + ((-22554 * blue - 46802 * red + 32768) >> 16)
        else:
            value = luma + ((116130 * blue + 32768) >> 16)
        value = tl.minimum(tl.maximum(value, 0), 255)
        tl.store(out_ptr + (image * 3 + channel) * size + pixel, value.to(tl.uint8), mask=inside)


def jpeg(images: Images, forward: Tensor, luma_steps: Tensor, chroma_steps: Tensor) -> Images:
    """Encode and decode (b, 3, h, w) uint8.

    Args:
        images: The images.
        forward: (8, 8) int32, the forward transform in units of 2^-13; its transpose is the inverse.
        luma_steps: (8, 8) int32, the quantisation of luma.
        chroma_steps: (8, 8) int32, the quantisation of chroma.
    """
    batch, _, height, width = images.shape
    images, device = images.contiguous(), images.device
    luma = torch.empty((batch, height, width), dtype=torch.uint8, device=device)
    chroma = torch.empty((batch, 2, -(-height // 2), -(-width // 2)), dtype=torch.uint8, device=device)
    number, count = programs(-(-height // 8) * -(-width // 8), 16)
    steps = luma_steps, chroma_steps
    launch(encode_kernel, (batch, number, 3), device, images, luma, chroma, forward, *steps, height, width, COUNT=count)
    out, (number, size) = torch.empty_like(images), programs(height * width)
    launch(decode_kernel, (batch, number), device, luma, chroma, out, height, width, SIZE=size)
    return out
