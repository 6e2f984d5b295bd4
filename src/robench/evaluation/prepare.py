"""What comes before a run's work: everything that can be wrong is found, and the images are decoded; nothing of the run is written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from robench.analysis.baselines import BASELINES
from robench.analysis.scoring import notes as score_notes
from robench.datasets import (
    Decoded,
    Hashes,
    ImageDataset,
    check_released,
    decode,
    double_resize_note,
    fit_classes,
    hash_images,
    open_dataset,
    released_names,
    select,
)
from robench.errors import CheckpointError, DatasetError, OptionError, RunError, unknown_name
from robench.evaluation.environment import Machine
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.manifest import make_manifest
from robench.evaluation.options import Options
from robench.evaluation.plan import Plan, make_plan
from robench.evaluation.provenance import code_of_run
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard, shards_of
from robench.evaluation.spec import EvaluatorSpec
from robench.models import Classifier
from robench.runs.directory import RunDirectory
from robench.runs.observer import Observer
from robench.runs.schema import check_cell
from robench.suites import Condition, find_suite
from robench.suites.geometry import Geometry
from robench.treatments import adapt
from robench.types import Ints

__all__ = ["PreparedRun", "choose_samples", "default_run_path", "match_model_to_dataset", "prepare"]


@dataclass(frozen=True)
class PreparedRun:
    """A run that can begin.

    path: of its directory.  manifest: as it would be written anew.  samples: table of tables.SAMPLES.
    plan: its conditions.  batch_size: of the run.  whole: whether a condition cannot be cut into shards.
    recipe: for workers elsewhere, None where the model or the dataset was not made by name.
    evaluation: for this process; None where workers elsewhere make theirs.
    decoding: seconds that reading and decoding took.
    """

    path: Path
    manifest: dict[str, Any]
    samples: pd.DataFrame
    plan: Plan
    batch_size: int
    whole: bool
    spec: EvaluatorSpec | None
    evaluation: Evaluator | None
    decoding: float = 0.0

    def shards(self, condition: Condition) -> list[Shard]:
        """Cut a condition into what engines work on."""
        return shards_of(condition, len(self.samples), self.batch_size, self.whole)


def prepare(
    classifier: Classifier,
    dataset: ImageDataset | str | Path,
    suites: Sequence[str],
    out: str | Path | None,
    options: Options,
    observer: Observer,
    machine: Machine | None = None,
    folder: Path | None = None,
) -> PreparedRun:
    """Check everything that a user can have wrong, hash and decode the images, and say what the run is.

    out, folder: as `default_run_path` has them.  machine: that will compute it; None for the classifier's device in this process.
    """
    images = dataset if isinstance(dataset, ImageDataset) else open_dataset(dataset)
    classifier, images = match_model_to_dataset(classifier, images)
    if options.precision in ("bf16", "fp16") and classifier.dtype != torch.float32:
        kind_of = str(classifier.dtype).removeprefix("torch.")
        raise OptionError(f"{classifier.label} was stored in {kind_of} and computes in that: leave --precision out")
    if options.precision != "fp32" and not classifier.torch_runs:
        raise OptionError(
            f"{classifier.label} is not computed by torch, and has the precision of its file: leave --precision out"
        )
    check_cell("dataset", images.name)
    adaptation = adapt(classifier, options.treatments, options.calibration, options.seed)
    classifier = adaptation.classifier
    check_cell("model", classifier.label)
    plan = make_plan(suites, options, classifier.preprocessing, adaptation.gflops)
    positions = choose_samples(images, options)
    plan = replace(plan, notes=(*plan.notes, *adaptation.notes(plan.conditions, len(positions))))
    path = default_run_path(classifier.label, images.name, suites, out, folder)
    _check_output_path(path, options, images.root)

    from_files = tuple(condition for condition in plan.conditions if condition.files is not None)
    if from_files:
        observer.phase("finding released files", len(from_files) * len(positions))
    released = check_released(images, positions, from_files, skip=options.skip_unreadable, advance=observer.advance)
    start = time.perf_counter()
    observer.phase("reading", len(positions))
    hashes = hash_images(images, positions, observer.advance)
    decoded = _decode(images, hashes, plan, options, observer)
    decoding = time.perf_counter() - start
    unreadable = released.missing | {
        position: reason for one in decoded.values() for position, reason in one.unreadable.items()
    }
    rows = np.flatnonzero(~np.isin(positions, list(unreadable)))
    if not len(rows):
        raise DatasetError(
            f"none of the {len(positions)} images could be read, for example {images.paths[int(positions[0])]}"
        )
    index = positions[rows]
    samples = pd.DataFrame(
        {
            "index": index,
            "path": [images.paths[position] for position in index.tolist()],
            "label": images.labels[index].astype(np.int32),
            "sha": [hashes.sha[row] for row in rows.tolist()],
        }
    )
    plan = replace(plan, notes=(*plan.notes, *_size_notes(classifier, images, positions, plan)))
    machine = machine or Machine.here(classifier.device)
    manifest = make_manifest(adaptation, images, samples, suites, options, plan, machine)
    manifest["skipped"] = [
        {"path": images.paths[position], "reason": reason} for position, reason in sorted(unreadable.items())
    ]
    manifest["notes"] += released.notes
    if from_files:
        manifest["identity"]["released"] = released.fingerprints
    score_notes(RunDirectory(path, manifest))  # A baseline that cannot be used is an error now, not after the work.
    for note in manifest["notes"]:
        observer.note(note)
    if unreadable:
        observer.note(f"skipped {len(unreadable)} unreadable images; they are listed in the manifest")

    names = released_names(images, index) if from_files else ()
    shown = {
        geometry: Samples(one.images, rows, index, images.labels[index], names) for geometry, one in decoded.items()
    }
    recipe = None
    if classifier.origin is not None and images.origin is not None:
        recipe = EvaluatorSpec(
            code=code_of_run(classifier, adaptation.plugin_names, map(find_suite, suites), options.backend),
            model=classifier.origin,
            sha256=classifier.sha256,
            classes=classifier.classes,
            groups=classifier.groups,
            treatment=adaptation.fingerprint(),
            options=options,
            data=images.origin,
            border=images.border,
            hashes=hashes,
            geometries=tuple(decoded),
            rows=rows,
            index=index,
            label=images.labels[index],
            names=names,
            released=from_files,
            fingerprints=released.fingerprints,
        )
    return PreparedRun(
        path=path,
        manifest=manifest,
        samples=samples,
        plan=plan,
        batch_size=options.batch_size,
        whole=adaptation.needs_whole_condition,
        spec=recipe,
        evaluation=Evaluator(adaptation, shown, options),
        decoding=decoding,
    )


def _decode(
    images: ImageDataset, hashes: Hashes, plan: Plan, options: Options, observer: Observer
) -> dict[Geometry, Decoded]:
    decoded = {}
    for geometry in plan.geometries:
        observer.phase(f"decoding at {geometry}", len(hashes.positions))
        decoded[geometry] = decode(
            images, hashes, geometry, skip=options.skip_unreadable, advance=observer.advance, note=observer.note
        )
    return decoded


def match_model_to_dataset(classifier: Classifier, images: ImageDataset) -> tuple[Classifier, ImageDataset]:
    """Return both as they belong together: the model over the dataset's classes, or a DatasetError that says what to do."""
    if classifier.outputs:
        classifier = classifier.with_classes(_fitting_classes(classifier, images))
    images = fit_classes(images, classifier.classes, classifier.label)
    return (classifier if images.groups is None else classifier.with_class_groups(images.groups)), images


