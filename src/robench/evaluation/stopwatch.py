"""Stopwatches for the phases of the evaluation loop."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TypeVar

import torch

from robench.evaluation.profile import Profile

__all__ = ["NULL_STOPWATCH", "CudaStopwatch", "Stopwatch", "stopwatch_for"]

T = TypeVar("T")

_CONCURRENT = ("copy", "corruption")
"""Phases that a GPU runs concurrently with the model."""
_ON_GPU = (*_CONCURRENT, "forward")


class Stopwatch:
    """Adds up the time of each phase by the host's clock."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start at zero; `clock` returns seconds."""
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._images = 0

    def work(self) -> AbstractContextManager[None]:
        """Time the whole work that the phases are parts of."""
        return self._by_clock("")

    def span(self, phase: str) -> AbstractContextManager[None]:
        """Time a part of a phase of `profile.PHASES`."""
        return self._by_clock(phase)

    def each(self, phase: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items and count the time to make them as a phase."""
        while True:
            with self.span(phase):
                item = list(islice(items, 1))
            if not item:
                return
            yield item[0]

    def count(self, images: int) -> None:
        """Count images that the model has classified."""
        self._images += images

    def read(self) -> Profile:
        """Return the profile of the work so far."""
        return self._profile(())

    @contextmanager
    def _by_clock(self, phase: str) -> Iterator[None]:
        """Time a phase, or the whole work if `phase` is empty."""
        start = self._clock()
        try:
            yield
        finally:
            self._seconds[phase] += self._clock() - start

    def _profile(self, concurrent: Sequence[str]) -> Profile:
        seconds = {phase: seconds for phase, seconds in self._seconds.items() if phase and phase not in concurrent}
        others = {phase: self._seconds[phase] for phase in concurrent if phase in self._seconds}
        return Profile(seconds, others, self._seconds.get("", 0.0), self._images)


class CudaStopwatch(Stopwatch):
    """Times the phases on a CUDA device by events, which nobody waits for until `read`.

    Work that is concurrent with the model takes longer than alone and slows the model down. The times include that.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start at zero on a device; `clock` returns seconds."""
        super().__init__(clock)
        self._device = device
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def span(self, phase: str) -> AbstractContextManager[None]:
        """Time a part of a phase on the current stream of the device."""
        return self._by_events(phase) if phase in _ON_GPU else super().span(phase)

    def read(self) -> Profile:
        """Wait for the events and return the profile."""
        for phase, start, end in self._events:
            end.synchronize()
            self._seconds[phase] += start.elapsed_time(end) / 1000
        self._events.clear()
        return self._profile(_CONCURRENT)

    @contextmanager
    def _by_events(self, phase: str) -> Iterator[None]:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.current_stream(self._device).record_event(start)
        try:
            yield
        finally:
            torch.cuda.current_stream(self._device).record_event(end)
            self._events.append((phase, start, end))


class _NullStopwatch(Stopwatch):
    """A stopwatch that times nothing."""

    def work(self) -> AbstractContextManager[None]:
        return nullcontext()

    def span(self, phase: str) -> AbstractContextManager[None]:
        return nullcontext()

    def each(self, phase: str, items: Iterator[T]) -> Iterator[T]:
        return items

    def count(self, images: int) -> None:
        """Ignore the images."""


NULL_STOPWATCH: Stopwatch = _NullStopwatch()


def stopwatch_for(device: torch.device) -> Stopwatch:
    """Return a stopwatch for work on a device."""
    return CudaStopwatch(device) if device.type == "cuda" else Stopwatch()
