"""The one loop: batches of one condition -> Records. Knows no metric, writes nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.datasets import read_released
from robench.errors import DeviceError, OutOfMemory
from robench.evaluation.allocator import retain_freed_pages
from robench.evaluation.device_scopes import memory_scope, precision_scope, statistics_scope
from robench.evaluation.prefetch import gather_batch, prefetch
from robench.evaluation.samples import Samples
from robench.evaluation.stopwatch import NULL_STOPWATCH, Stopwatch
from robench.models import Classifier
from robench.suites import Condition
from robench.transforms.apply import Frame, Position, frame_positions, frames_of
from robench.transforms.device import to_device
from robench.transforms.draws import Philox, philox
from robench.treatments import STATISTICS_BATCH, Session, equal_parts, sample_order
from robench.types import Ints, Logits, Records

__all__ = ["evaluate_condition"]


def evaluate_condition(
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
) -> Records:
    """Classify all samples under one condition: one row a frame and sample, frame by frame, samples in order.

    The draws depend on a sample's index alone; the logits also on the shape of its batch, so the batches are the samples in
    order, cut every `batch_size`; a session that has test batches is given its own, of samples in keyed order.
    session: of the treatments that `classifier` was changed by.
    advance: called with the number of images after each frame of a batch, which a GPU may still have before it.
    watch: times the phases.
    Raises OutOfMemory where a smaller batch may do, and DeviceError where no other can be chosen.
    """
    device = classifier.device
    if device.type == "cpu":
        retain_freed_pages()
    shown = _ConditionBatches(samples, condition, seed, device, generator, watch)
    columns: dict[tuple[int, Position], list[Tensor]] = {}
    places: dict[tuple[int, Position], list[Ints]] = {}
    most = None
    with watch.work():
        if session is not None:
            with watch.span("statistics"), statistics_scope(precision, device):
                most = session.start_condition(condition, replace(shown, watch=NULL_STOPWATCH).some)
        mend = f"{batch_size} images a batch: give a smaller --batch-size"
        if most is not None:
            mend = f"{most} images, the treatment's own test batch: give --treatment with fewer"
        with memory_scope(device, mend, OutOfMemory if most is None and batch_size > 1 else DeviceError):
            made = shown.batches(batch_size) if most is None else shown.test_batches(most)
            with closing(prefetch(made, device)) as parts:
                for part, frame in parts:
                    if session is not None:
                        session.before_batch(frame.number)
                    with watch.span("forward"), precision_scope(precision, device):
                        logits = classifier.logits(frame.images, native=condition.native)
                        kept = _columns(logits, to_device(torch.from_numpy(samples.label[part]), device))
                    key = frame.number, frame.position
                    columns.setdefault(key, []).append(kept)
                    places.setdefault(key, []).append(part)
                    advance(len(frame.images))
            values = _fetched([kept for of_frame in columns.values() for kept in of_frame])
        with watch.span("records"):
            tables = [
                _records(rows, samples, condition, *key, np.concatenate(places[key]))
                for key, rows in zip(columns, np.split(values, len(columns)), strict=True)
            ]
            records = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    watch.count(len(records))
    return records


@dataclass(frozen=True)
class _ConditionBatches:
    """What the model is shown of a condition, batch by batch and of each the frames in turn."""

    samples: Samples
    condition: Condition
    seed: int
    device: torch.device
    generator: Philox
    watch: Stopwatch = NULL_STOPWATCH

    def batches(self, size: int) -> Generator[tuple[Ints, Frame]]:
        """Yield the samples in order, `size` at once, with their places."""
        made = _computed if self.condition.files is None else _released
        places = np.arange(len(self.samples.rows))
        with closing(made(self, size)) as parts:
            for part, frame in parts:
                yield places[part], frame

    def test_batches(self, most: int) -> Generator[tuple[Ints, Frame]]:
        """Yield the samples in keyed order, in equal parts of at most `most`, with their places."""
        yield from self._parts(self._order(), most)

    def some(self, count: int) -> Generator[Frame]:
        """Yield the frames of the first so many samples in keyed order."""
        for _, frame in self._parts(self._order()[:count], STATISTICS_BATCH):
            yield frame

    def _order(self) -> Ints:
        return sample_order(self.samples.index, self.condition, self.seed)

    def _parts(self, order: Ints, most: int) -> Generator[tuple[Ints, Frame]]:
        for part in equal_parts(order, most):
            for _, frame in replace(self, samples=self.samples.at(part)).batches(len(part)):
                yield part, frame


def _computed(shown: _ConditionBatches, batch_size: int) -> Generator[tuple[slice, Frame]]:
    """Yield the frames of every batch, computed, with the samples that they are of."""
    samples, device, watch = shown.samples, shown.device, shown.watch
    index = to_device(torch.tensor(samples.index), device)
    for start in range(0, len(samples.rows), batch_size):
        part = slice(start, start + batch_size)
        groups = samples.images.groups(samples.rows[part])
        made = []
        for group in groups:
            with watch.span("copy"):
                taken = gather_batch(samples.images, samples.rows[part][group], device)
                own = (
                    index[part]
                    if len(groups) == 1
                    else index[part].index_select(0, to_device(torch.tensor(group), device))
                )
            frames = frames_of(taken, shown.condition, own, shown.seed, shown.generator)
            made.append(watch.each("corruption", frames))
        if len(groups) == 1:
            yield from ((part, frame) for frame in made[0])
            continue
        order = to_device(torch.from_numpy(np.concatenate(groups).argsort()), device)
        for parts in zip(*made, strict=True):
            yield part, replace(parts[0], images=torch.cat([frame.images for frame in parts])[order])


def _released(shown: _ConditionBatches, batch_size: int) -> Generator[tuple[slice, Frame]]:
    """The same from released files, of which nothing is drawn."""
    samples, positions = shown.samples, frame_positions(shown.condition)
    with closing(read_released(shown.condition, samples.names, samples.index, batch_size)) as parts:
        for part, number, pixels in shown.watch.each("decode", parts):
            with shown.watch.span("copy"):
                images = to_device(torch.from_numpy(pixels), shown.device)
            yield part, Frame(number, positions[number], images)


def _columns(logits: Logits, label: Tensor) -> Tensor:
    """(b, k + 2) int32, what is kept of a batch's logits, still on the device: best classes, and the bits of two float32.

    Those are the probabilities of the best class and of the label. Where a logit is not finite there is no prediction.
    """
    finite = logits.isfinite().all(dim=1)
    probabilities = torch.where(finite[:, None], logits, 0).softmax(dim=1)
    best = probabilities.topk(min(5, logits.shape[1]), dim=1)
    confidence = torch.where(finite, best.values[:, 0], 0)
    prob_label = torch.where(finite, probabilities.gather(1, label[:, None])[:, 0], 0)
    bits = torch.stack([confidence, prob_label], dim=1).view(torch.int32)
    return torch.cat([torch.where(finite[:, None], best.indices, -1).to(torch.int32), bits], dim=1)


def _fetched(columns: list[Tensor]) -> NDArray[np.int32]:
    """Bring all columns to the host: the one place where it waits for the device."""
    values: NDArray[np.int32] = torch.cat(columns).cpu().numpy()
    return values


def _records(
    values: NDArray[np.int32], samples: Samples, condition: Condition, frame: int, position: Position, places: Ints
) -> Records:
    """The table of a frame, in the order of the samples; values: as `_columns`.  places: of their rows among the samples."""
    values = values[places.argsort()]
    top5 = np.ascontiguousarray(values[:, :-2])
    confidence, prob_label = np.ascontiguousarray(values[:, -2:].T).view(np.float32)
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
            "label": samples.label.astype(np.int32),
            "pred": top5[:, 0],
            "top5": list(top5),
            "confidence": confidence,
            "prob_label": prob_label,
        }
    )
