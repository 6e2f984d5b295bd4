"""Statistics estimated on calibration images, once for the network or once for each input size."""

from __future__ import annotations

from dataclasses import dataclass, field

from robench.models import Classifier
from robench.models.exits import at_setting, setting_names
from robench.suites import EXITS, Condition
from robench.suites.geometry import Geometry
from robench.treatments.augmentation import POLICIES
from robench.treatments.base import IMAGES, Method, Parameter, PreparedModel, Sample, Values, count, one_of
from robench.treatments.batch_norm import BatchNorms, Moments, count_batch_norms
from robench.treatments.bn_frozen import pool
from robench.treatments.calibration import Calibration

__all__ = ["BN_CALIB", "BN_RESOLUTION"]


def _calibrated(classifier: Classifier, values: Values, calibration: Calibration | None) -> PreparedModel:
    assert calibration is not None
    layers = BatchNorms(classifier.module)
    batches = calibration.batches(str(values["policy"]), classifier.preprocessing, int(values["M"]))
    layers.fix(pool(classifier, layers, ((0, images) for images in batches))[0])
    layers.release()
    return classifier, None


BN_CALIB = Method(
    name="bn-calib",
    summary="statistics estimated on calibration images, as in the test or weakly or strongly augmented",
    data="calibration",
    per_image="yes",
    source="Merchant et al. 2020, arXiv:2010.07810 (split BatchNorms)",
    stage="calibration",
    parameters=(
        Parameter("policy", one_of(*POLICIES), " | ".join(POLICIES), ("clean", "clean"), bare=True),
        Parameter("M", count, IMAGES, (10_000, 10_000)),
    ),
    images="M",
    layers=lambda module, _: count_batch_norms(module),
    start=_calibrated,
)


@dataclass(frozen=True)
class _ByResolution:
    """Statistics of every geometry that the network has run at, and of every setting such as a width."""

    classifier: Classifier
    layers: BatchNorms
    images: int
    calibration: Calibration
    moments: dict[tuple[Geometry, str | None], list[Moments]] = field(default_factory=dict)
    frames: list[list[Moments]] = field(default_factory=list)

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        preprocessing = self.classifier.preprocessing
        has_exits = condition.suite == EXITS.name
        geometry = condition.geometry if condition.native or has_exits else preprocessing.geometry()
        names = setting_names(self.classifier.module) if has_exits else ()
        self.frames[:] = [self._of(geometry, name, condition.native) for name in names or (None,)]
        self.layers.fix(self.frames[0])
        return None

    def _of(self, geometry: Geometry, name: str | None, native: bool) -> list[Moments]:
        """Return the statistics at a geometry and a setting; None for the setting of the other suites."""
        preprocessing = self.classifier.preprocessing
        if (geometry, name) not in self.moments:
            images = self.calibration.batches("clean", preprocessing, self.images, geometry)
            batches = ((0, batch) for batch in images)
            with at_setting(self.classifier.module, name):
                self.moments[geometry, name] = pool(self.classifier, self.layers, batches, native)[0]
        return self.moments[geometry, name]

    def before_batch(self, frame: int) -> None:
        """Choose the statistics of the setting."""
        if len(self.frames) > 1:
            self.layers.fix(self.frames[frame])


def _by_resolution(classifier: Classifier, values: Values, calibration: Calibration | None) -> PreparedModel:
    assert calibration is not None
    layers = BatchNorms(classifier.module)
    return classifier, _ByResolution(classifier, layers, int(values["M"]), calibration)


BN_RESOLUTION = Method(
    name="bn-resolution",
    summary="separate statistics for every input size, estimated on calibration images of that size",
    data="calibration",
    per_image="yes",
    source="arXiv:1909.00182 (Scale Calibrated Training); RS-Nets",
    stage="statistics",
    parameters=(Parameter("M", count, IMAGES, (4608, 4608)),),
    images="M",
    per_resolution=True,
    layers=lambda module, _: count_batch_norms(module),
    start=_by_resolution,
)
