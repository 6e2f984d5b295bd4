"""A classifier with treatments: checked at once, changed on a deep copy when it is needed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from robench.errors import CheckpointError, OptionError, one_line
from robench.models import Classifier
from robench.models.formats.export_graph import GraphModule
from robench.suites import UNTREATED, Condition, find_suite
from robench.transforms.apply import condition_frames
from robench.treatments.base import PreparedModel, Treatment
from robench.treatments.bn_test_batch import ALL_IMAGES
from robench.treatments.calibration import Calibration, open_calibration
from robench.treatments.registry import TREATMENTS, parse_treatments

__all__ = ["Adaptation", "adapt"]


@dataclass(frozen=True)
class Adaptation:
    """What is done to a classifier before and while it is measured; nothing where there are no treatments.

    classifier: under its treated label, its module untouched.  treatments: in the order in which they are applied.
    calibration: the images for those that take some.  layers: how many each will change.
    """

    classifier: Classifier
    treatments: tuple[Treatment, ...] = ()
    calibration: Calibration | None = None
    layers: tuple[int, ...] = ()

    @property
    def label(self) -> str | None:
        """The treatments as tables name them, None for none."""
        return "+".join(map(str, self.treatments)) or None

    @property
    def whole(self) -> bool:
        """Whether what an image is treated with may depend on any other sample of its condition."""
        return any(
            one.method.data in ("condition", "stream") or (one.method.data == "test batch" and one.images > 1)
            for one in self.treatments
        )

    @property
    def offered(self) -> list[str]:
        """The names of those treatments that are not built in."""
        return [one.method.name for one in self.treatments if one.method.name not in TREATMENTS]

    def start(self) -> PreparedModel:
        """Apply the treatments, in order, to a deep copy of the module; estimating statistics may take a while."""
        return self._started(self.treatments)

    def for_condition(self, condition: Condition, started: PreparedModel) -> PreparedModel:
        """Return what evaluates a condition: what `start` returned, or the untouched network without a session."""
        return (self.classifier, None) if condition.corruption == UNTREATED else started

    def limited(self, images: int) -> Adaptation:
        """Return it with statistics of at most so many calibration images, for a look at its costs."""
        few = (one.limited(images) if one.method.data == "calibration" else one for one in self.treatments)
        return replace(self, treatments=tuple(few))

    def gflops(self, side: int) -> float | None:
        """Count the operations of the network as it will be run, as `Classifier.gflops` does."""
        shaped, _ = self._started([one for one in self.treatments if one.method.stage == "network"])
        return shaped.gflops(side)

    def _started(self, treatments: Sequence[Treatment]) -> PreparedModel:
        classifier, session = self.classifier, None
        if treatments:
            classifier = replace(classifier, module=_copied(classifier))
        for treatment in treatments:
            classifier, now = treatment.method.start(classifier, treatment.values, self.calibration)
            session = now or session
        return classifier, session

    def notes(self, conditions: Sequence[Condition], samples: int | None = None) -> list[str]:
        """Say what was changed, and where a method is of its frozen kind; OptionError where it cannot be used at all.

        samples: of each condition, where the caller knows them: they may be fewer than a method's statistics are meant to be of.
        """
        lines = [
            f"{one} changes {count} layer{'' if count == 1 else 's'}"
            for one, count in zip(self.treatments, self.layers, strict=True)
        ]
        lines += [remark for one in self.treatments for remark in one.method.notes(one.values)]
        families = {one.suite: find_suite(one.suite).family for one in conditions}
        framed = [suite for suite, family in families.items() if family != "corruptions"]
        compared = [suite for suite in framed if families[suite] not in ALL_IMAGES]
        for one in self.treatments:
            if framed and one.method.frames == "refused":
                raise OptionError(
                    f"{one.method.name} learns from batch to batch, and would from one frame of a sample to the next: leave out "
                    f"{', '.join(framed)}, or give --treatment bn-frozen"
                )
            if one.method.data == "stream" and samples is not None and samples <= one.images:
                lines.append(
                    f"{one}: a condition's {samples} images are one batch, and what is learnt from a batch counts in the next: nothing "
                    f"is learnt here that counts; give a smaller {one.method.images}"
                )
            elif one.method.data != "none":
                lines += self._fewer(one, samples)
            if compared and one.method.frames == "frozen" and one.images != 1:
                images = one.images if samples is None else min(one.images, samples)
                lines.append(
                    f"{', '.join(compared)}: what is compared there must not depend on the batch, so {one} is frozen: its statistics "
                    f"are of {images} samples of each condition"
                )
        return lines

    def _fewer(self, one: Treatment, samples: int | None) -> Iterator[str]:
        """Say of how many images the statistics are: of calibration images always, of a condition's where the label says more."""
        if one.method.data == "calibration":
            assert self.calibration is not None
            count = self.calibration.count(one.images)
            yield f"{one}: its statistics are of {count:,} calibration images{', all there are' * (count < one.images)}"
        elif samples is not None and samples < one.images:
            yield f"{one}: a condition has {samples:,} images, fewer than {one.images:,}: its statistics are of these alone"

    def calibrating(self, conditions: Sequence[Condition]) -> Iterator[tuple[str, int]]:
        """Yield the policy and the number of the calibration images, each time that statistics are estimated on them."""
        if self.calibration is None:
            return
        for one in self.treatments:
            if one.method.data == "calibration":
                images = self.calibration.count(one.images)
                native = {condition.geometry for condition in conditions if condition.native}
                times = len(native) + 1 if one.method.per_resolution else 1
                yield from [(str(one.values.get("policy", "clean")), images)] * times

    def estimating(self, conditions: Sequence[Condition], samples: int) -> int:
        """Return how many frames of the conditions' own samples statistics are estimated on."""
        total = 0
        for one in self.treatments:
            for condition in conditions:
                frozen = (
                    one.method.frames == "frozen"
                    and one.images > 1
                    and find_suite(condition.suite).family not in ALL_IMAGES
                )
                if frozen or one.method.data == "condition":
                    total += min(one.images, samples) * condition_frames(condition)
        return total

    def fingerprint(self) -> dict[str, object]:
        """What must be equal for records to stand in one run."""
        if not self.treatments:
            return {}
        found: dict[str, object] = {"treatment": self.label}
        if self.calibration is not None:
            most = max(one.images for one in self.treatments if one.method.data == "calibration")
            found["calibration"] = self.calibration.fingerprint(most)
        return found


