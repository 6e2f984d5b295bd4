"""Runs: prepared, given to an engine shard by shard, written into run directories, scored. A run resumes where it stopped."""

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
from robench.runs.observer import EVALUATING, SCORING, NullObserver, Observer, WorkerState
from robench.runs.progress import Heartbeat
from robench.suites import Preset
from robench.treatments import adapt

__all__ = ["Job", "evaluate", "evaluate_jobs"]


@dataclass(frozen=True)
class Job:
    """A run to be made.

    load: the model, onto a device by its name.  suites: their names, or a preset that chooses by the model's input.
    out: its directory, or folder: in which it has the model's label; default runs/<model>-<data>-<suite>.
    """

    load: Callable[[], Classifier]
    dataset: ImageDataset | str | Path
    suites: Sequence[str] | Preset = ("clean",)
    out: str | Path | None = None
    options: Options = field(default_factory=Options)
    folder: Path | None = None

    def chosen(self, classifier: Classifier) -> Sequence[str]:
        """Return the names of its suites."""
        return [self.suites.suite(classifier.preprocessing.crop)] if isinstance(self.suites, Preset) else self.suites

    def output_path(self) -> tuple[str, Path]:
        """Return the model's label and the run's directory, which only loading tells."""
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
    """Evaluate a classifier on a dataset under some suites, into the run directory `out`.

    dataset: an opened one, or what `data.open_dataset` takes.  out: default runs/<model>-<data>-<suite>.
    If `out` holds a run of the same model, data and options, only what it lacks is evaluated, and the results equal those of
    a run that was never interrupted. Raises RunError if it holds another run (unless options.fresh), and the other errors of
    `robench.errors` for what else the caller can mend.
    """
    (run,) = evaluate_jobs([Job(lambda: classifier, dataset, suites, out, options or Options())], observer=observer)
    return run


def evaluate_jobs(jobs: Iterable[Job], engine: Engine = LOCAL, observer: Observer | None = None) -> Iterator[Run]:
    """Evaluate several models, and yield each run as it is finished.

    An engine with workers elsewhere is given all of them at once, after all were prepared; the local one takes them one by one.
    Two of one place are refused before the first is prepared.
    Raises what `evaluate` does; what was evaluated until then is on disk. One of several that fails does not keep the others from
    being evaluated: what it failed with is raised after them.
    """
    observer, jobs = observer or NullObserver(), list(jobs)
    with engine.started(observer):
        # It costs seconds, one model in memory at a time, and what does not load is found before hours are spent.
        places = [job.output_path() for job in jobs] if len(jobs) > 1 else []
        _check_output_paths(places)
        if engine.runs_concurrently or not places:
            yield from _evaluate_together(jobs, engine, observer)
            return
        failed = []
        for job, (label, _) in zip(jobs, places, strict=True):
            try:
                yield from _evaluate_together([job], engine, observer)
            except RobenchError as error:
                failed.append(f"{label}: {error}")
                observer.note(failed[-1])
        if failed:
            raise RunError("; ".join(failed))


def _evaluate_together(jobs: Sequence[Job], engine: Engine, observer: Observer) -> Iterator[Run]:
    prepared = [_prepare_job(job, engine, observer) for job in jobs]
    with ExitStack() as stack:
        runs = [
            RunWriter.begin(one, job.options.fresh, engine.name, observer, stack.enter_context(ExitStack()))
            for one, job in zip(prepared, jobs, strict=True)
        ]
        tasks = [Task(number, shard) for number, run in enumerate(runs) for shard in run.missing]
        finished = [run for run in runs if not run.missing]
        if finished:
            observer.phase(SCORING, 0)
        yield from (run.finish() for run in finished)
        observer.phase(EVALUATING, sum(task.shard.frames for task in tasks))

        def tell(event: Event) -> None:
            observer.note(event.text)
            for number, run in enumerate(runs):
                if run.missing and event.run in (None, number):
                    run.heartbeat.note(event.text)
                    run.record(event)

        for task, part in engine.run(prepared, tasks, EngineObserver(observer, [run.heartbeat for run in runs]), tell):
            run = runs[task.run]
            run.add(task.shard, part)
            if len(runs) > 1:
                run.heartbeat.advance(task.shard.frames)
            if not run.missing:
                if not any(other.missing for other in runs):
                    # While others go on, it is their progress that is looked at.
                    observer.phase(SCORING, 0)
                yield run.finish()


class EngineObserver(NullObserver):
    """What an engine tells of progress, to the caller, and to whoever looks at the runs' directories; events go another way."""

    def __init__(self, observer: Observer, heartbeats: Sequence[Heartbeat]) -> None:
        self._observer, self._heartbeats = observer, heartbeats

    def advance(self, count: int) -> None:
        """Of one run it is told what is under way; of several, each counts what is done."""
        self._observer.advance(count)
        if len(self._heartbeats) == 1:
            self._heartbeats[0].advance(count)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """The runs share them."""
        self._observer.workers(states)
        for one in self._heartbeats:
            one.workers(states)


def _check_output_paths(places: Sequence[tuple[str, Path]]) -> None:
    known: set[Path] = set()
    for label, path in places:
        if path.absolute() in known:
            raise OptionError(
                f"two models are called {label}: evaluate them one by one, each with an --out of its own, or give each its out "
                "in a file of jobs"
            )
        known.add(path.absolute())


def _prepare_job(job: Job, engine: Engine, observer: Observer) -> PreparedRun:
    classifier = job.load()
    one = prepare(
        classifier, job.dataset, job.chosen(classifier), job.out, job.options, observer, engine.machine, job.folder
    )
    if engine.runs_concurrently and one.spec is None:
        raise OptionError(
            f"--engine {engine.name}: workers must load {one.manifest['model']['label']} and its images themselves: take them from "
            "load_classifier and open_dataset"
        )
    # Workers make their own: this process need not hold the networks of all models.
    return replace(one, evaluation=None) if engine.runs_concurrently else one
