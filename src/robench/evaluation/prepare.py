"""The preparation of a run, which finds all errors of the user and decodes the images before any work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import torch

from robench.analysis.baselines import BASELINES, unknown_baseline
from robench.analysis.scoring import notes as score_notes
from robench.analysis.scoring import read_groups
from robench.datasets import (
    Hashes,
    ImageDataset,
    check_released,
    decode,
    double_resize_note,
    fit_classes,
    hash_images,
    ignored_notes,
    open_dataset,
    released_names,
    select,
)
from robench.errors import CheckpointError, DatasetError, OptionError, RobenchError, RunError
from robench.evaluation.adversarial import TRIED, attack_warnings, with_possible_attacks
from robench.evaluation.attack_state import FOLDER
from robench.evaluation.environment import Machine
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.input_size import check_input_size
from robench.evaluation.manifest import make_manifest
from robench.evaluation.options import Options
from robench.evaluation.other_inputs import input_warnings
from robench.evaluation.plan import Plan, make_plan, unlabelled_plan
from robench.evaluation.prefetch import gather_batch
from robench.evaluation.provenance import code_of_run, own_code
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard, shards_of
from robench.evaluation.spec import EvaluatorSpec
from robench.models import Classifier
from robench.runs.directory import RunDirectory
from robench.runs.files import translate_os_errors
from robench.runs.observer import Observer
from robench.runs.schema import check_cell
from robench.suites import ALL, OOD, Condition, find_suite
from robench.suites.geometry import Geometry, size_text
from robench.transforms.kernels import check_kernels, why_eager
from robench.transforms.own import read_names
from robench.treatments import Adaptation, adapt
from robench.types import Ints

__all__ = ["PreparedRun", "choose_samples", "default_run_path", "match_model_to_dataset", "prepare"]


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to start.

    Attributes:
        path: The run directory.
        manifest: Manifest of a new run.
        samples: The table SAMPLES.
        plan: The conditions.
        batch_size: Batch size of the run.
        whole: Whether conditions cannot be cut into shards.
        spec: Spec for workers; None if model or dataset were not created by name.
        evaluator: Evaluator for this process; None if workers build theirs.
        decoding: Seconds for reading and decoding images.
        labelled: Whether the labels of the images count.
    """

    path: Path
    manifest: dict[str, Any]
    samples: pd.DataFrame
    plan: Plan
    batch_size: int
    whole: bool
    spec: EvaluatorSpec | None
    evaluator: Evaluator | None
    decoding: float = 0.0
    labelled: bool = True

    def shards(self, condition: Condition) -> list[Shard]:
        """Cut a condition into shards."""
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
    labelled: bool = True,
) -> PreparedRun:
    """Check all arguments, then hash and decode the images.

    Args:
        classifier: The model.
        dataset: The images, or an argument of `open_dataset`.
        suites: Names of the suites.
        out: The run directory, see `default_run_path`.
        options: Options of the run.
        observer: Receives progress.
        machine: The machine that computes the run; None for the classifier's device in this process.
        folder: Parent directory of the run, see `default_run_path`.
        labelled: Whether the labels of the images count. If not, the run has the clean conditions alone.

    Raises:
        RobenchError: An argument is invalid, or the images cannot be read.
    """
    images = dataset if isinstance(dataset, ImageDataset) else open_dataset(dataset)
    try:
        if labelled:
            check_input_size(classifier, suites, images)
            classifier, images = match_model_to_dataset(classifier, images)
        else:
            predicted = classifier.classes if classifier.groups is None else len(classifier.groups)
            images = replace(images, classes=tuple(map(str, range(predicted))))
    except RobenchError:  # The notes may explain the error.
        for note in (*classifier.notes, *images.notes):
            observer.note(note)
        raise
    check_cell("dataset", images.name)
    images = replace(images, pixels=classifier.preprocessing.pixels)
    kernel_notes = [] if machine else _kernel_notes(options.kernels, classifier.device)
    machine = machine or Machine.here(classifier.device)
    options, attack_notes = with_possible_attacks(options.on_machine(machine), suites, classifier, images)
    adaptation = _adapt(classifier, options)
    positions = choose_samples(images, options)
    plan = _plan(adaptation, len(positions), suites, options)
    if not labelled:
        plan = unlabelled_plan(plan, options.precision, adaptation.classifier.preprocessing.pixels)
    names, _ = read_names(suites, options.corruption)
    path = default_run_path(adaptation.classifier.label, images.name, names, out, folder)
    _check_output_path(path, options, images.root)
    data = _read_images(images, positions, plan, options, observer)
    if options.groups not in (None, "none"):
        read_groups(data.table, str(options.groups), images.root)  # Refuses an unusable table before the work.
    manifest = make_manifest(adaptation, images, data.table, names, options, plan, machine)
    manifest["skipped"] = [
        {"path": images.paths[position], "reason": reason} for position, reason in sorted(data.unreadable.items())
    ]
    manifest["notes"] += [*data.notes, *kernel_notes]
    if labelled:
        manifest["warnings"] += _reference_warnings(adaptation.classifier, data.table)
        manifest["warnings"] += _size_warnings(adaptation.classifier, images, positions, plan)
    manifest["warnings"] += [*attack_notes, *_attack_warnings(adaptation.classifier, data, plan)]
    if labelled and (options.fresh or not (path / "manifest.json").exists()):
        observer.phase("trying other inputs", 0)
        manifest["warnings"] += _input_warnings(classifier, data, plan, options)
    if data.released:
        manifest["identity"]["released"] = data.fingerprints
    score_notes(RunDirectory(path, manifest))  # Refuses an unusable baseline before the work.
    for note in (*manifest["notes"], *manifest["warnings"]):
        observer.note(note)
    if data.unreadable:
        observer.note(f"skipped {len(data.unreadable)} unreadable images; the manifest lists them")
    return PreparedRun(
        path=path,
        manifest=manifest,
        samples=data.table,
        plan=plan,
        batch_size=manifest["identity"]["options"]["batch_size"],
        whole=adaptation.needs_whole_condition,
        spec=_spec(adaptation, data, suites, options),
        evaluator=Evaluator(adaptation, data.samples, options, path / FOLDER),
        decoding=data.seconds,
        labelled=labelled,
    )


