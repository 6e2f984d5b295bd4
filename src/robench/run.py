"""A run: samples decoded, conditions evaluated one by one into a run directory, results scored. Resumes where it stopped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from robench.baselines import BASELINES
from robench.conditions import condition_frames
from robench.data import (
    Decoded,
    ImageSet,
    check_released,
    decode,
    fit_classes,
    hash_images,
    open_dataset,
    released_names,
    resized_again,
    select,
)
from robench.draws import compiled_philox, philox
from robench.errors import DatasetError, OptionError, RunError, unknown_name
from robench.loop import Samples, estimating_scope, evaluate_condition
from robench.manifest import make_manifest
from robench.models import Classifier
from robench.observer import Observer, Silent
from robench.plan import Options, Plan, make_plan
from robench.rundir import RunDirectory, differences, writing
from robench.scoring import clean_doubts, nonfinite_notes, score
from robench.scoring import notes as score_notes
from robench.tables import check_cell
from robench.treatments import adapt
from robench.types import Ints, Results

__all__ = ["Run", "choose_samples", "default_out", "evaluate", "fit"]


@dataclass(frozen=True)
class Run:
    """A finished run: its directory and its results."""

    directory: RunDirectory
    results: Results

    @property
    def path(self) -> Path:
        """Where the run directory is."""
        return self.directory.path


def evaluate(
    classifier: Classifier,
    dataset: ImageSet | str | Path,
    suites: Sequence[str] = ("clean",),
    out: str | Path | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> Run:
    """Evaluate a classifier on a dataset under some suites, into the run directory `out`.

    dataset: an opened one, or what `data.open_dataset` takes.  out: default runs/<model>-<data>-<suite>.
    If `out` holds a run of the same model, data and options, only its missing conditions are evaluated, and the results
    equal those of a run that was never interrupted. Raises RunError if it holds another run (unless options.fresh), and the
    other errors of `robench.errors` for what else the caller can mend.
    """
    options, observer = options or Options(), observer or Silent()
    images = dataset if isinstance(dataset, ImageSet) else open_dataset(dataset)
    classifier, images = fit(classifier, images)
    if options.precision in ("bf16", "fp16") and classifier.dtype != torch.float32:
        kind_of = str(classifier.dtype).removeprefix("torch.")
        raise OptionError(f"{classifier.label} was stored in {kind_of} and computes in that: leave --precision out")
    if options.precision != "fp32" and not classifier.torch_runs:
        raise OptionError(
            f"{classifier.label} is not computed by torch, and has the precision of its file: leave --precision out"
        )
    check_cell("dataset", images.name)
    adaptation = adapt(classifier, options.adapt, options.calibration, options.seed)
    classifier = adaptation.classifier
    check_cell("model", classifier.label)
    plan = make_plan(suites, options, classifier.preprocessing, adaptation.gflops)
    plan = replace(plan, notes=(*plan.notes, *adaptation.notes(plan.conditions)))
    positions = choose_samples(images, options)
    path = Path(out) if out is not None else default_out(classifier.label, images.name, suites)
    _check_place(path, options, images.root)

    from_files = [condition for condition in plan.conditions if condition.files is not None]
    if from_files:
        observer.phase("finding released files", len(from_files) * len(positions))
    released = check_released(images, positions, from_files, skip=options.skip_unreadable, advance=observer.advance)
    observer.phase("reading", len(positions))
    hashes = hash_images(images, positions, observer.advance)
    decoded: dict[int, Decoded] = {}
    for number, geometry in enumerate(plan.geometries):
        observer.phase(f"decoding at {geometry}", len(positions))
        decoded[number] = decode(
            images, hashes, geometry, skip=options.skip_unreadable, advance=observer.advance, note=observer.note
        )
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
    manifest = make_manifest(adaptation, images, samples, suites, options, plan)
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

    if options.fresh and path.exists() and any(path.iterdir()):
        observer.note(f"what was in {path} is now in {_move_aside(path)}")
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with RunDirectory(path, manifest).locked():
        directory = _open_or_create(path, manifest, samples)
        directory.sweep()
        names = released_names(images, index) if from_files else ()
        by_geometry = {
            geometry: Samples(decoded[number].images, rows, index, images.labels[index], names)
            for number, geometry in enumerate(plan.geometries)
        }
        directory.restore_samples(samples)
        finished = {condition.name for condition in directory.finished()}
        damaged = {one.name for one in directory.finished() if directory.damaged(one.name, one.frames * len(index))}
        for name in sorted(damaged):
            observer.note(f"the records of {name} are damaged: it is evaluated again")
        todo = [condition for condition in plan.conditions if condition.name not in finished - damaged]
        done = len(plan.conditions) - len(todo)
        if done:
            observer.note(f"resuming {path}: {done} of {len(plan.conditions)} conditions are finished")
        observer.phase("evaluating", sum(map(condition_frames, todo)) * len(index))
        treated, session = classifier, None
        if todo:
            with estimating_scope(options.precision, classifier.device):
                treated, session = adaptation.start()
        doubted = False
        for condition in todo:
            if not doubted and not condition.is_clean:
                doubted = True  # The clean images come first: what they show to be wrong is said before the long work.
                for doubt in _clean_doubts(directory):
                    observer.note(doubt)
            start = time.perf_counter()
            records = evaluate_condition(
                treated,
                by_geometry[condition.geometry],
                condition,
                seed=options.seed,
                batch_size=options.batch_size,
                precision=options.precision,
                generator=compiled_philox() if options.compiled else philox,
                advance=observer.advance,
                session=session,
            )
            seconds = time.perf_counter() - start
            directory.write_records(condition.name, records)
            images_done = len(records)
            directory.add_timing(
                {
                    "suite": condition.suite,
                    "corruption": condition.corruption,
                    "severity": condition.severity,
                    "resolution": condition.resolution,
                    "images": images_done,
                    "seconds": round(seconds, 4),
                    "images_per_second": round(images_done / seconds, 2),
                }
            )
            observer.condition(condition.name, seconds, images_done)
        observer.phase("scoring", 0)
        results = score(directory)
        directory.write_results(results)
    for note in (*score_notes(directory), *nonfinite_notes(results), *_clean_doubts(directory)):
        observer.note(note)
    return Run(directory, results)


def _clean_doubts(directory: RunDirectory) -> list[str]:
    """What the clean images show to be wrong; where the labels look permuted, their order is written beside the results."""
    doubts, permutation = clean_doubts(directory)
    names = directory.manifest["data"].get("classes", [])
    if permutation is None or len(names) != len(permutation.label_of):
        return doubts
    file = directory.path / "class_map.suggested.txt"
    with writing(directory.path):
        file.write_text("".join(f"{names[label]}\n" for label in permutation.label_of.tolist()))
    return [*doubts, f"that order is in {file}: try --class-map {file}"]


def fit(classifier: Classifier, images: ImageSet) -> tuple[Classifier, ImageSet]:
    """Return both as they belong together: the model over the dataset's classes, or a DatasetError that says what to do."""
    images = fit_classes(images, classifier.classes, classifier.label)
    return (classifier if images.groups is None else classifier.over(images.groups)), images