def _fitting_classes(classifier: Classifier, images: ImageDataset) -> int:
    """How many classes that output has which fits the images; CheckpointError unless it is one alone."""
    sizes = list(dict.fromkeys(one.classes for one in classifier.outputs))
    fitting = [size for size in sizes if _fits(images, size)]
    chosen = [
        size for size in fitting if size == len(images.classes)
    ] or fitting  # some sets have a part of the classes
    if len(chosen) == 1:
        return chosen[0]
    told = "none" if not chosen else "more than one"
    raise CheckpointError(
        f"{classifier.label} gives several outputs, of {' and '.join(map(str, sizes))} classes, and {told} fits the "
        f"{len(images.classes)} classes of {images.name}: let it return the logits alone"
    )


def _fits(images: ImageDataset, outputs: int) -> bool:
    try:
        fit_classes(images, outputs, "")
    except DatasetError:
        return False
    return True


def choose_samples(images: ImageDataset, options: Options) -> Ints:
    """Return the positions to evaluate."""
    return select(images, limit=options.limit, per_class=options.per_class, subset=options.subset)


def default_run_path(
    model: str, data: str, suites: Sequence[str], out: str | Path | None = None, folder: Path | None = None
) -> Path:
    """Return where a run goes: `out`, or `folder`/<model>, or runs/<model>-<data>-<suite>."""
    if out is not None:
        return Path(out)
    if folder is not None:
        return folder / _file_name(model)
    return Path("runs") / _file_name("-".join([model, data, "+".join(dict.fromkeys(suites))]))