def _copied(classifier: Classifier) -> nn.Module:
    try:
        return copy.deepcopy(classifier.module)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{classifier.label} cannot be copied to be treated ({one_line(error)}): leave --treatment out"
        ) from error


def adapt(classifier: Classifier, texts: Sequence[str], calibration: str | Path | None, seed: int) -> Adaptation:
    """Return the classifier with the treatments that `texts` name; nothing heavy is done yet.

    calibration: the dataset of those that take calibration images.
    Raises OptionError for treatments that are unknown or do not go together, CheckpointError for a network that they cannot change.
    """
    treatments = tuple(one.complete(classifier.preprocessing.crop) for one in parse_treatments(texts))
    needing = [one.method.name for one in treatments if one.method.data == "calibration"]
    if needing and calibration is None:
        raise OptionError(
            f"{needing[0]} estimates its statistics on images of their own: give --calibration DIR, such as some of the "
            "training images"
        )
    if calibration is not None and not needing:
        raise OptionError("--calibration goes with --treatment bn-calib or bn-resolution: leave it out")
    if not treatments:
        return Adaptation(classifier)
    if not classifier.torch_runs or any(
        isinstance(one, GraphModule | torch.jit.ScriptModule) for one in classifier.module.modules()
    ):
        raise CheckpointError(
            f"{classifier.label} is an exported program, whose layers cannot be changed: give --treatment with the checkpoint that it "
            "was made from"
        )
    images = None if calibration is None else open_calibration(calibration, seed)
    if images is not None:
        name = images.images.name
        treatments = tuple(
            replace(one, calibration=name) if one.method.data == "calibration" else one for one in treatments
        )
    layers = tuple(one.method.layers(classifier.module, one.values) for one in treatments)
    label = "+".join([classifier.label, *map(str, treatments)])
    return Adaptation(replace(classifier, label=label), treatments, images, layers)
