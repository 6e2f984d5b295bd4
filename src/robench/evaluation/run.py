"""The evaluation of runs, which resume after an interruption."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robench.arguments import ArgumentError, check_type, one_or_more, path_of
from robench.datasets import ImageDataset, open_dataset
from robench.display.run import Run, shown_progress
from robench.errors import OptionError, RobenchError, RunError, unknown_name
from robench.evaluation.engines import LOCAL, Engine, Event, Task
from robench.evaluation.image_sets import UnlabelledSet, image_sets, options_of_sets
from robench.evaluation.images import is_cue_conflict, labelled_images
from robench.evaluation.input_size import default_class_names, default_input_size
from robench.evaluation.options import Options
from robench.evaluation.prepare import PreparedRun, default_run_path, match_model_to_dataset, prepare
from robench.evaluation.storage import Storage
from robench.evaluation.writer import RunWriter
from robench.models import Classifier, load_classifier
from robench.models.in_memory import module_sha256, unchanged
from robench.runs.observer import EVALUATING, SCORING, Observer, WorkerState
from robench.runs.progress import Heartbeat
from robench.suites import CLEAN, Preset, default_suite, find_preset
from robench.suites.geometry import size_text
from robench.transforms.own import read_names
from robench.treatments import adapt
from robench.types import Size

__all__ = ["Job", "evaluate", "evaluate_jobs"]


@dataclass(frozen=True)
class Job:
    """A run to evaluate.

    Attributes:
        load: Loads the model onto its device.
        dataset: The images, or an argument of `open_dataset`.
        suites: Names of the suites, or a preset that chooses them by the model's input size; None for `default_suite`, or else
            the clean images alone.
        out: The run directory; None for `folder`/<model>, or else runs/<model>-<data>-<suite>.
        options: Options of the run.
        folder: Parent directory of the run.
        model: Name of the model while it is loading.
        labelled: Whether the labels of the images count.
    """

    load: Callable[[], Classifier]
    dataset: ImageDataset | str | Path
    suites: Sequence[str] | Preset | None = None
    out: str | Path | None = None
    options: Options = field(default_factory=Options)
    folder: Path | None = None
    model: str = "the model"
    labelled: bool = True

    def loaded(self) -> tuple[Classifier, Sequence[str]]:
        """Load the model, and return it with the names of the suites; a note of it says that no suite fits."""
        classifier = self.load()
        own = classifier.preprocessing
        if isinstance(self.suites, Preset):
            return classifier, [self.suites.suite(own.side)]
        if self.suites is not None:
            return classifier, self.suites
        suite = default_suite(own.crop)
        if suite is not None:
            return classifier, [suite.name]
        note = f"no corruption suite was published for an input of {size_text(own.crop)} px: clean images alone (--suite chooses)"
        return replace(classifier, notes=(*classifier.notes, note)), [CLEAN]

    def unlabelled(self, path: Path) -> list[tuple[UnlabelledSet, Job]]:
        """Return the sets of images without labels, each with the job that evaluates it into a folder of the run in `path`."""
        sets = image_sets(self.options)
        if not sets:
            return []
        classifier, suites = self.loaded()
        dataset = self.dataset if isinstance(self.dataset, ImageDataset) else open_dataset(self.dataset)
        matched = replace(match_model_to_dataset(classifier, dataset)[0], notes=(), warnings=())
        options = options_of_sets(self.options)
        return [
            (
                one,
                Job(lambda: matched, one.dataset, suites, path / one.folder, options, model=self.model, labelled=False),
            )
            for one in sets
        ]

    def output_path(self) -> tuple[str, Path]:
        """Load the model, and return its label and the run directory."""
        classifier, suites = self.loaded()
        options = self.options
        name = (self.dataset if isinstance(self.dataset, ImageDataset) else open_dataset(self.dataset)).name
        names, _ = read_names(suites, options.corruption)
        label = adapt(classifier, options.treatment, options.calibration, options.seed).classifier.label
        return label, default_run_path(label, name, names, self.out, self.folder)


def evaluate(
    model: Classifier | nn.Module | Callable[[Tensor], Any] | str | Path,
    data: ImageDataset | str | Path,
    suite: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    *,
    arch: str | None = None,
    weights_key: str | None = None,
    trust_pickle: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Size | str | None = None,
    resize: Size | str | None = None,
    crop: Size | str | None = None,
    interpolation: str | None = None,
    input_range: int | None = None,
    channels: str | None = None,
    data_range: Sequence[float] | None = None,
    head: str | Path | None = None,
    reference: str | Path | None = None,
    features: str | None = None,
    prompts: str | Path | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    device: str = "auto",
    label: str | None = None,
    class_map: str | Path | None = None,
    labels: str | Path | None = None,
    preset: str | None = None,
    progress: bool | Observer | None = None,
    options: Options | None = None,
    **keywords: Any,
) -> Run:
    """Evaluate a model on clean and corrupted images.

    If the directory holds a run of the same model, data and options, only its missing parts are evaluated. The results
    equal those of a run without interruption. A module keeps its mode, its device and its gradients.

    Args:
        model: A module, a function on normalised float32 images (b, 3, size, size), a classifier, or a file or name of
            `load_classifier`. A function without a `state_dict` needs a new `out` each time.
        data: The images, or an argument of `open_dataset`.
        suite: Names of the suites; None for the corruption suite of the model's input size.
        out: The run directory; None for `runs/<model>-<data>-<suite>`.
        arch: As in `load_classifier`, like the following arguments up to `label`.
        weights_key: As in `load_classifier`.
        trust_pickle: As in `load_classifier`.
        mean: Mean of each channel, usually red, green and blue, in 0 to `input_range`.
        std: Standard deviation of each channel, in 0 to `input_range`.
        size: Input size in pixels, like `crop`: resize and crop in one.
        resize: Size before the crop in pixels: the short side, or (height, width).
        crop: Input size in pixels: the side of a square, or (height, width), or a text such as "224x320".
        interpolation: Filter of the resize.
        input_range: Value of white for the model, 1 or 255.
        channels: Order in which the model takes the channels, "rgb" or "bgr".
        data_range: Stored values that become 0 and full scale, for images of more than 8 bits, such as (0, 10000).
        head: As in `load_classifier`, like the following two arguments.
        reference: Labelled images that the head is made from.
        features: Module whose output the head takes.
        prompts: Templates of a zero-shot classifier, as in `load_classifier`.
        class_names: Names of its classes, as in `load_classifier`; None for those of the images.
        device: auto, cpu, cuda, cuda:N or mps.
        label: Name of the model in tables.
        class_map: As in `open_dataset`.
        labels: As in `open_dataset`.
        preset: Name of a preset, instead of a suite; see `robench list presets`.
        progress: True for a display, False for none, or an observer. None for a display in a terminal or a notebook.
        options: Options of the run, for several evaluations with the same ones.
        **keywords: More options: the fields of `Options`, such as `limit=500`, `severity=[1, 3]`, `corruption="fog"`.

    Returns:
        The finished run.

    Raises:
        ArgumentError: An argument has a wrong type; also a TypeError.
        RunError: The directory holds another run, unless `fresh` is set.
        RobenchError: Another argument is invalid.
    """
    loading: dict[str, Any] = {
        "arch": arch,
        "weights_key": weights_key,
        "mean": mean,
        "std": std,
        "size": size,
        "resize": resize,
    }
    loading |= {"crop": crop, "interpolation": interpolation, "label": label}
    loading |= {"input_range": input_range, "channels": channels, "data_range": data_range}
    loading |= {"head": head, "reference": reference, "features": features}
    loading |= {"prompts": prompts, "class_names": class_names}
    chosen = _options(options, keywords)
    suites: Sequence[str] | Preset | None = None
    if suite is not None:
        suites = one_or_more("--suite", suite, str, "a name or a list of names")
    if preset is not None:
        if suite is not None:
            raise OptionError("--preset chooses the suite", "omit --suite")
        suites = find_preset(preset)
        chosen = chosen.with_preset(suites)
    named = [] if suites is None or isinstance(suites, Preset) else suites
    images = labelled_images(data, is_cue_conflict(named), class_map, labels)
    is_in_memory = not isinstance(model, Classifier | str | PathLike)
    with ExitStack() as stack:
        if is_in_memory and isinstance(model, nn.Module):
            stack.enter_context(unchanged(model))
        if isinstance(model, Classifier):
            if given := [name for name, value in loading.items() if value is not None]:
                raise OptionError(f"a Classifier has its {' and '.join(given)} already", "omit what is given twice")
            # The weights may have changed since the classifier was made.
            own = replace(model, sha256=module_sha256(model.module)) if model.origin is None else model
        else:
            size = default_input_size(named, images)
            loading |= {"default_crop": size, "default_class_names": default_class_names(images)}
            own = load_classifier(model, device=device, trust_pickle=trust_pickle, **loading)
        observer = progress if isinstance(progress, Observer) else stack.enter_context(shown_progress(progress))
        (run,) = evaluate_jobs(
            [Job(lambda: own, images, suites, None if out is None else path_of("--out", out), chosen)],
            observer=observer,
        )
    return run


def _options(options: Options | None, keywords: Mapping[str, Any]) -> Options:
    """Return options with some fields replaced; ArgumentError for a name that is no field."""
    known = [field.name for field in fields(Options)]
    for name in keywords:
        if name not in known:
            raise ArgumentError(*unknown_name("argument", name, (*known, *_ARGUMENTS)))
    base = Options() if options is None else check_type("options", options, Options, "robench.Options")
    return replace(base, **keywords)


def _with_fields(function: Callable[..., Run]) -> inspect.Signature:
    """Return the signature of a function with the fields of `Options` in place of `keywords`, for help and completion."""
    signature = inspect.signature(function)
    named = [one for one in signature.parameters.values() if one.name != "keywords"]
    extra = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for one in fields(Options)
    ]
    return signature.replace(parameters=[*named, *extra])


_ARGUMENTS = tuple(name for name in inspect.signature(evaluate).parameters if name != "keywords")
evaluate.__signature__ = _with_fields(evaluate)  # type: ignore[attr-defined]


def evaluate_jobs(jobs: Iterable[Job], engine: Engine = LOCAL, observer: Observer | None = None) -> Iterator[Run]:
    """Evaluate several runs and yield each one as soon as it is finished.

    An engine with workers evaluates all runs concurrently. The local engine evaluates one run after the other.

    Args:
        jobs: The runs.
        engine: Evaluates the shards.
        observer: Receives progress.

    Raises:
        RobenchError: An argument is invalid, or several runs have the same directory. If some of several runs fail, the
            error is raised after the others are finished.
    """
    observer, jobs = observer or Observer(), list(jobs)
    with engine.started(observer):
        # Load each model once before the work, so that a model that cannot be loaded fails early.
        paths = [_output_path(job, observer) for job in jobs] if len(jobs) > 1 else []
        _check_output_paths(paths)
        if engine.runs_concurrently or not paths:
            yield from _evaluate_together(jobs, engine, observer)
            return
        failures = []
        for job, (label, _) in zip(jobs, paths, strict=True):
            try:
                yield from _evaluate_together([job], engine, observer)
            except RobenchError as error:
                failures.append(f"{label}: {error}")
                observer.note(failures[-1])
        if failures:
            raise RunError("; ".join(failures))


def _evaluate_together(jobs: Sequence[Job], engine: Engine, observer: Observer) -> Iterator[Run]:
    prepared = [_prepare_job(job, engine, observer) for job in jobs]
    sets = [job.unlabelled(run.path) if job.labelled else [] for job, run in zip(jobs, prepared, strict=True)]
    with ExitStack() as stack:
        writers = [
            RunWriter.begin(run, job.options.fresh, engine.name, observer, stack.enter_context(ExitStack()))
            for run, job in zip(prepared, jobs, strict=True)
        ]
        tasks = [Task(number, shard) for number, writer in enumerate(writers) for shard in writer.missing]
        left = Counter(task.run for task in tasks)
        finished = [number for number, writer in enumerate(writers) if not writer.missing and not sets[number]]
        if finished:
            observer.phase(SCORING, 0)
        yield from (run for number in finished for run in _finish(writers[number], jobs[number]))
        observer.phase(EVALUATING, sum(task.shard.frames for task in tasks))
        storage = stack.enter_context(Storage())
        for writer in writers:
            writer.observer = storage.reporter(writer.observer)
        progress = _EngineObserver(observer, [writer.heartbeat for writer in writers], storage)
        for item in engine.run(prepared, tasks, progress):
            if isinstance(item, Event):
                storage.drain()
                observer.note(item.text)
                for number, writer in enumerate(writers):
                    if writer.missing and item.run in (None, number):
                        writer.heartbeat.note(item.text)
                        writer.record(item)
                continue
            writer = writers[item.task.run]
            storage.submit(partial(writer.add, item.task.shard, item.result))
            if len(writers) > 1:
                writer.heartbeat.advance(item.task.shard.frames)
            left[item.task.run] -= 1
            if not left[item.task.run] and not sets[item.task.run]:
                storage.drain()
                if not left.total():
                    observer.phase(SCORING, 0)
                yield from _finish(writer, jobs[item.task.run])
        storage.drain()
        for writer, job, of_run in zip(writers, jobs, sets, strict=True):
            if of_run:
                # The sets come last, because an engine evaluates one list of runs at a time.
                for _ in _evaluate_together([inner for _, inner in of_run], engine, observer):
                    pass
                observer.phase(SCORING, 0)
                yield from _finish(writer, job, [one.entry for one, _ in of_run])


def _finish(writer: RunWriter, job: Job, entries: Sequence[Mapping[str, str]] = ()) -> Iterator[Run]:
    """Finish a run, and yield it; a set of images without labels has no results."""
    if job.labelled:
        yield writer.finish(entries, job.options.groups)
    else:
        writer.held.close()


class _EngineObserver(Observer):
    """Forwards an engine's progress to the caller and to the heartbeats of the runs."""

    def __init__(self, observer: Observer, heartbeats: Sequence[Heartbeat], storage: Storage) -> None:
        self._observer, self._heartbeats, self._storage = observer, heartbeats, storage

    def advance(self, count: int) -> None:
        """Count images in progress; the heartbeats of several runs count only finished shards."""
        self._storage.poll()
        self._observer.advance(count)
        if len(self._heartbeats) == 1:
            self._heartbeats[0].advance(count)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Report the state of the workers, which all runs share."""
        self._observer.workers(states)
        for heartbeat in self._heartbeats:
            heartbeat.workers(states)


def _output_path(job: Job, observer: Observer) -> tuple[str, Path]:
    observer.phase(f"checking {job.model}", 0)
    return job.output_path()


def _check_output_paths(paths: Sequence[tuple[str, Path]]) -> None:
    known: set[Path] = set()
    for label, path in paths:
        if path.absolute() in known:
            raise OptionError(f"two models have the label {label}", "set a separate `out` for each in the job file")
        known.add(path.absolute())


def _prepare_job(job: Job, engine: Engine, observer: Observer) -> PreparedRun:
    observer.phase(f"loading {job.model}", 0)
    classifier, suites = job.loaded()
    prepared = prepare(
        classifier, job.dataset, suites, job.out, job.options, observer, engine.machine, job.folder, job.labelled
    )
    if not engine.runs_concurrently:
        return prepared
    if prepared.spec is None:
        label = prepared.manifest["model"]["label"]
        raise OptionError(
            f"workers of --engine {engine.name} cannot load {label} or its images by name",
            "create them with load_classifier and open_dataset",
        )
    # Workers build their own evaluators, so that this process need not hold all models.
    return replace(prepared, evaluator=None)
