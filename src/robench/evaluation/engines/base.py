"""What an engine is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from robench.evaluation.environment import Machine
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.shards import Shard, ShardResult
from robench.runs.observer import Observer

__all__ = ["Engine", "Event", "Task"]


@dataclass(frozen=True)
class Task:
    """A shard of one of several runs.  run: its number among them."""

    run: int
    shard: Shard


@dataclass(frozen=True)
class Event:
    """Something that happened to the work, and that its manifest keeps.

    kind: in two words.  text: one line.  run: the number of that whose work it was, None where it touches all.
    """

    kind: str
    text: str
    run: int | None = None


class Engine(Protocol):
    """Who evaluates shards. Records do not depend on it, as long as the machine is the same."""

    @property
    def name(self) -> str:
        """A key of ENGINES."""

    @property
    def runs_concurrently(self) -> bool:
        """Whether it takes the shards of all runs at once, rather than one run after the other."""

    @property
    def machine(self) -> Machine | None:
        """What computes, once it is started; None for the device that a classifier was loaded onto."""

    @property
    def driver_device(self) -> str | None:
        """The device for the models of this process, where others compute; None for the one that the user names."""

    def started(self, observer: Observer) -> AbstractContextManager[object]:
        """Hold what it needs."""

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer, tell: Callable[[Event], None]
    ) -> Iterator[tuple[Task, ShardResult]]:
        """Evaluate each task once, and yield them as they are done, in any order.

        tell: called with what the manifests keep.
        """
