"""The interface of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from robench.evaluation.environment import Machine
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.shards import Shard, ShardResult
from robench.runs.observer import Observer

__all__ = ["Engine", "Event", "Task", "TaskResult"]


@dataclass(frozen=True)
class Task:
    """A shard of one of several runs; `run` is the index of the run."""

    run: int
    shard: Shard


@dataclass(frozen=True)
class TaskResult:
    """An evaluated task; `result` may be a function that waits for the device and encodes the records, in any thread."""

    task: Task
    result: ShardResult | Callable[[], ShardResult]


@dataclass(frozen=True)
class Event:
    """A disturbance that the manifest of a run keeps.

    Attributes:
        kind: `failed`, `worker lost`, `worker rejected` or `out of memory`.
        text: A message of one line.
        run: Index of the affected run; None for all runs.
    """

    kind: str
    text: str
    run: int | None = None


class Engine(Protocol):
    """A way to evaluate shards; on equal machines, records do not depend on the engine."""

    @property
    def name(self) -> str:
        """A key of `ENGINES`."""

    @property
    def runs_concurrently(self) -> bool:
        """Whether the engine evaluates all runs at once instead of one after the other."""

    @property
    def machine(self) -> Machine | None:
        """The machine that computes, once the engine is started; None for the device of the classifier."""

    @property
    def driver_device(self) -> str | None:
        """Device for models in the driver process; None to use `--device`."""

    def started(self, observer: Observer) -> AbstractContextManager[object]:
        """Hold the engine's resources."""

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer
    ) -> Iterator[TaskResult | Event]:
        """Evaluate each task once and yield results and events as they occur, in any order.

        Args:
            runs: The runs that tasks refer to.
            tasks: The shards to evaluate.
            observer: Receives `advance` and `workers`.
        """
