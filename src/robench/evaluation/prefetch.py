"""What keeps a GPU at the model: stacks that stay on it, and the next batch made while the model works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from robench.datasets import ImageStack, copy_padded
from robench.transforms.apply import Frame
from robench.transforms.device import to_device
from robench.transforms.warps import PaddedBatch
from robench.types import Images, Ints

__all__ = ["DeviceImageCache", "DeviceImages", "gather_batch", "prefetch"]

Part = TypeVar("Part")

_SHARE = 0.5
"""Of the free memory of a device, what a stack may take: the rest is for the model, the batches and their corruption."""
_PIECE = 1 << 26
"""Bytes of a stack that are copied at once."""
_AHEAD = 2
"""Batches that the host may be ahead of the device: one that the model works on, and one whose work waits for it."""


@dataclass(frozen=True)
class DeviceImages:
    """A stack on a device, to be used in its place.

    stack: the host's.  pixels: a copy of its, of the same shape, on the device.
    """

    stack: ImageStack
    pixels: Tensor

    def groups(self, rows: Ints) -> list[Ints]:
        """As of the stack."""
        return self.stack.groups(rows)

    def take(self, rows: Ints) -> tuple[Images, list[tuple[int, int]]]:
        """As of the stack, on the device; rows that follow one another are not copied."""
        sizes = self.stack.sizes
        if sizes is not None:
            taken = torch.zeros(
                (len(rows), 3, *sizes[rows].max(axis=0).tolist()), dtype=torch.uint8, device=self.pixels.device
            )
            return taken, copy_padded(taken, self.pixels, sizes, rows)
        shapes = [(self.pixels.shape[2], self.pixels.shape[3])] * len(rows)
        if (np.diff(rows) == 1).all():
            return self.pixels[int(rows[0]) : int(rows[-1]) + 1], shapes
        return self.pixels.index_select(0, to_device(torch.tensor(rows), self.pixels.device)), shapes


class DeviceImageCache:
    """The stacks that a device keeps from one condition to the next; only a CUDA device keeps any.

    share: of the memory that is free, what one stack may take.
    """

    def __init__(self, device: torch.device, share: float = _SHARE) -> None:
        self._device, self._share = device, share
        self._known: list[tuple[ImageStack, ImageStack | DeviceImages]] = []

    def of(self, stack: ImageStack) -> ImageStack | DeviceImages:
        """Return the stack on the device, copied there the first time; itself where it does not fit."""
        for known, kept in self._known:
            if known is stack:
                return kept
        kept = _placed(stack, self._device) if self._fits(stack) else stack
        self._known.append((stack, kept))
        return kept

    def drop(self) -> bool:
        """Give their memory back and keep none from now on; return whether there were any. For when the device ran out of it."""
        dropped = any(isinstance(kept, DeviceImages) for _, kept in self._known)
        self._known = [(stack, stack) for stack, _ in self._known]
        self._share = 0.0
        return dropped

    def _fits(self, stack: ImageStack) -> bool:
        if self._device.type != "cuda" or not self._share:
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return stack.pixels.nbytes <= self._share * free


def _placed(stack: ImageStack, device: torch.device) -> DeviceImages:
    pixels = torch.empty(stack.pixels.shape, dtype=torch.uint8, device=device)
    values, there = stack.pixels.reshape(-1), pixels.view(-1)
    for start in range(0, values.size, _PIECE):
        piece = values[start : start + _PIECE]
        there[start : start + len(piece)].copy_(to_device(torch.tensor(piece), device))
    return DeviceImages(stack, pixels)


def gather_batch(images: ImageStack | DeviceImages, rows: Ints, device: torch.device) -> PaddedBatch:
    """Return some images of a stack on a device."""
    pixels, sizes = images.take(rows)
    return PaddedBatch(
        pixels if isinstance(pixels, Tensor) else to_device(torch.from_numpy(pixels), device), tuple(sizes)
    )


def prefetch(parts: Generator[tuple[Part, Frame]], device: torch.device) -> Generator[tuple[Part, Frame]]:
    """Yield the same, on a CUDA device each made on a stream of its own while the caller's work on the one before goes on.

    The caller's stream waits for a frame where it is handed over. The host waits for none, but for the caller's work of some frames
    ago: else a small model would let it fill the memory with what is to be done.
    """
    with closing(parts):
        if device.type != "cuda":
            yield from parts
            return
        model, side = torch.cuda.current_stream(device), _side(device)
        side.wait_stream(model)  # What the frames are made of may just have been copied there.
        worked: deque[torch.cuda.Event] = deque()
        while True:
            with torch.cuda.stream(side):
                following = next(parts, None)
            if following is None:
                return
            model.wait_event(side.record_event())
            # Its memory is the side's, to use again when both have done with it.
            following[1].images.record_stream(model)
            yield following
            worked.append(model.record_event(torch.cuda.Event(blocking=True)))
            if len(worked) == _AHEAD:
                worked.popleft().synchronize()


@lru_cache(maxsize=8)
def _side(device: torch.device) -> torch.cuda.Stream:
    """The one stream of a device on which frames are made, because memory is kept by stream."""
    return torch.cuda.Stream(device)
