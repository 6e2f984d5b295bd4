"""Statistics estimated once on some samples of a condition, and frozen for all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from robench.models import Classifier
from robench.suites import Condition
from robench.treatments.layers import BatchNorms, Moments, count_batch_norms
from robench.treatments.treatment import IMAGES, Method, Parameter, Sample, Started, Values, count
from robench.types import Images

__all__ = ["BN_FROZEN", "freeze", "pool"]


def pool(classifier: Classifier, layers: BatchNorms, batches: Iterable[Images], native: bool = False) -> list[Moments]:
    """Return the moments of every layer over all batches, while each of them is normalised with its own."""
    with layers.pooling() as moments:
        for images in batches:
            classifier.logits(images, native=native)
    return moments


def freeze(
    classifier: Classifier,
    layers: BatchNorms,
    condition: Condition,
    sample: Sample,
    images: int,
    prior: float = 0.0,
) -> None:
    """Estimate the statistics on so many samples of a condition, and keep them; prior: as in `layers.mixed`."""
    moments = pool(classifier, layers, sample(images), condition.native)
    layers.fix(layers.mix(moments, prior, images) if prior else moments)


@dataclass(frozen=True)
class _Frozen:
    classifier: Classifier
    layers: BatchNorms
    images: int

    def begin(self, condition: Condition, sample: Sample) -> int | None:
        freeze(self.classifier, self.layers, condition, sample, self.images)
        return None


def _start(classifier: Classifier, values: Values, _: object) -> Started:
    return classifier, _Frozen(classifier, BatchNorms(classifier.module), int(values["M"]))


BN_FROZEN = Method(
    name="bn-frozen",
    summary="statistics estimated once on M samples of the condition, then plain evaluation",
    data="condition",
    per_image="once estimated",
    source="the frozen kind of bn-test; moments pooled in float64",
    stage="statistics",
    parameters=(Parameter("M", count, IMAGES, (1000, 1000)),),
    layers=lambda module, _: count_batch_norms(module),
    start=_start,
)
