"""The evaluation of shards with one model on one device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from robench.datasets import ImageStack
from robench.errors import DeviceError, OutOfMemory
from robench.evaluation.device_scopes import statistics_scope
from robench.evaluation.loop import begin_condition
from robench.evaluation.options import Options
from robench.evaluation.prefetch import DeviceImageCache
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard, ShardResult
from robench.evaluation.stopwatch import NULL_STOPWATCH, Stopwatch, stopwatch_for
from robench.models import Classifier
from robench.runs.parquet import encode_parquet
from robench.runs.schema import RECORDS
from robench.suites.geometry import Geometry
from robench.transforms.draws import compiled_philox, philox
from robench.transforms.kernels import check_kernels, kernel_scope
from robench.treatments import Adaptation, PreparedModel

__all__ = ["Evaluator"]


class Evaluator:
    """A model with its treatments and the samples of every geometry, which evaluates shards in any order.

    Decoded images stay on a GPU that has room for them. If a device runs out of memory, it gives these images back.
    If it runs out of memory again, the batch size is halved from then on.

    Raises:
        OptionError: `--kernels fused` on a device without fused kernels.
    """

    def __init__(
        self,
        adaptation: Adaptation,
        samples: Mapping[Geometry, Samples],
        options: Options,
        scratch: Path | None = None,
    ) -> None:
        self._adaptation, self._samples, self._options, self._scratch = adaptation, samples, options, scratch
        check_kernels(options.kernels, adaptation.classifier.device)
        assert options.batch_size is not None, "the machine's is known"
        self._batch_size = options.batch_size
        self._ended = 0.0
        self._model: PreparedModel | None = None
        self._cache = DeviceImageCache(adaptation.classifier.device)

    @property
    def classifier(self) -> Classifier:
        """The model before its treatments."""
        return self._adaptation.classifier

    def evaluate(self, shard: Shard, advance: Callable[[int], None] = lambda _: None) -> ShardResult:
        """Classify the samples of a shard; the arguments are those of `begin`."""
        return self.begin(shard, advance)()

    def begin(self, shard: Shard, advance: Callable[[int], None] = lambda _: None) -> Callable[[], ShardResult]:
        """Classify the samples of a shard, without waiting for a GPU to finish.

        Args:
            shard: The shard.
            advance: Receives the number of images that are done, negative to take images back.

        Returns:
            A function that waits for the device and encodes the records, in any thread, in the order of the shards.

        Raises:
            DeviceError: A single image is too much for the device.
        """
        preparing = self._stopwatch()
        classifier, session = self._adaptation.for_condition(shard.condition, self._prepared_model(preparing))
        start = time.perf_counter()
        samples = self._samples[shard.condition.geometry]
        stack = samples.images
        assert isinstance(stack, ImageStack), "images on a device are cached here"
        count = shard.stop - shard.start
        whole = count == len(samples.rows)
        if not whole:
            samples = samples.select(np.arange(shard.start, shard.stop))
        while True:
            progress = _RevocableProgress(advance)
            watch = self._stopwatch()
            try:
                with kernel_scope(self._options.kernels):
                    pending = begin_condition(
                        classifier,
                        replace(samples, images=self._cache.get(stack)),
                        shard.condition,
                        seed=self._options.seed,
                        batch_size=self._batch_size,
                        precision=self._options.precision,
                        generator=compiled_philox() if self._options.compile else philox,
                        advance=progress,
                        session=session,
                        watch=watch,
                        scratch=self._scratch,
                    )
                break
            except DeviceError as error:
                progress.revoke()
                if self._cache.clear():
                    continue
                if not isinstance(error, OutOfMemory):
                    raise
                self._batch_size = (self._batch_size + 1) // 2
        batch_size = self._batch_size

        def result() -> ShardResult:
            records = pending.result()
            with watch.work(), watch.span("records"):
                content = encode_parquet(RECORDS, records, None if whole else count)
            profile = preparing.read() + watch.read() if self._options.profile else None
            # A GPU finishes the shard before this one after this one has begun.
            begun, self._ended = max(start, self._ended), time.perf_counter()
            return ShardResult(content, self._ended - begun, batch_size, profile)

        if not self._options.profile:
            return result
        finished = result()  # The phases add up to the whole time only if nothing overlaps.
        return lambda: finished

    def _stopwatch(self) -> Stopwatch:
        return stopwatch_for(self._adaptation.classifier.device) if self._options.profile else NULL_STOPWATCH

    def _prepared_model(self, watch: Stopwatch) -> PreparedModel:
        """Return the treated classifier, which is prepared at the first call, because statistics may take a while."""
        if self._model is None:
            span = watch.span("statistics") if self._adaptation.treatments else nullcontext()
            with watch.work(), span, statistics_scope(self._options.precision, self._adaptation.classifier.device):
                self._model = self._adaptation.start()
        return self._model


class _RevocableProgress:
    """The progress of an attempt, which can be taken back."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._count = advance, 0

    def __call__(self, count: int) -> None:
        self._count += count
        self._advance(count)

    def revoke(self) -> None:
        self._advance(-self._count)
