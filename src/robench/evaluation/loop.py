"""The evaluation loop, from batches of one condition to records."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.datasets import read_released
from robench.errors import DeviceError, OutOfMemory
from robench.evaluation.adversarial import attack_images
from robench.evaluation.allocator import retain_freed_pages
from robench.evaluation.attack_state import AttackState, state_path
from robench.evaluation.device_scopes import memory_scope, precision_scope, statistics_scope
from robench.evaluation.prefetch import gather_batch, model_stream, prefetch
from robench.evaluation.samples import Samples
from robench.evaluation.stopwatch import NULL_STOPWATCH, Stopwatch
from robench.models import Classifier
from robench.models.exits import at_setting, setting_names
from robench.suites import CLEAN, EXITS, Condition
from robench.transforms.apply import Frame, Position, frame_positions, frames_of
from robench.transforms.checks import deferred_checks
from robench.transforms.device import to_device, to_host
from robench.transforms.draws import KeyedDraws, Philox, philox
from robench.treatments import STATISTICS_BATCH, Session, equal_parts, sample_order
from robench.types import Ints, Logits, Records

__all__ = ["PendingRecords", "begin_condition", "evaluate_condition"]

P = ParamSpec("P")

_VALUES = ("confidence", "prob_label", "max_logit", "entropy", "sum_p2", "gen")
"""float32 columns of the records, in the order of the table."""

_GEN_CLASSES, _GEN_EXPONENT = 100, 0.1
"""Constants of GEN by Liu et al., CVPR 2023."""


def begin_condition(
    classifier: Classifier,
    samples: Samples,
    condition: Condition,
    *,
    seed: int,
    batch_size: int,
    precision: str = "fp32",
    generator: Philox = philox,
    advance: Callable[[int], None] = lambda _: None,
    session: Session | None = None,
    watch: Stopwatch = NULL_STOPWATCH,
    scratch: Path | None = None,
) -> PendingRecords:
    """Classify all samples under one condition, without waiting for a GPU to finish.

    Draws depend only on the index of a sample. Logits also depend on the shape of the batch, so batches are the samples
    in order, cut every `batch_size`. A session with test batches receives samples in keyed order in batches of its own.

    Args:
        classifier: The model, with its treatments applied.
        samples: The samples under the condition's geometry.
        condition: The condition.
        seed: Seed of all draws.
        batch_size: Images of a batch.
        precision: A key of `PRECISIONS`.
        generator: Generator of random words.
        advance: Receives the number of images after each frame of a batch, which a GPU may not have finished.
        session: Session of the treatments that changed `classifier`.
        watch: Times the phases.
        scratch: Folder for the state of unfinished attacks; None to keep none.

    Returns:
        Records that may still be on their way from the device.

    Raises:
        OutOfMemory: The device is too small for the batch; a smaller batch may fit.
        DeviceError: The device is too small, and the batch cannot be smaller.
    """
    device = classifier.device
    if device.type == "cpu":
        retain_freed_pages()
    # Attacks begin at the unperturbed images.
    source = condition if condition.attack is None else Condition(CLEAN, CLEAN, 0, condition.geometry)
    batches = _ConditionBatches(samples, source, seed, device, generator, watch)
    collector = _Collector()
    test_batch = None
    with watch.work(), model_stream(device):
        if session is not None:
            with watch.span("statistics"), statistics_scope(precision, device):
                test_batch = session.start_condition(condition, replace(batches, watch=NULL_STOPWATCH).some)
        if test_batch is None:
            pairs, problem, hint = batches.batches(batch_size), f"{batch_size} images a batch", "reduce --batch-size"
        else:
            pairs = batches.test_batches(test_batch)
            problem, hint = f"{test_batch} images, the treatment's test batch", "give --treatment with a smaller batch"
        error = OutOfMemory if test_batch is None and batch_size > 1 else DeviceError
        with memory_scope(device, problem, hint, error), deferred_checks() as checks:
            pairs = prefetch(pairs, device)
            found = (
                _predictions(classifier, samples, condition, pairs, precision, session, watch)
                if condition.attack is None
                else _attacked(
                    classifier, samples, condition, pairs, precision, partial(KeyedDraws, seed), watch, scratch
                )
            )
            with closing(found) as predictions:
                for positions, frame, columns in predictions:
                    collector.add(positions, frame, columns)
                    advance(len(frame.images))
            return PendingRecords(collector, collector.fetch(), checks.copied(), samples, condition, watch)


@dataclass(frozen=True)
class PendingRecords:
    """The records of a condition whose columns are being copied from the device."""

    _collector: _Collector
    _values: Callable[[], Tensor]
    _check: Callable[[], None]
    _samples: Samples
    _condition: Condition
    _watch: Stopwatch

    def result(self) -> Records:
        """Wait for the device, in any thread, and return one row for each frame and sample, frame by frame, samples in order.

        Raises:
            OptionError: A corruption of a package or of an own file returned pixels that are not finite.
        """
        with self._watch.work():
            values: NDArray[np.int32] = self._values().numpy()
            self._check()
            with self._watch.span("records"):
                records = self._collector.records(values, self._samples, self._condition)
        self._watch.count(len(records))
        return records


def _waiting(begin: Callable[P, PendingRecords]) -> Callable[P, Records]:
    """Return a function that begins and waits."""

    @wraps(begin)
    def evaluate(*arguments: P.args, **keywords: P.kwargs) -> Records:
        return begin(*arguments, **keywords).result()

    return evaluate


evaluate_condition = _waiting(begin_condition)
"""Classify all samples under one condition, wait for the device, and return the records."""


@dataclass(frozen=True)
class _ConditionBatches:
    """Generators of a condition's batches, each batch frame by frame."""

    samples: Samples
    condition: Condition
    seed: int
    device: torch.device
    generator: Philox
    watch: Stopwatch = NULL_STOPWATCH

    def batches(self, size: int) -> Generator[tuple[Ints, Frame]]:
        """Yield positions and frames of the samples in order."""
        positions = np.arange(len(self.samples.rows))
        with closing(self._computed(size) if self.condition.files is None else self._released(size)) as pairs:
            for part, frame in pairs:
                yield positions[part], frame

    def test_batches(self, most: int) -> Generator[tuple[Ints, Frame]]:
        """Yield positions and frames of the samples in keyed order, in equal batches of at most `most`."""
        yield from self._keyed(self._order(), most)

    def some(self, count: int) -> Generator[Frame]:
        """Yield the frames of the first `count` samples in keyed order."""
        for _, frame in self._keyed(self._order()[:count], STATISTICS_BATCH):
            yield frame

    def _order(self) -> Ints:
        return sample_order(self.samples.index, self.condition, self.seed)

    def _keyed(self, order: Ints, most: int) -> Generator[tuple[Ints, Frame]]:
        for part in equal_parts(order, most):
            for _, frame in replace(self, samples=self.samples.select(part)).batches(len(part)):
                yield part, frame

    def _computed(self, batch_size: int) -> Generator[tuple[slice, Frame]]:
        """Yield the frames of each batch from computed corruptions; images of equal size are computed together."""
        samples, device = self.samples, self.device
        index = to_device(torch.tensor(samples.index), device)
        for start in range(0, len(samples.rows), batch_size):
            part = slice(start, start + batch_size)
            groups = samples.images.groups(samples.rows[part])
            by_group = []
            for group in groups:
                with self.watch.span("copy"):
                    images = gather_batch(samples.images, samples.rows[part][group], device)
                    own = index[part]
                    if len(groups) > 1:
                        own = own.index_select(0, to_device(torch.tensor(group), device))
                frames = frames_of(images, self.condition, own, self.seed, self.generator)
                by_group.append(self.watch.each("corruption", frames))
            if len(groups) == 1:
                yield from ((part, frame) for frame in by_group[0])
                continue
            order = to_device(torch.from_numpy(np.concatenate(groups).argsort()), device)
            for frames_by_group in zip(*by_group, strict=True):
                images_of_frame = torch.cat([frame.images for frame in frames_by_group])[order]
                yield part, replace(frames_by_group[0], images=images_of_frame)

    def _released(self, batch_size: int) -> Generator[tuple[slice, Frame]]:
        """Yield the frames of each batch from released files."""
        samples, axis = self.samples, frame_positions(self.condition)
        with closing(read_released(self.condition, samples.names, samples.index, batch_size)) as parts:
            for part, number, pixels in self.watch.each("decode", parts):
                with self.watch.span("copy"):
                    images = to_device(torch.from_numpy(pixels), self.device)
                yield part, Frame(number, axis[number], images)


