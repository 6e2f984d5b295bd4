"""Callbacks for the progress of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robench.runs.conditions import ConditionEntry

__all__ = [
    "EVALUATING",
    "SCORING",
    "ConditionScore",
    "FinishedCondition",
    "Observer",
    "ObserverGroup",
    "StartedRun",
    "WorkerState",
]

EVALUATING = "evaluating"
"""The phase in which images are classified."""

SCORING = "scoring"
"""The phase after all records are complete."""


@dataclass(frozen=True)
class WorkerState:
    """The state of an engine's worker.

    Attributes:
        name: Name of the worker within the run.
        node: Name of the machine, as the engine knows it.
        doing: Name of the current condition; empty while the worker waits.
        images: Number of images classified so far.
        images_per_second: Recent speed.
    """

    name: str
    node: str = ""
    doing: str = ""
    images: int = 0
    images_per_second: float = 0.0


@dataclass(frozen=True)
class ConditionScore:
    """The value of a condition that a display shows while the run is running.

    Attributes:
        metric: A key of `robench.analysis.metrics.METRICS`: error_rate, or for frames flip_rate, consistency or accuracy.
        value: Value of the metric, 0 to 1.
    """

    metric: str
    value: float


@dataclass(frozen=True)
class StartedRun:
    """A run whose conditions are about to be evaluated.

    Attributes:
        path: The run directory.
        model: Label of the model.
        dataset: Name of the dataset.
        samples: Images of each condition.
        classes: Classes of the dataset.
        device: Device of the computation.
        conditions: All conditions of the run in order.
        scores: Scores of the conditions that are finished already, by name.
        divisors: Mean error of the baseline by suite and corruption; only suites with a baseline.
        estimate: Measures the time of the remaining conditions in seconds, within a few seconds; None if it is not known.
    """

    path: Path
    model: str
    dataset: str
    samples: int
    classes: int
    device: str
    conditions: tuple[ConditionEntry, ...]
    scores: Mapping[str, ConditionScore] = field(default_factory=dict)
    divisors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    estimate: Callable[[], float | None] = lambda: None


@dataclass(frozen=True)
class FinishedCondition:
    """A condition that is finished and on disk.

    Attributes:
        path: The run directory.
        condition: The condition.
        score: Its score.
        images: Images that this process classified for it.
        seconds: Time of their evaluation in seconds.
    """

    path: Path
    condition: ConditionEntry
    score: ConditionScore
    images: int
    seconds: float


class Observer:
    """A receiver of progress that ignores everything; subclasses override the methods they need."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase in which `total` images are hashed, decoded or classified."""

    def advance(self, count: int) -> None:
        """Count more images of the phase as done; `count` is negative if a lost worker's images must be repeated."""

    def begin(self, run: StartedRun) -> None:
        """Report a run that begins; engines with workers begin several runs before the first condition is finished."""

    def condition(self, finished: FinishedCondition) -> None:
        """Report a condition that is finished and on disk."""

    def note(self, text: str) -> None:
        """Show the user a message of one line."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Report the state of all workers; engines with workers call this every few seconds."""


class ObserverGroup(Observer):
    """Several observers that all receive everything."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def phase(self, name: str, total: int) -> None:
        """Begin a phase."""
        for observer in self._observers:
            observer.phase(name, total)

    def advance(self, count: int) -> None:
        """Count more images as done."""
        for observer in self._observers:
            observer.advance(count)

    def begin(self, run: StartedRun) -> None:
        """Report a run that begins."""
        for observer in self._observers:
            observer.begin(run)

    def condition(self, finished: FinishedCondition) -> None:
        """Report a finished condition."""
        for observer in self._observers:
            observer.condition(finished)

    def note(self, text: str) -> None:
        """Show a message."""
        for observer in self._observers:
            observer.note(text)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Report the state of all workers."""
        for observer in self._observers:
            observer.workers(states)
