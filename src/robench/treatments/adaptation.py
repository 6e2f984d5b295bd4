"""A classifier with treatments, checked at once and applied to a copy of the network later."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from robench.errors import CheckpointError, OptionError, one_line
from robench.models import Classifier
from robench.models.exits import Exits, exits_of, setting_names
from robench.models.formats.export_graph import GraphModule
from robench.suites import EXITS, Condition, find_suite
from robench.transforms.apply import condition_frames
from robench.treatments.base import PreparedModel, Treatment
from robench.treatments.calibration import Calibration, open_calibration
from robench.treatments.registry import TREATMENTS, parse_treatments
from robench.types import Size

__all__ = ["Adaptation", "adapt"]


@dataclass(frozen=True)
class Adaptation:
    """The treatments of a classifier, or none.

    Attributes:
        classifier: The classifier under its treated label, with its module untouched.
        treatments: The treatments in their order of application.
        calibration: Images for the treatments that estimate statistics on calibration images.
        layers: Number of layers that each treatment will change.
    """

    classifier: Classifier
    treatments: tuple[Treatment, ...] = ()
    calibration: Calibration | None = None
    layers: tuple[int, ...] = ()

    @property
    def label(self) -> str | None:
        """Name of the treatments in tables; None without treatments."""
        return "+".join(map(str, self.treatments)) or None

    @property
    def needs_whole_condition(self) -> bool:
        """Whether the treatment of an image may depend on any other sample of its condition."""
        return any(
            treatment.method.data in ("condition", "stream")
            or (treatment.method.data == "test batch" and treatment.images > 1)
            for treatment in self.treatments
        )

    @property
    def plugin_names(self) -> list[str]:
        """Names of the treatments that are not built in."""
        names = (treatment.method.name for treatment in self.treatments)
        return [name for name in names if name not in TREATMENTS]

    def start(self) -> PreparedModel:
        """Apply the treatments, in order, to a deep copy of the module, and estimate their statistics."""
        return self._apply(self.treatments)

    def for_condition(self, condition: Condition, started: PreparedModel) -> PreparedModel:
        """Return the result of `start`, or the untouched network without a session for the condition `untreated`."""
        return started if condition.treated else (self.classifier, None)

    def limited(self, images: int) -> Adaptation:
        """Return the same treatments with at most `images` calibration images, to estimate their costs."""
        few = (item.limited(images) if item.method.data == "calibration" else item for item in self.treatments)
        return replace(self, treatments=tuple(few))

    def gflops(self, input_size: Size) -> float | None:
        """Return `Classifier.gflops` of the treated network."""
        classifier, _ = self._apply([item for item in self.treatments if item.method.stage == "network"])
        return classifier.gflops(input_size)

    def exits(self) -> Exits:
        """Return the exits or settings of the treated network, see `exits_of`."""
        classifier, _ = self._apply([item for item in self.treatments if item.method.stage == "network"])
        return exits_of(classifier)

    def _apply(self, treatments: Sequence[Treatment]) -> PreparedModel:
        classifier, session = self.classifier, None
        if treatments:
            classifier = replace(classifier, module=_copied(classifier))
        for treatment in treatments:
            classifier, started = treatment.method.start(classifier, treatment.values, self.calibration)
            session = started or session
        return classifier, session

    def notes(self, conditions: Sequence[Condition], samples: int | None = None) -> list[str]:
        """Return what the treatments change, and the limits of their statistics, one line each.

        Args:
            conditions: Conditions of the run.
            samples: Number of samples of each condition, if known.

        Raises:
            OptionError: If a treatment cannot be used for a condition.
        """
        families = {condition.suite: find_suite(condition.suite).family for condition in conditions}
        framed = [suite for suite, family in families.items() if family.has_frames]
        compared = [suite for suite in framed if families[suite].compares_frames]
        lines = [
            f"{treatment} changes {count} layer{'' if count == 1 else 's'}"
            for treatment, count in zip(self.treatments, self.layers, strict=True)
        ]
        lines += [note for treatment in self.treatments for note in treatment.method.notes(treatment.values)]
        attacked = [condition.suite for condition in conditions if condition.attack is not None]
        for treatment in self.treatments:
            if attacked and treatment.method.data in ("test batch", "condition", "stream"):
                raise OptionError(
                    f"{treatment.method.name} estimates on the images that the model classifies, so that an attack on one image would "
                    "change the others",
                    f"omit {attacked[0]}, or use --treatment bn-calib",
                )
            if framed and treatment.method.frames == "refused":
                raise OptionError(
                    f"{treatment.method.name} learns from batch to batch, and so from frame to frame of a sample",
                    f"omit {', '.join(framed)}, or use --treatment bn-frozen",
                )
            lines += self._statistics_notes(treatment, compared, samples)
        return lines

    def _statistics_notes(self, treatment: Treatment, compared: Sequence[str], samples: int | None) -> Iterator[str]:
        method, images = treatment.method, treatment.images
        if method.data == "calibration":
            assert self.calibration is not None
            count = self.calibration.count(images)
            yield f"{treatment}: the statistics are of {count:,} calibration images{', all there are' * (count < images)}"
        elif samples is not None and method.data == "stream" and samples <= images:
            yield (
                f"{treatment}: a condition's {samples} images form one batch, but updates affect only later batches; "
                f"reduce {method.images}"
            )
        elif samples is not None and method.data != "none" and samples < images:
            yield f"{treatment}: the statistics are of all {samples:,} images of a condition, fewer than {images:,}"
        if compared and method.frames == "frozen" and images != 1:
            yield (
                f"{', '.join(compared)}: compared frames must not depend on the batch, so {treatment} is frozen, with statistics of "
                f"{images if samples is None else min(images, samples)} samples of each condition"
            )

    def calibration_passes(self, conditions: Sequence[Condition]) -> Iterator[tuple[str, int]]:
        """Yield the policy and the number of calibration images of each estimation of statistics."""
        if self.calibration is None:
            return
        sizes = {condition.geometry for condition in conditions if condition.native}
        settings = (
            len(setting_names(self.classifier.module)) if any(one.suite == EXITS.name for one in conditions) else 0
        )
        for treatment in self.treatments:
            if treatment.method.data == "calibration":
                policy, images = treatment.values.get("policy", "clean"), self.calibration.count(treatment.images)
                yield from [(str(policy), images)] * (
                    len(sizes) + 1 + settings if treatment.method.per_resolution else 1
                )

    def estimation_frames(self, conditions: Sequence[Condition], samples: int) -> int:
        """Return the number of frames of the conditions' own samples that statistics are estimated on."""
        total = 0
        for treatment in self.treatments:
            frozen = treatment.method.frames == "frozen" and treatment.images > 1
            for condition in conditions:
                compares = find_suite(condition.suite).family.compares_frames
                if treatment.method.data == "condition" or (frozen and compares):
                    total += min(treatment.images, samples) * condition_frames(condition)
        return total

    def fingerprint(self) -> dict[str, object]:
        """Return the facts that must be equal for all records of a run."""
        if not self.treatments:
            return {}
        facts: dict[str, object] = {"treatment": self.label}
        if self.calibration is not None:
            images = max(item.images for item in self.treatments if item.method.data == "calibration")
            facts["calibration"] = self.calibration.fingerprint(images)
        return facts


