"""The evaluation of runs, which resume after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from robench.datasets import ImageDataset, open_dataset
from robench.errors import OptionError, RobenchError, RunError
from robench.evaluation.engines import LOCAL, Engine, Event, Task
from robench.evaluation.options import Options
from robench.evaluation.prepare import PreparedRun, default_run_path, prepare
from robench.evaluation.writer import Run, RunWriter
from robench.models import Classifier
from robench.runs.observer import EVALUATING, SCORING, Observer, WorkerState
from robench.runs.progress import Heartbeat
from robench.suites import Preset
from robench.treatments import adapt

__all__ = ["Job", "evaluate", "evaluate_jobs"]


@dataclass(frozen=True)
class Job:
    """A run to evaluate.

    Attributes:
        load: Loads the model onto its device.
        dataset: The images, or an argument of `open_dataset`.
        suites: Names of the suites, or a preset that chooses them by the model's input size.
        out: The run directory; None for `folder`/<model>, or else runs/<model>-<data>-<suite>.
        options: Options of the run.
        folder: Parent directory of the run.
        model: Name of the model while it is loading.
    """

    load: Callable[[], Classifier]
    dataset: ImageDataset | str | Path
    suites: Sequence[str] | Preset = ("clean",)
    out: str | Path | None = None
    options: Options = field(default_factory=Options)
    folder: Path | None = None
    model: str = "the model"

    def chosen(self, classifier: Classifier) -> Sequence[str]:
        """Return the names of the suites."""
        return [self.suites.suite(classifier.preprocessing.crop)] if isinstance(self.suites, Preset) else self.suites

    def output_path(self) -> tuple[str, Path]:
        """Load the model, and return its label and the run directory."""
        classifier, options = self.load(), self.options
        name = (self.dataset if isinstance(self.dataset, ImageDataset) else open_dataset(self.dataset)).name
        label = adapt(classifier, options.treatments, options.calibration, options.seed).classifier.label
        return label, default_run_path(label, name, self.chosen(classifier), self.out, self.folder)


def evaluate(
    classifier: Classifier,
    dataset: ImageDataset | str | Path,
    suites: Sequence[str] = ("clean",),
    out: str | Path | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> Run:
    """Evaluate a classifier on a dataset under some suites.

    If the directory holds a run of the same model, data and options, only its missing parts are evaluated. The results
    equal those of a run without interruption.

    Args:
        classifier: The model.
        dataset: The images, or an argument of `open_dataset`.
        suites: Names of the suites.
        out: The run directory; None for runs/<model>-<data>-<suite>.
        options: Options of the run.
        observer: Receives progress.

    Raises:
        RunError: The directory holds another run, unless `options.fresh` is set.
        RobenchError: An argument is invalid.
    """
    (run,) = evaluate_jobs([Job(lambda: classifier, dataset, suites, out, options or Options())], observer=observer)
    return run


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
    with ExitStack() as stack:
        writers = [
            RunWriter.begin(run, job.options.fresh, engine.name, observer, stack.enter_context(ExitStack()))
            for run, job in zip(prepared, jobs, strict=True)
        ]
        tasks = [Task(number, shard) for number, writer in enumerate(writers) for shard in writer.missing]
        finished = [writer for writer in writers if not writer.missing]
        if finished:
            observer.phase(SCORING, 0)
        yield from (writer.finish() for writer in finished)
        observer.phase(EVALUATING, sum(task.shard.frames for task in tasks))
        progress = _EngineObserver(observer, [writer.heartbeat for writer in writers])
        for item in engine.run(prepared, tasks, progress):
            if isinstance(item, Event):
                observer.note(item.text)
                for number, writer in enumerate(writers):
                    if writer.missing and item.run in (None, number):
                        writer.heartbeat.note(item.text)
                        writer.record(item)
                continue
            writer = writers[item.task.run]
            writer.add(item.task.shard, item.result)
            if len(writers) > 1:
                writer.heartbeat.advance(item.task.shard.frames)
            if not writer.missing:
                if not any(other.missing for other in writers):
                    observer.phase(SCORING, 0)
                yield writer.finish()


class _EngineObserver(Observer):
    """Forwards an engine's progress to the caller and to the heartbeats of the runs."""

    def __init__(self, observer: Observer, heartbeats: Sequence[Heartbeat]) -> None:
        self._observer, self._heartbeats = observer, heartbeats

    def advance(self, count: int) -> None:
        """Count images in progress; the heartbeats of several runs count only finished shards."""
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
    classifier = job.load()
    suites = job.chosen(classifier)
    prepared = prepare(classifier, job.dataset, suites, job.out, job.options, observer, engine.machine, job.folder)
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