def _predictions(
    classifier: Classifier,
    samples: Samples,
    condition: Condition,
    pairs: Generator[tuple[Ints, Frame]],
    precision: str,
    session: Session | None,
    watch: Stopwatch,
) -> Generator[tuple[Ints, Frame, Tensor]]:
    """Yield each batch with the columns of its logits, which stay on the device."""
    exits: list[Logits] = []
    names = setting_names(classifier.module) if condition.suite == EXITS.name else ()
    with closing(pairs):
        for positions, frame in pairs:
            if session is not None:
                session.before_batch(frame.number)
            with watch.span("forward"), precision_scope(precision, classifier.device):
                if condition.suite != EXITS.name:
                    logits = classifier.logits(frame.images, native=condition.native)
                elif names:
                    with at_setting(classifier.module, names[frame.number]):
                        logits = classifier.logits(frame.images)
                else:  # All exits of a batch come from one pass.
                    if frame.number == 0:
                        exits = classifier.exit_logits(frame.images, len(condition.axis_values or (0,)))
                    logits = exits[frame.number]
                columns = _columns(logits, to_device(torch.from_numpy(samples.truth[positions]), classifier.device))
            yield positions, frame, columns


def _attacked(
    classifier: Classifier,
    samples: Samples,
    condition: Condition,
    pairs: Generator[tuple[Ints, Frame]],
    precision: str,
    draws_of: Callable[[Tensor, str], KeyedDraws],
    watch: Stopwatch,
    scratch: Path | None,
) -> Generator[tuple[Ints, Frame, Tensor]]:
    """Yield each batch after each attack at each radius, with the columns of its logits."""
    assert condition.attack is not None
    attack, places = condition.attack, frame_positions(condition)
    with closing(pairs):
        for positions, frame in pairs:
            label = to_device(torch.from_numpy(samples.label[positions]), classifier.device)
            index = to_device(torch.from_numpy(samples.index[positions]), classifier.device)
            numbers = samples.index[positions].tolist()
            file = None if scratch is None else state_path(scratch, condition.name, numbers[0])
            state = AttackState(file, f"{attack} {numbers}")
            state.read(classifier.device)
            attacked = attack_images(classifier, frame.images, label, attack, draws_of(index, "adversarial"), state)
            for number, position in enumerate(places):
                with watch.span("forward"), precision_scope(precision, classifier.device):
                    columns = _columns(next(attacked).logits, label)
                yield positions, Frame(number, position, frame.images), columns


