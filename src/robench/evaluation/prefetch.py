"""Images cached on a GPU, and the preparation of the next batch while the model works."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
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

__all__ = ["DeviceImageCache", "DeviceImages", "gather_batch", "model_stream", "prefetch"]

Part = TypeVar("Part")

_SHARE = 0.5
"""Share of a device's free memory that a stack may take; the model, the batches and their corruption need the rest."""
_PIECE = 1 << 26
"""Bytes of a stack that are copied at once."""
_AHEAD = 2
"""Batches that the host may be ahead of the device: the model's current batch and the next one."""


@dataclass(frozen=True)
class DeviceImages:
    """A copy of a stack on a device, with the same interface.

    Attributes:
        stack: The stack on the host.
        pixels: The pixels on the device, in the shape of the stack's.
    """

    stack: ImageStack
    pixels: Tensor

    def groups(self, rows: Ints) -> list[Ints]:
        """Group rows as `ImageStack.groups` does."""
        return self.stack.groups(rows)

    def take(self, rows: Ints) -> tuple[Images, list[tuple[int, int]]]:
        """Return images and their sizes as `ImageStack.take` does, on the device; consecutive rows are not copied."""
        sizes = self.stack.sizes
        if sizes is not None:
            shape = (len(rows), self.stack.bands, *sizes[rows].max(axis=0).tolist())
            padded = torch.zeros(shape, dtype=torch.uint8, device=self.pixels.device)
            return padded, copy_padded(padded, self.pixels, sizes, rows)
        shapes = [(self.pixels.shape[2], self.pixels.shape[3])] * len(rows)
        if (np.diff(rows) == 1).all():
            return self.pixels[int(rows[0]) : int(rows[-1]) + 1], shapes
        return self.pixels.index_select(0, to_device(torch.tensor(rows), self.pixels.device)), shapes


class DeviceImageCache:
    """Stacks that stay on a CUDA device from one condition to the next; other devices keep none."""

    def __init__(self, device: torch.device, share: float = _SHARE) -> None:
        """Create an empty cache; a stack may take `share` of the free memory."""
        self._device, self._share = device, share
        self._known: list[tuple[ImageStack, ImageStack | DeviceImages]] = []

    def get(self, stack: ImageStack) -> ImageStack | DeviceImages:
        """Return the stack on the device, copied there the first time; the stack itself if it does not fit."""
        for known, cached in self._known:
            if known is stack:
                return cached
        cached = _placed(stack, self._device) if self._fits(stack) else stack
        self._known.append((stack, cached))
        return cached

    def clear(self) -> bool:
        """Free the memory of all stacks and keep none from now on; return whether there were any."""
        cleared = any(isinstance(cached, DeviceImages) for _, cached in self._known)
        self._known = [(stack, stack) for stack, _ in self._known]
        self._share = 0.0
        return cleared

    def _fits(self, stack: ImageStack) -> bool:
        if self._device.type != "cuda" or not self._share:
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return stack.pixels.nbytes <= self._share * (free + unused)


def _placed(stack: ImageStack, device: torch.device) -> DeviceImages:
    pixels = torch.empty(stack.pixels.shape, dtype=torch.uint8, device=device)
    source, target = stack.pixels.reshape(-1), pixels.view(-1)
    for start in range(0, source.size, _PIECE):
        piece = source[start : start + _PIECE]
        target[start : start + len(piece)].copy_(to_device(torch.tensor(piece), device))
    return DeviceImages(stack, pixels)


def gather_batch(images: ImageStack | DeviceImages, rows: Ints, device: torch.device) -> PaddedBatch:
    """Return some images of a stack on a device."""
    pixels, sizes = images.take(rows)
    return PaddedBatch(
        pixels if isinstance(pixels, Tensor) else to_device(torch.from_numpy(pixels), device), tuple(sizes)
    )


def prefetch(pairs: Generator[tuple[Part, Frame]], device: torch.device) -> Generator[tuple[Part, Frame]]:
    """Yield the same pairs; on a CUDA device, each frame is made on a separate stream while the caller's work runs.

    The caller's stream waits for each frame that it receives. The host waits only for the caller's work on an earlier
    frame. Otherwise a small model would let the host fill the memory with queued work.
    """
    with closing(pairs):
        if device.type != "cuda":
            yield from pairs
            return
        model, side = torch.cuda.current_stream(device), _stream(device, priority=0)
        side.wait_stream(model)  # The images may just have been copied on the model's stream.
        queued: deque[torch.cuda.Event] = deque()
        while True:
            with torch.cuda.stream(side):
                pair = next(pairs, None)
            if pair is None:
                return
            model.wait_event(side.record_event())
            # The side stream reuses this memory after both streams have finished with it.
            pair[1].images.record_stream(model)
            yield pair
            queued.append(model.record_event(torch.cuda.Event(blocking=True)))
            if len(queued) == _AHEAD:
                queued.popleft().synchronize()


@contextmanager
def model_stream(device: torch.device) -> Iterator[None]:
    """Run the caller's work on a CUDA device before the frames of `prefetch`, which then fill what the model leaves free."""
    if device.type != "cuda":
        yield
        return
    outer, model = torch.cuda.current_stream(device), _stream(device, priority=-1)
    model.wait_stream(outer)
    try:
        with torch.cuda.stream(model):
            yield
    finally:
        outer.wait_stream(model)


@lru_cache(maxsize=8)
def _stream(device: torch.device, priority: int) -> torch.cuda.Stream:
    """Return the one stream of a device and priority, because memory is cached by stream; -1 goes before 0."""
    return torch.cuda.Stream(device, priority=priority)
