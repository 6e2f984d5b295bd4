"""Specs, from which any machine builds the same evaluator again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from robench.datasets import (
    Decoded,
    Hashes,
    ImageDataset,
    Name,
    Origin,
    check_released,
    decode,
    find_decoded,
    hash_images,
    open_dataset,
)
from robench.errors import CheckpointError, DatasetError, RunError
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.options import Options
from robench.evaluation.provenance import own_code, version_here
from robench.evaluation.samples import Samples
from robench.models import load_classifier
from robench.plugins import is_own
from robench.suites import Condition, find_suite
from robench.suites.geometry import Geometry, PixelFormat
from robench.transforms.own import read_names
from robench.treatments import adapt
from robench.types import Ints

__all__ = ["EvaluatorSpec"]


@dataclass(frozen=True)
class EvaluatorSpec:
    """Everything about an evaluator except the network and the pixels.

    Attributes:
        suites: Names of the suites, and `file.py:object`.
        code: Version of each package whose code computes the records, in addition to `environment.software`.
        own_code: Hash of each own file of the suites, by the name of the suite.
        model: Arguments of `load_classifier`.
        sha256: SHA-256 of the model.
        head_facts: Facts of a head that robench made; empty for a head of the file.
        classes: Number of classes of the selected output.
        groups: Groups of its columns.
        group_rule: As in `Classifier`.
        treatment: Fingerprint of the treatments in `options` with their calibration images.
        options: Options of the run.
        data: Arguments of `open_dataset`.
        border: Border of the dataset's images.
        pixels: Bands and range of values of the decoded images.
        hashes: Hashes of all chosen images.
        geometries: Geometries of the decoded images.
        rows: As in `Samples`.
        index: As in `Samples`.
        label: As in `Samples`.
        names: As in `Samples`.
        label_sets: As in `Samples`.
        released: Conditions with released files.
        fingerprints: Fingerprints of the released files by condition.
    """

    suites: tuple[str, ...]
    code: Mapping[str, str]
    own_code: Mapping[str, str]
    model: Mapping[str, Any]
    sha256: str
    head_facts: Mapping[str, Any]
    classes: int
    groups: tuple[tuple[int, ...], ...] | None
    group_rule: Literal["max", "mean"]
    treatment: Mapping[str, object]
    options: Options
    data: Origin
    border: int
    pixels: PixelFormat
    hashes: Hashes
    geometries: tuple[Geometry, ...]
    rows: Ints
    index: Ints
    label: Ints
    names: tuple[Name, ...]
    label_sets: Ints | None
    released: tuple[Condition, ...]
    fingerprints: Mapping[str, str]

    def build(self, device: str) -> Evaluator:
        """Build the evaluator on a device of this process.

        Raises:
            RunError: A package has another version here.
            CheckpointError: The model cannot be loaded, or its file differs.
            DatasetError: The images or released files cannot be read, or differ.
        """
        versions = {name: version_here(name) or "none" for name in self.code}
        others = [
            f"{name} {versions[name]} instead of {there}"
            for name, there in self.code.items()
            if versions[name] != there
        ]
        if others:
            raise RunError("; ".join(others), "install the same versions")
        names, _ = read_names(self.suites, self.options.corruption)
        if own_code(find_suite(name) for name in names if is_own(name)) != self.own_code:
            raise RunError(f"{' and '.join(self.own_code)} has other code here", "copy the file again")
        classifier = load_classifier(**self.model, device=device)
        if classifier.sha256 != self.sha256:
            raise CheckpointError(
                f"{self.model['model']} is another file here (SHA-256 {classifier.sha256[:12]} instead of "
                f"{self.sha256[:12]})",
                "copy it again",
            )
        if classifier.head_facts != self.head_facts:
            raise CheckpointError(f"the head of {classifier.label} has other files here", "copy them again")
        classifier = classifier.with_classes(self.classes)
        if self.groups is not None:
            classifier = classifier.with_class_groups(self.groups, self.group_rule)
        adaptation = adapt(classifier, self.options.treatment, self.options.calibration, self.options.seed)
        if adaptation.fingerprint() != self.treatment:
            raise DatasetError(f"--calibration {self.options.calibration} has other images here", "copy it again")
        if self.released:
            self._check_released()
        samples = {
            geometry: Samples(decoded.images, self.rows, self.index, self.label, self.names, self.label_sets)
            for geometry, decoded in zip(self.geometries, self._decoded(), strict=True)
        }
        return Evaluator(adaptation, samples, self.options)

    def _decoded(self) -> list[Decoded]:
        """Return the pixels from this machine's cache, or decode the images after a check of their hashes."""
        cached = [find_decoded(self.hashes, geometry, self.border, self.pixels) for geometry in self.geometries]
        decoded = [images for images in cached if images is not None]
        if len(decoded) == len(cached):
            return decoded
        dataset = replace(open_dataset(*self.data), pixels=self.pixels)
        self._check_images(dataset)
        return [
            images or decode(dataset, self.hashes, geometry, skip=self.options.skip_unreadable)
            for images, geometry in zip(cached, self.geometries, strict=True)
        ]

    def _check_images(self, dataset: ImageDataset) -> None:
        positions = self.hashes.positions
        difference = f"{len(dataset):,} of them"
        if positions.max() < len(dataset):
            here = hash_images(dataset, positions).sha
            others = [
                position
                for position, sha, expected in zip(positions.tolist(), here, self.hashes.sha, strict=True)
                if sha != expected
            ]
            if not others:
                return
            difference = f"{len(others):,} of {len(positions):,}, for example {dataset.paths[others[0]]}"
        raise DatasetError(f"{self.data[0]} has other images here, {difference}", "copy it again")

    def _check_released(self) -> None:
        dataset = open_dataset(*self.data)
        skip = self.options.skip_unreadable
        here = check_released(dataset, self.hashes.positions, self.released, skip=skip).fingerprints
        others = [name for name in here if here[name] != self.fingerprints[name]]
        if others:
            raise DatasetError(f"--released has other files here, for example of {others[0]}", "copy them again")
