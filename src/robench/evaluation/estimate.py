"""The conditions and costs of a run, estimated from one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robench.datasets import ImageDataset, ImageStack, check_released, decode_one, open_dataset, released_names
from robench.errors import DatasetError
from robench.evaluation.adversarial import attack_passes, with_possible_attacks
from robench.evaluation.device_scopes import statistics_scope
from robench.evaluation.environment import Machine
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import Plan, make_plan
from robench.evaluation.prepare import PreparedRun, choose_samples, match_model_to_dataset
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard
from robench.models import Classifier
from robench.suites import Condition
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_frames
from robench.transforms.kernels import check_kernels, kernel_scope
from robench.treatments import Adaptation, adapt
from robench.types import Ints

__all__ = ["Estimate", "estimate", "remaining_seconds"]

_BATCH = 16
_PATIENCE = 3.0
"""Seconds for the estimate of a run that then begins."""
_SHORT = 10.0
"""Seconds of a run whose time is not worth an estimate."""
_RECORD_BYTES = 40
"""Approximate size of the compressed records of one sample under one condition."""


@dataclass(frozen=True)
class Estimate:
    """The estimated costs of a run.

    Attributes:
        plan: The conditions.
        samples: Images of each condition.
        seconds: Seconds of each condition in the order of the plan, without decoding.
        decode_seconds: Seconds of decoding if nothing is cached.
        cache_bytes: Size of the decoded images on disk.
        run_bytes: Size of the run on disk.
        calibration: Images through the model for the statistics of treatments.
        calibration_seconds: Seconds for statistics on calibration images.
        attack: Largest number of forward and backward passes of an image for attacks.
    """

    plan: Plan
    samples: int
    seconds: tuple[float, ...]
    decode_seconds: float
    cache_bytes: int
    run_bytes: int
    calibration: int = 0
    calibration_seconds: float = 0.0
    attack: int = 0

    @property
    def forwards(self) -> int:
        """Number of images through the model."""
        frames = sum(condition_frames(one) for one in self.plan.conditions if one.attack is None)
        return self.calibration + self.samples * (frames + self.attack)


def estimate(
    classifier: Classifier, dataset: ImageDataset | str | Path, suites: Sequence[str], options: Options
) -> Estimate:
    """Time one batch under every corruption and extrapolate to all samples, without writing anything.

    Raises:
        RobenchError: An argument is invalid, or no image can be read.
    """
    images = dataset if isinstance(dataset, ImageDataset) else open_dataset(dataset)
    classifier, images = match_model_to_dataset(classifier, images)
    images = replace(images, pixels=classifier.preprocessing.pixels)
    options, _ = with_possible_attacks(options.on_machine(Machine.here(classifier.device)), suites, classifier, images)
    assert options.batch_size is not None
    check_kernels(options.kernels, classifier.device)
    adaptation = adapt(classifier, options.treatment, options.calibration, options.seed)
    plan = make_plan(suites, options, classifier.preprocessing, adaptation.gflops, adaptation.exits)
    adaptation.notes(plan.conditions)  # Refuses treatments that cannot be used.
    positions = choose_samples(images, options)
    few = positions[np.arange(min(_BATCH, len(positions))) * len(positions) // min(_BATCH, len(positions))]
    missing = check_released(images, few, plan.conditions, skip=options.skip_unreadable).missing
    few = few[~np.isin(few, list(missing))]
    if not len(few):
        raise DatasetError(
            f"none of the sampled images has a released file: {next(iter(missing.values()))}",
            "give the released files of the images in --data",
        )
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
        short, factor = _shortened(condition, classifier)
        if key not in measured:
            treated, session = adaptation.for_condition(condition, started)
            for _ in range(2):  # The first pass warms up.
                start = time.perf_counter()
                with kernel_scope(options.kernels):
                    evaluate_condition(
                        treated,
                        samples[condition.geometry],
                        short,
                        seed=options.seed,
                        batch_size=options.batch_size,
                        precision=options.precision,
                        session=session,
                    )
                measured[key] = factor * (time.perf_counter() - start) / len(few) * len(positions)
    by_policy = {policy: _calibration_seconds(adaptation, policy) for policy in {policy for policy, _ in calibrating}}
    return Estimate(
        plan=plan,
        samples=len(positions),
        seconds=tuple(measured[c.suite, c.corruption, c.geometry] for c in plan.conditions),
        decode_seconds=decode_seconds,
        cache_bytes=sum(decoded.images.pixels.nbytes for decoded in samples.values()) * len(positions) // len(few),
        run_bytes=_RECORD_BYTES * len(positions) * sum(map(condition_frames, plan.conditions)),
        calibration=sum(count for _, count in calibrating)
        + adaptation.estimation_frames(plan.conditions, len(positions)),
        attack=sum(
            attack_passes(one.attack, _classes(classifier)) for one in plan.conditions if one.attack is not None
        ),
        calibration_seconds=sum(by_policy[policy] * count for policy, count in calibrating),
    )


def remaining_seconds(prepared: PreparedRun, conditions: Sequence[Condition]) -> float | None:
    """Estimate the seconds of some conditions of a prepared run from one batch of each corruption.

    The measurement ends after `_PATIENCE` seconds, or at once for a short run. Corruptions that it did not
    reach get the mean time of the others.

    Returns:
        The seconds; None if another process evaluates the run, or if conditions cannot be cut into shards.
    """
    evaluator, samples = prepared.evaluator, len(prepared.samples)
    if evaluator is None or prepared.whole or not conditions:
        return None

    def seconds_of(condition: Condition, count: int) -> float:
        """Return the seconds of one image through the model."""
        short, factor = _shortened(condition, evaluator.classifier)
        shard = Shard(short, 0, count)
        return factor * evaluator.evaluate(shard).seconds / shard.frames

    few = min(_BATCH, samples)
    forwards = {condition: samples * condition_frames(condition) for condition in conditions}
    start = time.perf_counter()
    seconds_of(conditions[0], few)  # The first pass warms up.
    one = seconds_of(conditions[0], few)
    if one * sum(forwards.values()) < _SHORT:
        return None
    whole = min(prepared.batch_size, samples)  # A large batch is faster, but may take longer than the estimate may.
    count = whole if one * whole < _PATIENCE / 10 else few
    measured: dict[tuple[str, str], float] = {}
    for condition in conditions:
        key = condition.suite, condition.corruption
        # The first passes alone may have taken longer.
        if not measured or (key not in measured and time.perf_counter() - start < _PATIENCE):
            measured[key] = seconds_of(condition, count)
    mean = sum(measured.values()) / len(measured)
    return sum(count * measured.get((one.suite, one.corruption), mean) for one, count in forwards.items())


def _classes(classifier: Classifier) -> int:
    return classifier.classes if classifier.groups is None else len(classifier.groups)


def _shortened(condition: Condition, classifier: Classifier) -> tuple[Condition, float]:
    """Return a condition whose attacks have one update, and how much longer they take with all of theirs at most."""
    if condition.attack is None:
        return condition, 1.0
    short, classes = replace(condition.attack, steps=1), _classes(classifier)
    return replace(condition, attack=short), attack_passes(condition.attack, classes) / max(
        attack_passes(short, classes), 1
    )


def _calibration_seconds(adaptation: Adaptation, policy: str) -> float:
    """Return the seconds to decode a calibration image and classify it."""
    assert adaptation.calibration is not None
    start = time.perf_counter()
    for images in adaptation.calibration.batches(policy, adaptation.classifier.preprocessing, _BATCH):
        adaptation.classifier.logits(images)
    return (time.perf_counter() - start) / adaptation.calibration.count(_BATCH)


def _decode(images: ImageDataset, positions: Ints, geometry: Geometry) -> Samples:
    flat, sizes = [], []
    for position in positions.tolist():
        try:
            pixels = decode_one(images.read(position), geometry, images.border, pixels=images.pixels)
        except (DatasetError, OSError):
            pixels = np.zeros((images.pixels.bands, 64, 64), dtype=np.uint8)  # The run reports unreadable images.
            if geometry.has_one_shape:
                pixels = np.zeros((images.pixels.bands, *geometry.shape), dtype=np.uint8)
        flat.append(pixels.reshape(-1))
        sizes.append(pixels.shape[1:])
    stack = ImageStack(np.concatenate(flat), np.array(sizes, np.int64), images.pixels.bands)
    names = released_names(images, positions)
    return Samples(stack, np.arange(len(positions)), positions, images.labels[positions], names)
