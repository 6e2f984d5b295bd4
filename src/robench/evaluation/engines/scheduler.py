"""Which worker does what next: nothing is lost with a worker, nothing is counted twice. Knows no cluster."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from robench.evaluation.engines.base import Task

__all__ = ["ATTEMPTS", "Scheduler"]

ATTEMPTS = 3
"""Workers that may end over one task before the task is to blame."""

_LATE, _AT_LEAST, _UNKNOWN = 3.0, 10.0, 600.0
"""A task is given to a second worker after so many times what it was expected to take, and at least so many seconds; where nothing
of any run is done yet, after so many."""


@dataclass
class _Assignment:
    """A task in a worker's line.  since: when the worker came to it."""

    task: Task
    since: float


class Scheduler:
    """The tasks of some runs, given to workers by name, the next one while they are at one.

    clock: seconds from any beginning.
    """

    def __init__(self, tasks: Sequence[Task], clock: Callable[[], float] = time.monotonic) -> None:
        # In their order, run by run: so that a worker makes the evaluation of each once.
        self._waiting = deque(tasks)
        self._lines: dict[str, list[_Assignment]] = {}
        self._refused: dict[str, set[int]] = {}
        self._lost: Counter[Task] = Counter()
        self._missing = set(tasks)
        self._pace: dict[int, list[float]] = {}
        self._clock = clock

    @property
    def finished(self) -> bool:
        """Whether every task is done."""
        return not self._missing

    @property
    def open_runs(self) -> set[int]:
        """Runs that lack something."""
        return {task.run for task in self._missing}

    def assigned(self, worker: str) -> list[Task]:
        """What a worker has been given and has not done, the one that it is at first."""
        return [given.task for given in self._lines.get(worker, [])]

    def take(self, worker: str) -> Task | None:
        """Give a worker its next task; None where it has enough, or there is nothing that it can do.

        It has a second one in its line only while there is plenty for all. When nothing waits, it gets what another worker is
        unusually long at.
        """
        line = self._lines.setdefault(worker, [])
        most = 2 if len(self._waiting) > 2 * len(self._lines) else 1
        if len(line) >= most:
            return None
        refused = self._refused.get(worker, set())
        task = next((one for one in self._waiting if one.run not in refused), None)
        if task is not None:
            self._waiting.remove(task)
        elif not line:
            task = self._late(worker, refused)
        if task is not None:
            line.append(_Assignment(task, self._clock()))
        return task

    def _late(self, worker: str, refused: set[int]) -> Task | None:
        for other, line in self._lines.items():
            for place, given in enumerate(line):
                task = given.task
                if other == worker or task not in self._missing or task.run in refused or self._copies(task) > 1:
                    continue
                # What only waits in another's line can as well be done here.
                if place or self._clock() - given.since > self._patience(task):
                    return task
        return None

    def _copies(self, task: Task) -> int:
        return sum(given.task == task for line in self._lines.values() for given in line)

    def _patience(self, task: Task) -> float:
        pace = self._pace.get(task.run) or [one for paces in self._pace.values() for one in paces]
        return max(_AT_LEAST, _LATE * median(pace) * task.shard.frames) if pace else _UNKNOWN

    def done(self, worker: str, task: Task) -> bool:
        """A worker has done a task; whether it is the first to."""
        line = self._lines[worker]
        given = next(one for one in line if one.task == task)
        self._pace.setdefault(task.run, []).append((self._clock() - given.since) / task.shard.frames)
        self._leave(worker, given)
        first = task in self._missing
        self._missing.discard(task)
        return first

    def worker_lost(self, worker: str) -> int:
        """A worker is gone: all in its line is to be done by others. How many were lost over the task it was at."""
        line = self._lines.pop(worker, [])
        for given in reversed(line):
            if given.task in self._missing and not self._copies(given.task):
                self._waiting.appendleft(given.task)
        if not line:
            return 0
        self._lost[line[0].task] += 1
        return self._lost[line[0].task]

    def refuse(self, worker: str, task: Task) -> None:
        """A worker cannot do tasks of this run; this one, and others of it in its line, are to be done by others."""
        self._refused.setdefault(worker, set()).add(task.run)
        for given in [one for one in self._lines[worker] if one.task == task]:
            self._leave(worker, given)
            if task in self._missing and not self._copies(task):
                self._waiting.appendleft(task)

    def cancel_run(self, run: int) -> None:
        """What is left of a run is not to be done."""
        self._missing = {task for task in self._missing if task.run != run}
        self._waiting = deque(task for task in self._waiting if task.run != run)

    def refuses(self, worker: str, run: int) -> bool:
        """Whether a worker has refused a run."""
        return run in self._refused.get(worker, set())

    def _leave(self, worker: str, given: _Assignment) -> None:
        line = self._lines[worker]
        line.remove(given)
        if line:
            line[0].since = self._clock()