def _attack_warnings(classifier: Classifier, data: _RunImages, plan: Plan) -> list[str]:
    """Return the warnings about attacks through the model; OptionError if it has no gradients."""
    for condition in plan.conditions:
        if condition.attack is not None:
            samples = data.samples[condition.geometry]
            images = gather_batch(samples.images, samples.rows[:TRIED], classifier.device)
            return attack_warnings(classifier, images.pixels, torch.from_numpy(samples.label[:TRIED]))
    return []


def _kernel_notes(choice: str, device: torch.device) -> list[str]:
    """Check the choice of kernels before the work, and return a note if a GPU has no fused ones."""
    check_kernels(choice, device)
    reason = why_eager(device) if choice == "auto" and device.type == "cuda" else ""
    return [f"corruptions run without fused kernels, which is slower: {reason}"] if reason else []


def _adapt(classifier: Classifier, options: Options) -> Adaptation:
    """Return the classifier with its treatments, after a check of the precision."""
    if options.precision in ("bf16", "fp16") and classifier.dtype != torch.float32:
        dtype = str(classifier.dtype).removeprefix("torch.")
        raise OptionError(f"{classifier.label} computes in {dtype}, the type of its file", "omit --precision")
    if options.precision != "fp32" and not classifier.torch_runs:
        raise OptionError(f"{classifier.label} computes in the precision of its file", "omit --precision")
    adaptation = adapt(classifier, options.treatment, options.calibration, options.seed)
    check_cell("model", adaptation.classifier.label)
    return adaptation


def _plan(adaptation: Adaptation, samples: int, suites: Sequence[str], options: Options) -> Plan:
    """Return the conditions, with notes about the treatments."""
    plan = make_plan(suites, options, adaptation.classifier.preprocessing, adaptation.gflops, adaptation.exits)
    notes = [*plan.notes, *adaptation.notes(plan.conditions, samples)]
    return replace(plan, notes=tuple(dict.fromkeys(notes)))


def _reference_warnings(classifier: Classifier, samples: pd.DataFrame) -> list[str]:
    """Return a warning if the head was made from images of the run."""
    count = int(samples["sha"].isin(classifier.reference_sha).sum())
    if not count:
        return []
    return [
        f"{count:,} of the {len(samples):,} images are also in --reference, so the head of {classifier.label} knows their labels; "
        "give other reference images"
    ]


def _size_warnings(classifier: Classifier, images: ImageDataset, positions: Ints, plan: Plan) -> list[str]:
    """Return warnings about images that are resized twice, or to the input size of the model."""
    size, warnings = classifier.preprocessing.crop, []
    for condition in plan.conditions:
        if condition.is_clean and (warning := double_resize_note(images, positions, condition.geometry)) is not None:
            warnings.append(warning)
        if condition.is_clean and condition.shape != classifier.preprocessing.shape:
            warnings.append(
                f"images of {size_text(condition.shape)} px are resized to {size_text(size)} px, the input size of {classifier.label}; "
                "give --crop if its input size is another"
            )
    return list(dict.fromkeys(warnings))