def choose_samples(images: ImageSet, options: Options) -> Ints:
    """Return the positions to evaluate."""
    return select(images, limit=options.limit, per_class=options.per_class, subset=options.subset)


def default_out(model: str, data: str, suites: Sequence[str]) -> Path:
    """runs/<model>-<data>-<suite>, with nothing in it that a shell or a file system would trip over."""
    name = "-".join([model, data, "+".join(dict.fromkeys(suites))])
    return Path("runs") / "".join(c if c.isalnum() or c in "-_.+@=" else "_" for c in name)


def _size_notes(classifier: Classifier, images: ImageSet, positions: Ints, plan: Plan) -> list[str]:
    """Say where images are resized that perhaps should not be."""
    notes = []
    for condition in plan.conditions:
        if condition.is_clean:
            twice = resized_again(images, positions, condition.geometry)
            side = classifier.preprocessing.crop
            if twice is not None:
                notes.append(twice)
            if condition.resolution != side:
                notes.append(
                    f"images of {condition.resolution} px are resized to the {side} px that {classifier.label} takes: if its "
                    f"input is another, give --crop"
                )
    return list(dict.fromkeys(notes))


def _check_place(path: Path, options: Options, data: Path | None) -> None:
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
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
        raise RunError(f"no permission to write {path}: choose another --out")


def _foreign(path: Path) -> list[str]:
    """Files that a run killed while it was being created could not have left."""
    own = {"records", "samples.parquet", ".lock"}
    return [entry.name for entry in path.iterdir() if entry.name not in own and not entry.name.startswith(".tmp-")]


def _open_or_create(path: Path, manifest: dict[str, Any], samples: pd.DataFrame) -> RunDirectory:
    """The run in a directory that this process has locked; RunError if it is another one."""
    if not (path / "manifest.json").exists():
        return RunDirectory.create(path, manifest, samples)
    directory = RunDirectory.open(path)
    directory = _with_mended_files(directory, manifest["identity"])
    changed = differences(directory.manifest["identity"], manifest["identity"])
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise RunError(f"{path} is another run: {'; '.join(changed[:3])}{more}; choose another --out, or give --fresh")
    # Only the scoring depends on these, so a finished run is scored again instead of refused.
    scoring = {name: manifest["options"][name] for name in ("normalize_by", "difficulties")}
    options = {**directory.manifest["options"], **scoring}
    directory = RunDirectory(path, {**directory.manifest, "normalize_by": manifest["normalize_by"], "options": options})
    if directory.manifest != RunDirectory.open(path).manifest:
        directory.write_manifest()
    return directory


def _with_mended_files(directory: RunDirectory, identity: dict[str, Any]) -> RunDirectory:
    """The run with the released files that there are now for unfinished conditions: a damaged one may have stopped it."""
    known, now = directory.manifest["identity"].get("released"), identity.get("released")
    if not known or not now:
        return directory
    finished = {condition.name for condition in directory.finished()}
    files = {name: known[name] if name in finished or name not in now else now[name] for name in known}
    return RunDirectory(
        directory.path, {**directory.manifest, "identity": {**directory.manifest["identity"], "released": files}}
    )


def _move_aside(path: Path) -> Path:
    number = next(n for n in range(1, sys.maxsize) if not path.with_name(f"{path.name}.{n}").exists())
    with RunDirectory(path, {}).locked(), writing(path.parent):
        return path.rename(path.with_name(f"{path.name}.{number}"))
