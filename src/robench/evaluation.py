"""The unit of work: a shard, some whole batches of one condition; and what evaluates shards, one model on one device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from robench.conditions import condition_frames
from robench.data import Stack
from robench.draws import compiled_philox, philox
from robench.errors import DeviceError, OutOfMemory
from robench.geometry import Geometry
from robench.loop import Samples, estimating_scope, evaluate_condition
from robench.options import Options
from robench.parquet import encode_parquet
from robench.pipeline import Residents
from robench.profile import Profile
from robench.suites import Condition
from robench.tables import RECORDS
from robench.treatments import Adaptation, Started
from robench.watch import UNWATCHED, Watch, watch_for

__all__ = ["Evaluation", "Part", "Shard", "shards_of"]

_FRAMES = 16_384
"""Images through the model that a shard has at least, where its condition has so many: what is lost with a worker is minutes,
and what starting a shard costs is nothing beside it."""


@dataclass(frozen=True)
class Shard:
    """The samples at places `start` to `stop` of a run, under one condition.

    Cuts fall on the borders of batches, so that records do not depend on them.
    """

    condition: Condition
    start: int
    stop: int

    @property
    def frames(self) -> int:
        """Images through the model."""
        return (self.stop - self.start) * condition_frames(self.condition)


@dataclass(frozen=True)
class Part:
    """An evaluated shard.

    content: its records as a file of tables.RECORDS, frame by frame, a row group each; of a whole condition that of the run.
    seconds: that it took, but for what treatments estimated before the first one.
    batch_size: that it was evaluated with; smaller than the run's where the device ran out of memory.
    profile: of its time, where the run asks for one.
    """

    content: bytes
    seconds: float
    batch_size: int
    profile: Profile | None = None


def shards_of(condition: Condition, samples: int, batch_size: int, whole: bool) -> list[Shard]:
    """Cut a condition of so many samples.  whole: whether it cannot be cut, because treatments look at all of its samples."""
    batches = 1 + _FRAMES // (batch_size * condition_frames(condition))
    step = samples if whole else batches * batch_size
    return [Shard(condition, start, min(start + step, samples)) for start in range(0, samples, step)]


class Evaluation:
    """A model with its treatments and the samples of every geometry, on one device: evaluates shards, in any order.

    Decoded images stay on a GPU that has room for them. A device that runs out of memory first gives theirs back, and then gets half
    the batch, from then on.
    """

    def __init__(self, adaptation: Adaptation, samples: Mapping[Geometry, Samples], options: Options) -> None:
        self._adaptation, self._samples, self._options = adaptation, samples, options
        self._batch_size = options.batch_size
        self._started: Started | None = None
        self._residents = Residents(adaptation.classifier.device)

    def evaluate(self, shard: Shard, advance: Callable[[int], None] = lambda _: None) -> Part:
        """Classify the samples of a shard; DeviceError where one image at a time is too much for the device."""
        preparing = self._watch()
        classifier, session = self._adaptation.shown(shard.condition, self._start(preparing))
        start = time.perf_counter()
        samples = self._samples[shard.condition.geometry]
        stack = samples.images
        assert isinstance(stack, Stack), "they are placed here"
        count = shard.stop - shard.start
        whole = count == len(samples.rows)
        if not whole:
            samples = samples.at(np.arange(shard.start, shard.stop))
        while True:
            told = _Told(advance)
            watch = self._watch()
            try:
                records = evaluate_condition(
                    classifier,
                    replace(samples, images=self._residents.of(stack)),
                    shard.condition,
                    seed=self._options.seed,
                    batch_size=self._batch_size,
                    precision=self._options.precision,
                    generator=compiled_philox() if self._options.compiled else philox,
                    advance=told,
                    session=session,
                    watch=watch,
                )
            except DeviceError as error:
                told.take_back()
                if self._residents.drop():
                    continue
                if not isinstance(error, OutOfMemory):
                    raise
                self._batch_size = (self._batch_size + 1) // 2
            else:
                break
        with watch.work(), watch.span("records"):
            content = encode_parquet(RECORDS, records, None if whole else count)
        profile = preparing.read() + watch.read() if self._options.profile else None
        return Part(content, time.perf_counter() - start, self._batch_size, profile)

    def _watch(self) -> Watch:
        return watch_for(self._adaptation.classifier.device) if self._options.profile else UNWATCHED

    def _start(self, watch: Watch) -> Started:
        """The treated classifier, made when it is first needed: statistics may take a while."""
        if self._started is None:
            treated = watch.span("statistics") if self._adaptation.treatments else nullcontext()
            with watch.work(), treated, estimating_scope(self._options.precision, self._adaptation.classifier.device):
                self._started = self._adaptation.start()
        return self._started


class _Told:
    """Progress of an attempt, which can be taken back."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._count = advance, 0

    def __call__(self, count: int) -> None:
        self._count += count
        self._advance(count)

    def take_back(self) -> None:
        self._advance(-self._count)
