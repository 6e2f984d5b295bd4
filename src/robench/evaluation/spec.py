"""How an evaluation is made again in another process, on any machine: by name and argument, and checked against the first one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.datasets import (
    Decoded,
    Hashes,
    ImageDataset,
    Name,
    check_released,
    decode,
    find_decoded,
    hash_images,
    open_dataset,
)
from robench.errors import CheckpointError, DatasetError, RunError
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.options import Options
from robench.evaluation.provenance import version_here
from robench.evaluation.samples import Samples
from robench.models import load_classifier
from robench.suites import Condition
from robench.suites.geometry import Geometry
from robench.treatments import adapt
from robench.types import Ints

__all__ = ["EvaluatorSpec"]


@dataclass(frozen=True)
class EvaluatorSpec:
    """Everything of an evaluation but what is heavy: the network and the pixels.

    code: version of each package whose code makes the records, beside those of `machine.software`.
    model, sha256: arguments of `load_classifier`, and what they must load.  classes: of the output that is taken.
    groups: of its columns.
    treatment: fingerprint of the treatments that `options` name, with their calibration images.
    data, border: arguments of `open_dataset`, and the dataset's border.
    hashes: of all chosen images.  geometries: under which they are decoded.
    rows, index, label, names: as in `Samples`.
    released: conditions of published files, and the fingerprints of these.
    """

    code: Mapping[str, str]
    model: Mapping[str, Any]
    sha256: str
    classes: int
    groups: tuple[tuple[int, ...], ...] | None
    treatment: Mapping[str, object]
    options: Options
    data: tuple[str | Path, Path | None]
    border: int
    hashes: Hashes
    geometries: tuple[Geometry, ...]
    rows: Ints
    index: Ints
    label: Ints
    names: tuple[Name, ...]
    released: tuple[Condition, ...]
    fingerprints: Mapping[str, str]

    def make(self, device: str) -> Evaluator:
        """Return the evaluation, on a device of this process.

        Raises RunError, CheckpointError or DatasetError where packages, the model's file or the images are others than the
        recipe's, and what else `load_classifier` and `decode` raise.
        """
        other = [
            f"{name} {here or 'none'} instead of {there}"
            for name, there in self.code.items()
            if (here := version_here(name)) != there
        ]
        if other:
            raise RunError(f"{'; '.join(other)}: install the same")
        classifier = load_classifier(**self.model, device=device)
        if classifier.sha256 != self.sha256:
            raise CheckpointError(
                f"{self.model['model']} is another file here (SHA-256 {classifier.sha256[:12]} instead of {self.sha256[:12]}): "
                "copy it again"
            )
        classifier = classifier.with_classes(self.classes)
        if self.groups is not None:
            classifier = classifier.with_class_groups(self.groups)
        adaptation = adapt(classifier, self.options.treatments, self.options.calibration, self.options.seed)
        if adaptation.fingerprint() != self.treatment:
            raise DatasetError(f"--calibration {self.options.calibration} holds other images here: copy it again")
        if self.released:
            self._check_released()
        decoded = self._decoded()
        samples = {
            geometry: Samples(one.images, self.rows, self.index, self.label, self.names)
            for geometry, one in zip(self.geometries, decoded, strict=True)
        }
        return Evaluator(adaptation, samples, self.options)

    def _decoded(self) -> list[Decoded]:
        """The pixels, from this machine's cache, or into it from the images after they were found to be the same."""
        found = [find_decoded(self.hashes, geometry, self.border) for geometry in self.geometries]
        if None in found:
            images = open_dataset(*self.data)
            self._check_images(images)
            skip = self.options.skip_unreadable
            found = [
                one or decode(images, self.hashes, geometry, skip=skip)
                for one, geometry in zip(found, self.geometries, strict=True)
            ]
        return [one for one in found if one is not None]

    def _check_images(self, images: ImageDataset) -> None:
        positions = self.hashes.positions
        if positions.max() < len(images):
            here = hash_images(images, positions).sha
            other = [at for at, sha, mine in zip(positions.tolist(), here, self.hashes.sha, strict=True) if sha != mine]
            if not other:
                return
            raise DatasetError(
                f"{self.data[0]} holds other images here, {len(other):,} of {len(positions):,}, for example "
                f"{images.paths[other[0]]}: copy it again"
            )
        raise DatasetError(f"{self.data[0]} holds other images here, {len(images):,} of them: copy it again")

    def _check_released(self) -> None:
        images = open_dataset(*self.data)
        skip = self.options.skip_unreadable
        here = check_released(images, self.hashes.positions, self.released, skip=skip).fingerprints
        other = [name for name in here if here[name] != self.fingerprints[name]]
        if other:
            raise DatasetError(f"--released holds other files here, for example those of {other[0]}: copy them again")
