"""What a run would do and cost, measured on one batch: `robench evaluate --dry-run`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robench.datasets import ImageDataset, ImageStack, check_released, decode_one, open_dataset, released_names
from robench.errors import DatasetError
from robench.evaluation.device_scopes import statistics_scope
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import Plan, make_plan
from robench.evaluation.prepare import choose_samples, match_model_to_dataset
from robench.evaluation.samples import Samples
from robench.models import Classifier
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_frames
from robench.treatments import Adaptation, adapt
from robench.types import Ints

__all__ = ["Estimate", "estimate"]

_BATCH = 16
_RECORD_BYTES = 40
"""Compressed records of one sample under one condition, about."""


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    plan: its conditions.  samples: images of each.  seconds: per condition, in the plan's order, decoding apart.
    decode_seconds: if nothing is cached.  cache_bytes, run_bytes: on disk.
    calibration: images through the model for the statistics of treatments.  calibration_seconds: for those of other images.
    """

    plan: Plan
    samples: int
    seconds: tuple[float, ...]
    decode_seconds: float
    cache_bytes: int
    run_bytes: int
    calibration: int = 0
    calibration_seconds: float = 0.0

    @property
    def forwards(self) -> int:
        """Images through the model."""
        return self.calibration + self.samples * sum(map(condition_frames, self.plan.conditions))


def estimate(
    classifier: Classifier, dataset: ImageDataset | str | Path, suites: Sequence[str], options: Options
) -> Estimate:
    """Time one batch under every corruption on some of the images at hand, and scale it up; writes nothing."""
    images = dataset if isinstance(dataset, ImageDataset) else open_dataset(dataset)
    classifier, images = match_model_to_dataset(classifier, images)
    adaptation = adapt(classifier, options.treatments, options.calibration, options.seed)
    plan = make_plan(suites, options, classifier.preprocessing, adaptation.gflops)
    adaptation.notes(plan.conditions)  # A treatment that cannot be used is an error now too.
    positions = choose_samples(images, options)
    few = positions[np.arange(min(_BATCH, len(positions))) * len(positions) // min(_BATCH, len(positions))]
    missing = check_released(images, few, plan.conditions, skip=options.skip_unreadable).missing
    few = few[~np.isin(few, list(missing))]
    if not len(few):
        raise DatasetError(f"none of the samples tried has a released file: {next(iter(missing.values()))}")
    decode_seconds, samples = 0.0, {}
    for geometry in plan.geometries:
        start = time.perf_counter()
        samples[geometry] = _decode(images, few, geometry)
        decode_seconds += (time.perf_counter() - start) / len(few) * len(positions)
    with statistics_scope(options.precision, classifier.device):
        started = adaptation.limited(_BATCH).start()
    calibrating = list(adaptation.calibration_passes(plan.conditions))
    measured: dict[tuple[str, str, Geometry], float] = {}
    for condition in plan.conditions:
        key = condition.suite, condition.corruption, condition.geometry
        if key not in measured:
            treated, session = adaptation.for_condition(condition, started)
            for _ in range(2):  # The first time warms up.
                start = time.perf_counter()
                evaluate_condition(
                    treated,
                    samples[condition.geometry],
                    condition,
                    seed=options.seed,
                    batch_size=options.batch_size,
                    precision=options.precision,
                    session=session,
                )
                measured[key] = (time.perf_counter() - start) / len(few) * len(positions)
    by_policy = {policy: _calibration_seconds(adaptation, policy) for policy in {policy for policy, _ in calibrating}}
    return Estimate(
        plan=plan,
        samples=len(positions),
        seconds=tuple(measured[c.suite, c.corruption, c.geometry] for c in plan.conditions),
        decode_seconds=decode_seconds,
        cache_bytes=sum(one.images.pixels.nbytes for one in samples.values()) * len(positions) // len(few),
        run_bytes=_RECORD_BYTES * len(positions) * sum(map(condition_frames, plan.conditions)),
        calibration=sum(count for _, count in calibrating)
        + adaptation.estimation_frames(plan.conditions, len(positions)),
        calibration_seconds=sum(by_policy[policy] * count for policy, count in calibrating),
    )


def _calibration_seconds(adaptation: Adaptation, policy: str) -> float:
    """Of one image, decoded and through the network."""
    assert adaptation.calibration is not None
    start = time.perf_counter()
    for images in adaptation.calibration.batches(policy, adaptation.classifier.preprocessing, _BATCH):
        adaptation.classifier.logits(images)
    return (time.perf_counter() - start) / adaptation.calibration.count(_BATCH)


def _decode(images: ImageDataset, positions: Ints, geometry: Geometry) -> Samples:
    flat, sizes = [], []
    for position in positions.tolist():
        try:
            pixels = decode_one(images.read(position), geometry, images.border)
        except (DatasetError, OSError):
            pixels = np.zeros((3, 64, 64), dtype=np.uint8)  # The run itself says which images are unreadable.
            if geometry.square:
                pixels = np.zeros((3, geometry.side, geometry.side), dtype=np.uint8)
        flat.append(pixels.reshape(-1))
        sizes.append(pixels.shape[1:])
    stack = ImageStack(np.concatenate(flat), np.array(sizes, np.int64))
    names = released_names(images, positions)
    return Samples(stack, np.arange(len(positions)), positions, images.labels[positions], names)
