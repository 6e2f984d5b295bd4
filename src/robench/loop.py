"""The one loop: batches of one condition -> Records. Knows no metric, writes nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robench.conditions import Frame, frame_values, frames_of
from robench.data import Name, Stack, read_released
from robench.draws import Philox, philox
from robench.errors import DeviceError, OptionError, unknown_name
from robench.memory import keep_freed_memory
from robench.models import Classifier
from robench.rectangles import Rectangles
from robench.suites import Condition
from robench.types import Ints, Logits, Records

__all__ = ["PRECISIONS", "Samples", "evaluate_condition", "precision_scope"]

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Arithmetic of the model, by name, and the type it is cast to."""


@dataclass(frozen=True)
class Samples:
    """The images of one geometry and who they are.

    images: decoded ones.  rows: (m,) which of them to evaluate, in order.
    index, label: (m,) position in the whole dataset, and class.
    names: (m,) by which their released files are found; empty where no condition has such files.
    """

    images: Stack
    rows: Ints
    index: Ints
    label: Ints
    names: tuple[Name, ...] = ()


@contextmanager
def precision_scope(precision: str, device: torch.device) -> Iterator[None]:
    """Run the model in `precision`: fp32 switches TF32 off; the process's own settings come back afterwards."""
    if precision not in PRECISIONS:
        raise OptionError(unknown_name("precision", precision, PRECISIONS))
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    algorithms = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    dtype = PRECISIONS[precision]
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = algorithms


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
) -> Records:
    """Classify all samples under one condition: one row a frame and sample, frame by frame, samples in order.

    The draws depend on a sample's index alone; the logits also on the shape of its batch, so the batches are the samples in
    order, cut every `batch_size`. advance: called with the number of images after each frame of a batch.
    """
    if classifier.device.type == "cpu":
        keep_freed_memory()
    frames: dict[tuple[int, float], list[dict[str, Tensor]]] = {}
    try:
        label = torch.from_numpy(samples.label).to(classifier.device)
        shown = _released if condition.files is not None else _computed
        with closing(shown(samples, condition, seed, batch_size, classifier.device, generator)) as parts:
            for part, frame in parts:
                with precision_scope(precision, classifier.device):
                    logits = classifier.logits(frame.images, native=condition.native)
                frames.setdefault((frame.number, frame.value), []).append(_columns(logits, label[part]))
                advance(len(frame.images))
    except (RuntimeError, MemoryError) as error:
        if not _of_memory(error):
            raise
        raise DeviceError(
            f"{classifier.device} ran out of memory at {batch_size} images a batch: give a smaller --batch-size"
        ) from error
    tables = [_records(columns, samples, condition, *frame) for frame, columns in frames.items()]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out: on a CPU torch says so in the text of an error alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _computed(
    samples: Samples, condition: Condition, seed: int, batch_size: int, device: torch.device, generator: Philox
) -> Generator[tuple[slice, Frame]]:
    """Yield what the model is shown, batch by batch and of each the frames in turn, with the samples that it is of."""
    for start in range(0, len(samples.rows), batch_size):
        part = slice(start, start + batch_size)
        rows, index = samples.rows[part], samples.index[part]
        groups = samples.images.groups(rows)
        shown = [
            frames_of(
                _pictures(samples.images, rows[group], device),
                condition,
                torch.from_numpy(index[group]).to(device),
                seed,
                generator,
            )
            for group in groups
        ]
        if len(groups) == 1:
            yield from ((part, frame) for frame in shown[0])
            continue
        order = torch.from_numpy(np.concatenate(groups).argsort()).to(device)
        for frames in zip(*shown, strict=True):
            yield part, replace(frames[0], images=torch.cat([frame.images for frame in frames])[order])


def _pictures(images: Stack, rows: Ints, device: torch.device) -> Rectangles:
    pixels, sizes = images.take(rows)
    return Rectangles(torch.from_numpy(pixels).to(device), tuple(sizes))


def _released(
    samples: Samples, condition: Condition, seed: int, batch_size: int, device: torch.device, generator: Philox
) -> Generator[tuple[slice, Frame]]:
    """The same from released files, of which nothing is drawn."""
    values = frame_values(condition)
    with closing(read_released(condition, samples.names, samples.index, batch_size)) as parts:
        for part, number, pixels in parts:
            yield part, Frame(number, values[number], torch.from_numpy(pixels).to(device))


def _columns(logits: Logits, label: Tensor) -> dict[str, Tensor]:
    """What is kept of a batch's logits, still on the device. Where a logit is not finite there is no prediction."""
    finite = logits.isfinite().all(dim=1)
    probabilities = torch.where(finite[:, None], logits, 0).softmax(dim=1)
    best = probabilities.topk(min(5, logits.shape[1]), dim=1)
    return {
        "top5": torch.where(finite[:, None], best.indices, -1).to(torch.int32),
        "confidence": torch.where(finite, best.values[:, 0], 0),
        "prob_label": torch.where(finite, probabilities.gather(1, label[:, None])[:, 0], 0),
    }


def _records(
    columns: list[dict[str, Tensor]], samples: Samples, condition: Condition, frame: int, value: float
) -> Records:
    top5, confidence, prob_label = (torch.cat([c[name] for c in columns]).cpu().numpy() for name in columns[0])
    return pd.DataFrame(
        {
            "suite": condition.suite,
            "corruption": condition.corruption,
            "severity": np.int16(condition.severity),
            "axis_value": value,
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
