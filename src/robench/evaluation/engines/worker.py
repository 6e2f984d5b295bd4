"""A worker's process, which builds evaluators and evaluates shards with them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from robench.errors import RobenchError, RunError, flags_shown
from robench.evaluation.environment import Machine
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.shards import Shard, ShardResult
from robench.evaluation.spec import EvaluatorSpec
from robench.models import choose_device

__all__ = ["Worker", "WorkerInfo", "WorkerRejection"]

_MAX_EVALUATORS = 2
"""Evaluators that a worker keeps: the current run's, and the previous run's, whose tasks may return from a lost worker."""


@dataclass(frozen=True)
class WorkerInfo:
    """The description of a worker.

    Attributes:
        node: Name of the machine.
        pid: Number of the process there.
        machine: The device and its software; None if the worker cannot work.
        problem: The reason why the worker cannot work.
    """

    node: str
    pid: int
    machine: Machine | None
    problem: str = ""


@dataclass(frozen=True)
class WorkerRejection:
    """The reason why a worker cannot evaluate shards of a run."""

    reason: str


class Worker:
    """One device with the evaluators on it."""

    def __init__(self, device: str, threads: int, folder: str) -> None:
        """Set up a worker.

        Args:
            device: Device as `--device` takes it.
            threads: CPU threads of the model.
            folder: Directory that relative paths of evaluator specs start from.
        """
        self._device, self._threads, self._folder = device, threads, Path(folder)
        self._evaluators: dict[int, Evaluator] = {}
        self._images = 0

    @flags_shown()
    def describe(self) -> WorkerInfo:
        """Enter the working directory and return the description of this worker."""
        torch.set_num_threads(self._threads)
        try:
            if not self._folder.is_dir():
                raise RunError(
                    f"the directory {self._folder} does not exist on this machine",
                    "share it, or start robench in a directory that all machines have",
                )
            os.chdir(self._folder)
            return WorkerInfo(platform.node(), os.getpid(), Machine.here(choose_device(self._device)))
        except RobenchError as error:
            return WorkerInfo(platform.node(), os.getpid(), None, str(error))

    @flags_shown()
    def evaluate(self, run: int, spec: Callable[[], EvaluatorSpec], shard: Shard) -> ShardResult | WorkerRejection:
        """Evaluate a shard.

        Args:
            run: Number of the run, unique for this worker.
            spec: Returns the run's spec; called if the worker has no evaluator for the run.
            shard: The shard.
        """
        # The number of threads belongs to the calling thread, which may differ between calls.
        torch.set_num_threads(self._threads)
        try:
            return self._evaluator(run, spec).evaluate(shard, self._advance)
        except RobenchError as error:
            return WorkerRejection(str(error))

    def images(self) -> int:
        """Return the number of images classified so far."""
        return self._images

    def _evaluator(self, run: int, spec: Callable[[], EvaluatorSpec]) -> Evaluator:
        if run not in self._evaluators:
            while len(self._evaluators) >= _MAX_EVALUATORS:
                del self._evaluators[next(iter(self._evaluators))]
            self._evaluators[run] = spec().build(self._device)
        return self._evaluators[run]

    def _advance(self, count: int) -> None:
        self._images += count
