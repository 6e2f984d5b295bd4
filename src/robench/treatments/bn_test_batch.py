"""Statistics of the test batch: alone, mixed with the checkpoint's, or of groups of images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from robench.models import Classifier
from robench.suites import Condition, find_suite
from robench.treatments.base import IMAGES, Method, Parameter, PreparedModel, Sample, Value, count, number
from robench.treatments.batch_norm import BatchNorms, Moments, count_batch_norms
from robench.treatments.bn_frozen import freeze

__all__ = ["BN_PRIOR", "BN_TEST", "LOCALNORM"]


@dataclass(frozen=True)
class _TestBatch:
    """Statistics of every test batch of `images`; frozen statistics of `images` samples if frames are compared.

    In that case, only the network should decide whether a prediction stays, not the other images of the batch.
    """

    classifier: Classifier
    layers: BatchNorms
    images: int
    prior: float = 0.0
    frozen: dict[int, list[Moments]] = field(default_factory=dict)

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        self.frozen.clear()
        if self.images == 1:
            self.layers.by_image(self.prior)
            return None
        if find_suite(condition.suite).family.compares_frames:
            self.frozen.update(freeze(self.classifier, self.layers, condition, sample, self.images, self.prior))
            self.before_batch(0)
            return None
        self.layers.by_batch(self.prior)
        return self.images

    def before_batch(self, frame: int) -> None:
        if self.frozen:
            self.layers.fix(self.frozen.get(frame, self.frozen[0]))


def _started(classifier: Classifier, images: Value, prior: Value = 0.0) -> PreparedModel:
    return classifier, _TestBatch(classifier, BatchNorms(classifier.module), int(images), float(prior))


BN_TEST = Method(
    name="bn-test",
    summary="normalise with the statistics of the test batch",
    data="test batch",
    per_image="where n=1",
    source="Nado et al. 2020, arXiv:2006.10963 (prediction-time BatchNorm)",
    stage="statistics",
    frames="frozen",
    parameters=(Parameter("n", count, IMAGES, (64, 64)),),
    images="n",
    layers=lambda module, _: count_batch_norms(module),
    start=lambda classifier, values, _: _started(classifier, values["n"]),
)

BN_PRIOR = Method(
    name="bn-prior",
    summary="statistics of the test batch, mixed with the checkpoint's with the weight of N images",
    data="test batch",
    per_image="where n=1",
    source="Schneider et al. 2020, arXiv:2006.16971",
    stage="statistics",
    frames="frozen",
    keeps_running_stats=True,
    parameters=(
        Parameter("N", number, "a number of at least 0, or inf", (16.0, 16.0)),
        Parameter("n", count, IMAGES, (8, 8)),
    ),
    images="n",
    layers=lambda module, _: count_batch_norms(module),
    start=lambda classifier, values, _: _started(classifier, values["n"], values["N"]),
)

LOCALNORM = replace(
    BN_TEST,
    name="localnorm",
    summary="statistics of groups of g test images, without the checkpoint's",
    per_image="where g=1",
    source="Yin et al. 2019, arXiv:1902.06550",
    parameters=(Parameter("g", count, IMAGES, (16, 16)),),
    images="g",
    start=lambda classifier, values, _: _started(classifier, values["g"]),
)