def _input_warnings(classifier: Classifier, data: _RunImages, plan: Plan, options: Options) -> list[str]:
    """Return warnings about an input that the model classifies better than that of the run."""
    clean = next((condition for condition in plan.conditions if condition.is_clean), None)
    if clean is None:
        return []
    work = len(data.table) * sum(entry.frames for entry in plan.listed)
    return input_warnings(classifier, data.samples[clean.geometry], clean, options, work)


@dataclass(frozen=True)
class _RunImages:
    """The hashed and decoded images of a run.

    Attributes:
        dataset: The dataset.
        hashes: Hashes of all chosen images.
        samples: The readable samples of each geometry.
        table: The table SAMPLES.
        released: Conditions with released files.
        fingerprints: Fingerprints of the released files.
        notes: Notes about the released files and about ignored properties of the images.
        unreadable: Reason for each unreadable image, by its position in the dataset.
        seconds: Time for reading and decoding.
    """

    dataset: ImageDataset
    hashes: Hashes
    samples: dict[Geometry, Samples]
    table: pd.DataFrame
    released: tuple[Condition, ...]
    fingerprints: dict[str, str]
    notes: Sequence[str]
    unreadable: dict[int, str]
    seconds: float


def _read_images(
    dataset: ImageDataset, positions: Ints, plan: Plan, options: Options, observer: Observer
) -> _RunImages:
    """Hash and decode the images; DatasetError if none can be read."""
    conditions = tuple(condition for condition in plan.conditions if condition.files is not None)
    if conditions:
        observer.phase("finding released files", len(conditions) * len(positions))
    skip, advance = options.skip_unreadable, observer.advance
    released = check_released(dataset, positions, conditions, skip=skip, advance=advance)
    start = time.perf_counter()
    observer.phase("reading", len(positions))
    hashes = hash_images(dataset, positions, advance)
    decoded, unreadable = {}, dict(released.missing)
    for geometry in plan.geometries:
        observer.phase(f"decoding at {geometry}", len(positions))
        decoded[geometry] = decode(dataset, hashes, geometry, skip=skip, advance=advance, note=observer.note)
        unreadable |= decoded[geometry].unreadable
    seconds = time.perf_counter() - start
    rows = np.flatnonzero(~np.isin(positions, list(unreadable)))
    if not len(rows):
        example = dataset.paths[int(positions[0])]
        raise DatasetError(
            f"none of the {len(positions)} images can be read, for example {example}",
            "check the files, or omit --skip-unreadable to see the first error",
        )
    index = positions[rows]
    label, names = dataset.labels[index], released_names(dataset, index) if conditions else ()
    table = pd.DataFrame(
        {
            "index": index,
            "path": [dataset.paths[position] for position in index.tolist()],
            "label": label.astype(np.int32),
            "sha": [hashes.sha[row] for row in rows.tolist()],
        }
    )
    several = dataset.several_labels
    sets = None if several is None else _filled([several[place] for place in index.tolist()])
    samples = {
        geometry: Samples(images.images, rows, index, label, names, sets) for geometry, images in decoded.items()
    }
    # Every geometry counts the same images.
    ignored = ignored_notes(next(iter(decoded.values())).ignored, len(positions)) if decoded else ()
    notes, fingerprints = (*released.notes, *ignored), released.fingerprints
    return _RunImages(dataset, hashes, samples, table, conditions, fingerprints, notes, unreadable, seconds)


def _filled(sets: Sequence[Sequence[int]]) -> Ints:
    """Return lists of classes as rows of equal length, filled up with -1."""
    filled = np.full((len(sets), max(map(len, sets))), -1, np.int64)
    for row, labels in zip(filled, sets, strict=True):
        row[: len(labels)] = labels
    return filled


