"""The assignment of tasks to workers, independent of any cluster."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from robench.evaluation.engines.base import Task

__all__ = ["ATTEMPTS", "Scheduler"]

ATTEMPTS = 3
"""Workers that may be lost over one task before its run fails."""


class Scheduler:
    """Tasks of several runs, assigned to named workers one at a time.

    Tasks are assigned in the given order, run by run, so that a worker builds the evaluator of each run once.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting = deque(tasks)
        self._assigned: dict[str, Task] = {}
        self._rejected: defaultdict[str, set[int]] = defaultdict(set)
        self._losses: Counter[Task] = Counter()

    @property
    def finished(self) -> bool:
        """Whether no task is waiting or assigned."""
        return not self._waiting and not self._assigned

    @property
    def waiting_runs(self) -> set[int]:
        """Runs with tasks that wait for a worker."""
        return {task.run for task in self._waiting}

    def assigned(self, worker: str) -> Task | None:
        """Return the current task of a worker."""
        return self._assigned.get(worker)

    def take(self, worker: str) -> Task | None:
        """Assign an idle worker its next task; None if no task waits that it can evaluate."""
        rejected = self._rejected[worker]
        task = next((task for task in self._waiting if task.run not in rejected), None)
        if task is not None:
            self._waiting.remove(task)
            self._assigned[worker] = task
        return task

    def done(self, worker: str) -> Task:
        """Complete the task of a worker and return the task."""
        return self._assigned.pop(worker)

    def worker_lost(self, worker: str) -> int:
        """Return a lost worker's task to the front of the queue; return how many workers the task has lost."""
        task = self._assigned.pop(worker, None)
        if task is None:
            return 0
        self._waiting.appendleft(task)
        self._losses[task] += 1
        return self._losses[task]

    def reject(self, worker: str) -> None:
        """Leave a worker out of the run of its task, and return the task to the front of the queue."""
        task = self._assigned.pop(worker)
        self._rejected[worker].add(task.run)
        self._waiting.appendleft(task)

    def cancel_run(self, run: int) -> None:
        """Drop the waiting tasks of a run."""
        self._waiting = deque(task for task in self._waiting if task.run != run)
