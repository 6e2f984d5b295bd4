"""The engine that evaluates one shard after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from robench.errors import OptionError
from robench.evaluation.engines.base import Event, Task, TaskResult
from robench.evaluation.environment import Machine
from robench.evaluation.prepare import PreparedRun
from robench.runs.observer import Observer

__all__ = ["LOCAL", "Local"]


class Local:
    """An engine that evaluates shards in this process, on the device of the classifier."""

    name = "local"
    runs_concurrently = False
    machine: Machine | None = None
    driver_device: str | None = None

    def __init__(self, threads: int | None = None) -> None:
        """Set the number of CPU threads for the model; None keeps that of the process."""
        if threads is not None and threads < 1:
            raise OptionError(f"--threads must be at least 1, not {threads}", "omit it for all cores")
        self._threads = threads

    @contextmanager
    def started(self, observer: Observer) -> Iterator[None]:
        """Hold the number of threads."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self._threads or before)
            yield
        finally:
            torch.set_num_threads(before)

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer
    ) -> Iterator[TaskResult | Event]:
        """Evaluate the tasks in their order."""
        for task in tasks:
            evaluator = runs[task.run].evaluator
            assert evaluator is not None
            yield TaskResult(task, evaluator.begin(task.shard, observer.advance))


LOCAL = Local()