def _file_name(name: str) -> str:
    """The name with nothing in it that a shell or a file system would trip over."""
    return "".join(c if c.isalnum() or c in "-_.+@=" else "_" for c in name)


def _size_notes(classifier: Classifier, images: ImageDataset, positions: Ints, plan: Plan) -> list[str]:
    """Say where images are resized that perhaps should not be."""
    notes = []
    for condition in plan.conditions:
        if condition.is_clean:
            twice = double_resize_note(images, positions, condition.geometry)
            side = classifier.preprocessing.crop
            if twice is not None:
                notes.append(twice)
            if condition.resolution != side:
                notes.append(
                    f"images of {condition.resolution} px are resized to the {side} px that {classifier.label} takes: if its "
                    f"input is another, give --crop"
                )
    return list(dict.fromkeys(notes))


def _check_output_path(path: Path, options: Options, data: Path | None) -> None:
    """Refuse what cannot become a run, or be normalised, before any long work: other folders, no permission."""
    whole, chosen = path.resolve(), options.normalize_by
    if chosen is not None and chosen not in (*BASELINES, "none"):
        if not Path(chosen).is_dir():
            raise OptionError(
                f"{unknown_name('baseline', chosen, (*BASELINES, 'none'))}, nor is it the directory of a run"
            )
        if options.fresh and Path(chosen).resolve() == whole:
            raise OptionError(f"--fresh moves {path} aside, so that it cannot be the baseline: choose another --out")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file: choose another --out")
    if data is not None and data.is_dir() and whole.is_relative_to(data.resolve()):
        raise RunError(f"{path} lies among the images of {data}, and would be a class of them: choose another --out")
    if options.fresh and Path.cwd().is_relative_to(whole):
        raise RunError(f"{path} is where you are, and cannot be moved aside: go elsewhere, or choose another --out")
    if path.is_dir() and not (path / "manifest.json").exists() and not options.fresh and _foreign(path):
        raise RunError(f"{path} holds other files than a run's: choose another --out, or give --fresh to move it aside")
    ancestor = next(parent for parent in [path, *path.absolute().parents] if parent.exists())
    if not ancestor.is_dir():
        raise RunError(f"{path} would lie below {ancestor}, which is a file: choose another --out")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise RunError(f"no permission to write {path}: choose another --out")


def _foreign(path: Path) -> list[str]:
    """Files that a run killed while it was being created could not have left."""
    own = {"records", "samples.parquet", ".lock"}
    return [entry.name for entry in path.iterdir() if entry.name not in own and not entry.name.startswith(".tmp-")]