class _Collector:
    """The predictions of a condition by frame."""

    def __init__(self) -> None:
        self._batches: dict[tuple[int, Position], list[tuple[Ints, Tensor]]] = {}

    def add(self, positions: Ints, frame: Frame, columns: Tensor) -> None:
        """Add a batch."""
        self._batches.setdefault((frame.number, frame.position), []).append((positions, columns))

    def fetch(self) -> Callable[[], Tensor]:
        """Begin to copy the columns of all batches to the host, frame by frame."""
        return _fetched([columns for batches in self._batches.values() for _, columns in batches])

    def records(self, values: NDArray[np.int32], samples: Samples, condition: Condition) -> Records:
        """Return the records, frame by frame, from the fetched columns."""
        frames = np.split(values, len(self._batches))
        tables = [
            _records(rows, samples, condition, *key, np.concatenate([positions for positions, _ in batches]))
            for (key, batches), rows in zip(self._batches.items(), frames, strict=True)
        ]
        return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _columns(logits: Logits, label: Tensor) -> Tensor:
    """Reduce a batch to int32 columns on the device, so that one copy brings them to the host.

    Args:
        logits: (b, classes) float32.
        label: (b,) int64, or (b, labels), filled up with -1, if images have several classes.

    Returns:
        (b, k + 6) int32. The first k = min(5, classes) columns are the best classes, -1 if a logit is not finite. The others
        are the bits of the float32 `_VALUES`. Of several classes, the most probable one is in a last column.
    """
    finite = logits.isfinite().all(dim=1)
    logits = torch.where(finite[:, None], logits, 0)
    probabilities = logits.softmax(dim=1)
    best = probabilities.topk(min(5, logits.shape[1]), dim=1)
    if label.ndim == 1:
        prob_label, chosen = probabilities.gather(1, label[:, None])[:, 0], []
    else:
        prob_label, most_probable = _of_several(probabilities, best.indices, label)
        chosen = [torch.where(finite, most_probable, label[:, 0])[:, None].to(torch.int32)]
    values = {
        "confidence": (best.values[:, 0], 0.0),
        "prob_label": (prob_label, 0.0),
        "max_logit": (logits.amax(dim=1), -math.inf),
        "entropy": (torch.special.entr(probabilities).sum(dim=1), math.inf),
        "sum_p2": (probabilities.square().sum(dim=1), 0.0),
        "gen": (_generalized_entropy(probabilities), math.inf),
    }
    bits = torch.stack([torch.where(finite, *values[name]) for name in _VALUES], dim=1).view(torch.int32)
    return torch.cat([torch.where(finite[:, None], best.indices, -1).to(torch.int32), bits, *chosen], dim=1)