def _spec(adaptation: Adaptation, data: _RunImages, suites: Sequence[str], options: Options) -> EvaluatorSpec | None:
    """Return the spec for workers; None if the model or the dataset was not created by name."""
    classifier, dataset = adaptation.classifier, data.dataset
    if classifier.origin is None or dataset.origin is None:
        return None
    samples = next(iter(data.samples.values()))
    chosen = [find_suite(name) for name in read_names(suites, options.corruption)[0] if name != ALL]
    return EvaluatorSpec(
        suites=tuple(suites),
        code=code_of_run(classifier, adaptation.plugin_names, chosen, options.backend),
        own_code=own_code(chosen),
        model=classifier.origin,
        sha256=classifier.sha256,
        head_facts=classifier.head_facts,
        classes=classifier.classes,
        groups=classifier.groups,
        group_rule=classifier.group_rule,
        treatment=adaptation.fingerprint(),
        options=options,
        data=dataset.origin,
        border=dataset.border,
        pixels=dataset.pixels,
        hashes=data.hashes,
        geometries=tuple(data.samples),
        rows=samples.rows,
        index=samples.index,
        label=samples.label,
        names=samples.names,
        label_sets=samples.label_sets,
        released=data.released,
        fingerprints=data.fingerprints,
    )


def match_model_to_dataset(classifier: Classifier, images: ImageDataset) -> tuple[Classifier, ImageDataset]:
    """Select the model's output and the order of classes so that both match.

    Raises:
        DatasetError: The dataset's classes do not match the model's.
        CheckpointError: No output of the model matches the dataset, or several outputs do.
    """
    if classifier.outputs:
        classifier = classifier.with_classes(_matching_classes(classifier, images))
    images = fit_classes(images, classifier.classes, classifier.label, classifier.class_names)
    if images.groups is None:
        return classifier, images
    return classifier.with_class_groups(images.groups, images.group_rule), images


def _matching_classes(classifier: Classifier, images: ImageDataset) -> int:
    """Return the number of classes of the model's only output that matches the images."""
    sizes = list(dict.fromkeys(output.classes for output in classifier.outputs))
    names = classifier.class_names
    matching = [size for size in sizes if _fits(images, size, names if len(names) == size else ())]
    # A dataset may have a part of the model's classes.
    matching = [size for size in matching if size == len(images.classes)] or matching
    if len(matching) == 1:
        return matching[0]
    raise CheckpointError(
        f"{classifier.label} returns several outputs, with {' and '.join(map(str, sizes))} classes, and "
        f"{'more than one matches' if matching else 'none matches'} the {len(images.classes)} classes of {images.name}",
        "let the model return only the logits",
    )


def _fits(images: ImageDataset, outputs: int, names: Sequence[str]) -> bool:
    try:
        fit_classes(images, outputs, "", names)
    except DatasetError:
        return False
    return True


def choose_samples(images: ImageDataset, options: Options) -> Ints:
    """Return the positions of the samples that the options choose."""
    return select(images, limit=options.limit, per_class=options.per_class, subset=options.subset)


def default_run_path(
    model: str, data: str, suites: Sequence[str], out: str | Path | None = None, folder: Path | None = None
) -> Path:
    """Return the run directory: `out`, or `folder`/<model>, or runs/<model>-<data>-<suite>."""
    if out is not None:
        return Path(out)
    if folder is not None:
        return folder / _file_name(model)
    return Path("runs") / _file_name("-".join([model, data, "+".join(dict.fromkeys(suites))]))


def _file_name(name: str) -> str:
    """Return the name without characters that shells or file systems interpret."""
    return "".join(c if c.isalnum() or c in "-_.+@=" else "_" for c in name)


def _check_output_path(path: Path, options: Options, data: Path | None) -> None:
    """Refuse a run directory that cannot be written, or a path or a baseline that would cost the user files."""
    whole, baseline = path.resolve(), options.normalize_by
    in_use = {Path.cwd(): "the current directory"}
    if baseline is not None and baseline not in (*BASELINES, "none"):
        if not Path(baseline).is_dir():
            raise unknown_baseline(baseline)
        in_use[Path(baseline).resolve()] = "the baseline"
    for used, name in in_use.items() if options.fresh else ():
        if used.is_relative_to(whole):
            raise OptionError(f"--fresh cannot move {path}, which contains {name}", "choose another --out")
    if data is not None and data.is_dir() and whole.is_relative_to(data.resolve()):
        raise RunError(f"{path} is inside the dataset {data} and would be read as a class", "choose another --out")
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    with translate_os_errors(path):
        TemporaryFile(dir=existing).close()
    if existing == path and not (path / "manifest.json").exists() and not options.fresh and _foreign(path):
        raise RunError(f"{path} contains other files", "choose another --out, or move it aside with --fresh")


def _foreign(path: Path) -> list[str]:
    """Return the files that no interrupted run has left."""
    own = {"records", "samples.parquet", ".lock", OOD, FOLDER}
    return [entry.name for entry in path.iterdir() if entry.name not in own and not entry.name.startswith(".tmp-")]
