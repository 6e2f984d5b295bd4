"""The engine that needs nothing: one shard after the other, in this process, on the device of the classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from robench.errors import OptionError
from robench.evaluation.engines.base import Event, Task
from robench.evaluation.environment import Machine
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.shards import ShardResult
from robench.runs.observer import Observer

__all__ = ["LOCAL", "Local"]


class Local:
    """One shard after the other.

    threads: of a CPU, for the model; None for what the process has.
    """

    name = "local"
    runs_concurrently = False
    machine: Machine | None = None
    driver_device: str | None = None

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"--threads must be at least 1, not {threads}")
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
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer, tell: Callable[[Event], None]
    ) -> Iterator[tuple[Task, ShardResult]]:
        """Evaluate the tasks in their order."""
        for task in tasks:
            evaluation = runs[task.run].evaluation
            assert evaluation is not None
            yield task, evaluation.evaluate(task.shard, observer.advance)


LOCAL = Local()