def _of_several(probabilities: Tensor, best: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of all classes of each image, (b,), and the most probable of them, (b,).

    Of equally probable classes it is the one among `best` (b, k), so that a right prediction is that class.
    """
    of_class = torch.where(label >= 0, probabilities.gather(1, label.clamp(min=0)), 0)
    hits = (best[:, :, None] == label[:, None, :]).any(dim=2)
    first = best.gather(1, hits.to(torch.int8).argmax(dim=1, keepdim=True))
    other = label.gather(1, of_class.argmax(dim=1, keepdim=True))
    return of_class.sum(dim=1).clamp(max=1), torch.where(hits.any(dim=1), first[:, 0], other[:, 0])


def _generalized_entropy(probabilities: Tensor) -> Tensor:
    """Return the sum of p^0.1 (1 - p)^0.1 over the 100 most probable classes, (b,), of probabilities (b, classes)."""
    if probabilities.shape[1] > _GEN_CLASSES:
        probabilities = probabilities.topk(_GEN_CLASSES, dim=1, sorted=False).values
    return (probabilities * (1 - probabilities)).pow(_GEN_EXPONENT).sum(dim=1)


def _fetched(columns: list[Tensor]) -> Callable[[], Tensor]:
    """Begin to copy all columns to the host; only the result waits for the device."""
    return to_host(torch.cat(columns))


def _records(
    values: NDArray[np.int32], samples: Samples, condition: Condition, frame: int, position: Position, order: Ints
) -> Records:
    """Return the records of a frame in the order of the samples; `order` holds the sample position of each row."""
    values, label = values[order.argsort()], samples.label.astype(np.int32)
    if samples.label_sets is not None:
        values, label = values[:, :-1], np.ascontiguousarray(values[:, -1])
    top5, numbers = np.split(values, [-len(_VALUES)], axis=1)
    top5 = np.ascontiguousarray(top5)
    return pd.DataFrame(
        {
            "suite": condition.suite,
            "corruption": condition.corruption,
            "severity": np.int16(condition.severity),
            "axis_value": position.value,
            "dx": position.dx,
            "dy": position.dy,
            "frame": np.int32(frame),
            "resolution": np.int32(condition.resolution),
            "sample": samples.index,
            "label": label,
            "pred": top5[:, 0],
            "top5": list(top5),
            **dict(zip(_VALUES, np.ascontiguousarray(numbers.T).view(np.float32), strict=True)),
        }
    )
