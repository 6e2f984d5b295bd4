"""What runs in a worker's process: evaluations made from recipes, each once, and shards of them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robench.errors import RobenchError, RunError
from robench.evaluation.environment import Machine
from robench.evaluation.evaluator import Evaluator
from robench.evaluation.shards import Shard, ShardResult
from robench.evaluation.spec import EvaluatorSpec
from robench.models import choose_device

__all__ = ["Worker", "WorkerInfo", "WorkerRejection"]

_KEPT = 2
"""Evaluations that a worker keeps: that of the run at hand, and of the one before, of which a lost worker may leave something."""


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker says of itself.

    node: the machine's name.  pid: of its process there.  machine: None where `problem` says why it cannot work.
    """

    node: str
    pid: int
    machine: Machine | None
    problem: str = ""


@dataclass(frozen=True)
class WorkerRejection:
    """Why a worker cannot evaluate shards of a run: it cannot make the evaluation, or its device is too small."""

    reason: str


class Worker:
    """One device, and the evaluations on it.

    device: as `--device` takes it.  threads: of a CPU.  folder: from which the paths of recipes are seen.
    """

    def __init__(self, device: str, threads: int, folder: str) -> None:
        self._device, self._threads, self._folder = device, threads, Path(folder)
        self._evaluations: dict[int, Evaluator] = {}
        self._images = 0

    def describe(self) -> WorkerInfo:
        """Say what this is."""
        torch.set_num_threads(self._threads)
        try:
            if not self._folder.is_dir():
                raise RunError(
                    f"there is no folder {self._folder} here: share it, or start from one that all machines have"
                )
            os.chdir(self._folder)
            return WorkerInfo(platform.node(), os.getpid(), Machine.here(choose_device(self._device)))
        except RobenchError as error:
            return WorkerInfo(platform.node(), os.getpid(), None, str(error))

    def evaluate(self, run: int, recipe: Any, shard: Shard) -> ShardResult | WorkerRejection:
        """Evaluate a shard of a run, by its number.  recipe: called for its recipe if that is new."""
        # Threads are a setting of the thread that computes, and this may be another than the one before.
        torch.set_num_threads(self._threads)
        try:
            return self._evaluation(run, recipe).evaluate(shard, self._advance)
        except RobenchError as error:
            return WorkerRejection(str(error))

    def images(self) -> int:
        """Return how many images it has classified."""
        return self._images

    def _evaluation(self, run: int, recipe: Any) -> Evaluator:
        if run not in self._evaluations:
            while len(self._evaluations) >= _KEPT:
                del self._evaluations[next(iter(self._evaluations))]
            made: EvaluatorSpec = recipe()
            self._evaluations[run] = made.make(self._device)
        return self._evaluations[run]

    def _advance(self, count: int) -> None:
        self._images += count
