"""The shuffle of glass blur."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs
from robench.types import Images

__all__ = ["shuffle", "shuffle_kernel"]


@triton.jit
def shuffle_kernel(
    image_ptr, moved_ptr, out_ptr, height, width, rows, columns, reach, ITERATIONS: tl.constexpr, SIZE: tl.constexpr
):
    """Follow each pixel from the last iteration to the first to its source.

    An iteration visits the inner pixels from the last to the first. Pixel p takes the value of s = p + move(p). If s > p, the
    iteration has visited s before, so that the value of s is that of its own source.
    """
    image, size, inner = tl.program_id(0).to(tl.int64), height * width, rows * columns
    pixel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = pixel < size
    here = pixel
    for back in tl.static_range(ITERATIONS):
        moved = moved_ptr + (image * ITERATIONS + ITERATIONS - 1 - back) * inner * 2
        row, column = here // width - reach - 1, here % width - reach - 1
        moves = inside & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        while tl.max(moves.to(tl.int32), 0) > 0:
            draw = moved + (inner - 1 - row * columns - column) * 2
            right = tl.load(draw, mask=moves, other=0).to(tl.int32)
            source = here + tl.load(draw + 1, mask=moves, other=0).to(tl.int32) * width + right
            visited = source > here
            here = tl.where(moves, source, here)
            row, column = here // width - reach - 1, here % width - reach - 1
            moves = moves & visited & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    for channel in tl.static_range(3):
        plane = (image * 3 + channel) * size
        tl.store(out_ptr + plane + pixel, tl.load(image_ptr + plane + here, mask=inside, other=0), mask=inside)


def shuffle(images: Images, moved: Tensor, reach: int) -> Images:
    """Shuffle (b, 3, h, w) uint8.

    Args:
        images: The images.
        moved: (b, iterations, rows, columns, 2) int64, pixels right and down to the source of each inner pixel, in the order
            of the iteration.
        reach: Largest move in pixels.
    """
    batch, _, height, width = images.shape
    _, iterations, rows, columns, _ = moved.shape
    images, out = images.contiguous(), torch.empty(images.shape, dtype=torch.uint8, device=images.device)
    number, size = programs(height * width, 128)  # All pixels of a program wait for the longest chain of sources.
    launch(
        shuffle_kernel, (batch, number), images.device, images, moved.contiguous(), out,
        height, width, rows, columns, reach, ITERATIONS=iterations, SIZE=size,
    )  # fmt: skip
    return out