def _copied(classifier: Classifier) -> nn.Module:
    try:
        return copy.deepcopy(classifier.module)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{classifier.label} cannot be copied to be treated ({one_line(error)})", "omit --treatment"
        ) from error


def adapt(classifier: Classifier, texts: Sequence[str], calibration: str | Path | None, seed: int) -> Adaptation:
    """Return a classifier with treatments, without any heavy work.

    Args:
        classifier: The classifier to treat.
        texts: Treatments such as `bn-prior:N=16`; one text may hold several, separated by commas.
        calibration: Dataset of the treatments that estimate statistics on calibration images.
        seed: Seed of the order and the augmentation of calibration images.

    Raises:
        OptionError: If a treatment is unknown, or if treatments cannot be combined.
        CheckpointError: If a treatment cannot change the network.
    """
    treatments = tuple(treatment.complete(classifier.preprocessing.side) for treatment in parse_treatments(texts))
    calibrated = [treatment.method.name for treatment in treatments if treatment.method.data == "calibration"]
    if calibrated and calibration is None:
        raise OptionError(
            f"{calibrated[0]} estimates its statistics on calibration images",
            "give --calibration DIR, such as a part of the training images",
        )
    if calibration is not None and not calibrated:
        raise OptionError("--calibration goes with --treatment bn-calib or bn-resolution", "omit --calibration")
    if not treatments:
        return Adaptation(classifier)
    if not classifier.torch_runs or any(
        isinstance(module, GraphModule | torch.jit.ScriptModule) for module in classifier.module.modules()
    ):
        raise CheckpointError(
            f"{classifier.label} is an exported program, whose layers cannot be changed",
            "use --treatment with the checkpoint that it was exported from",
        )
    images = None if calibration is None else open_calibration(calibration, seed)
    if images is not None:
        treatments = tuple(
            replace(treatment, calibration=images.images.name) if treatment.method.data == "calibration" else treatment
            for treatment in treatments
        )
    layers = tuple(treatment.method.layers(classifier.module, treatment.values) for treatment in treatments)
    label = "+".join([classifier.label, *map(str, treatments)])
    return Adaptation(replace(classifier, label=label), treatments, images, layers)
