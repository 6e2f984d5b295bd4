"""Statistics estimated once on some samples of a condition, and frozen for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from robench.models import Classifier
from robench.suites import Condition, find_suite
from robench.treatments.base import IMAGES, Method, Parameter, PreparedModel, Sample, Values, count
from robench.treatments.batch_norm import BatchNorms, Moments, count_batch_norms
from robench.types import Images

__all__ = ["BN_FROZEN", "freeze", "pool"]


def pool(
    classifier: Classifier, layers: BatchNorms, batches: Iterable[tuple[int, Images]], native: bool = False
) -> dict[int, list[Moments]]:
    """Return the moments of every layer over all batches of a key, while each batch is normalised with its own."""
    return layers.pool((key, partial(classifier.logits, images, native=native)) for key, images in batches)


def freeze(
    classifier: Classifier,
    layers: BatchNorms,
    condition: Condition,
    sample: Sample,
    images: int,
    prior: float = 0.0,
) -> dict[int, list[Moments]]:
    """Estimate statistics on at most `images` samples of a condition, mixed with `prior` as in `batch_norm.mix`.

    Returns:
        Moments of each layer by number of the frame. Positions on an axis have separate statistics. The frames of a
        sequence and of a shift, which are compared, share those of frame 0.
    """
    shared = find_suite(condition.suite).family.shares_statistics
    samples = 0

    def batches() -> Iterator[tuple[int, Images]]:
        nonlocal samples
        for frame in sample(images):
            samples += len(frame.images) if frame.number == 0 else 0
            yield 0 if shared else frame.number, frame.images

    pooled = pool(classifier, layers, batches(), condition.native)
    return {key: layers.mix(moments, prior, samples) if prior else moments for key, moments in pooled.items()}


@dataclass(frozen=True)
class _Frozen:
    classifier: Classifier
    layers: BatchNorms
    images: int
    moments: dict[int, list[Moments]] = field(default_factory=dict)

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        self.moments.clear()
        self.moments.update(freeze(self.classifier, self.layers, condition, sample, self.images))
        self.before_batch(0)
        return None

    def before_batch(self, frame: int) -> None:
        self.layers.fix(self.moments.get(frame, self.moments[0]))


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    return classifier, _Frozen(classifier, BatchNorms(classifier.module), int(values["M"]))


BN_FROZEN = Method(
    name="bn-frozen",
    summary="statistics estimated once on M samples of the condition, then plain evaluation",
    data="condition",
    per_image="once estimated",
    source="bn-test with frozen statistics; moments pooled in float64",
    stage="statistics",
    parameters=(Parameter("M", count, IMAGES, (1000, 1000)),),
    images="M",
    layers=lambda module, _: count_batch_norms(module),
    start=_start,
)
