"""Stopwatches of the loop: by the clock where the host works, by events of its streams where a GPU does."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TypeVar

import torch

from robench.evaluation.profile import Profile

__all__ = ["NULL_STOPWATCH", "CudaStopwatch", "Stopwatch", "stopwatch_for"]

T = TypeVar("T")

_BESIDE = ("copy", "corruption")
"""What a GPU does beside the model."""
_ON_GPU = (*_BESIDE, "forward")


class Stopwatch:
    """Adds up how long each phase of some work takes, by the host's clock.

    clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._wall, self._images = 0.0, 0

    def work(self) -> AbstractContextManager[None]:
        """Time the whole of the work, of which the phases are parts."""
        return self._whole()

    def span(self, phase: str) -> AbstractContextManager[None]:
        """Time a part of a phase of `profile.PHASES`."""
        return self._by_clock(phase)

    def each(self, phase: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; making each of them is a part of the phase."""
        while True:
            with self.span(phase):
                made = list(islice(items, 1))
            if not made:
                return
            yield made[0]

    def count(self, images: int) -> None:
        """So many more images were shown to the model."""
        self._images += images

    def read(self) -> Profile:
        """Return what was timed so far."""
        return Profile(dict(self._seconds), {}, self._wall, self._images)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self._wall += self._clock() - start

    @contextmanager
    def _by_clock(self, phase: str) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self._seconds[phase] += self._clock() - start


class CudaStopwatch(Stopwatch):
    """The same where a CUDA device works: its phases are timed by events, for which nobody waits until `read`.

    What it does beside the model takes longer than alone, and slows the model down: the times are those of both at once.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(clock)
        self._device = device
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def span(self, phase: str) -> AbstractContextManager[None]:
        """Time a part of a phase, on the stream that is the current one of the device."""
        return self._by_events(phase) if phase in _ON_GPU else self._by_clock(phase)

    def read(self) -> Profile:
        """Wait for what was timed, and return it."""
        for phase, start, end in self._events:
            end.synchronize()
            self._seconds[phase] += start.elapsed_time(end) / 1000
        self._events.clear()
        beside = {phase: seconds for phase, seconds in self._seconds.items() if phase in _BESIDE}
        seconds = {phase: seconds for phase, seconds in self._seconds.items() if phase not in _BESIDE}
        return Profile(seconds, beside, self._wall, self._images)

    @contextmanager
    def _by_events(self, phase: str) -> Iterator[None]:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.current_stream(self._device).record_event(start)
        try:
            yield
        finally:
            torch.cuda.current_stream(self._device).record_event(end)
            self._events.append((phase, start, end))


class _Unwatched(Stopwatch):
    """Times nothing."""

    def work(self) -> AbstractContextManager[None]:
        return nullcontext()

    def span(self, phase: str) -> AbstractContextManager[None]:
        return nullcontext()

    def each(self, phase: str, items: Iterator[T]) -> Iterator[T]:
        return items

    def count(self, images: int) -> None:
        """Ignore."""


NULL_STOPWATCH: Stopwatch = _Unwatched()


def stopwatch_for(device: torch.device) -> Stopwatch:
    """Return a stopwatch for work on a device."""
    return CudaStopwatch(device) if device.type == "cuda" else Stopwatch()
