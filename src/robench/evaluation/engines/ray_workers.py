"""The workers of a cluster as the driver knows them, and what an observer is told of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from robench.evaluation.engines.base import Task
from robench.evaluation.engines.scheduler import Scheduler
from robench.runs.observer import Observer, WorkerState

__all__ = ["RayWorker", "WorkerProgress"]

_SHOWN = 2.0
"""Seconds between two looks at how far they are."""


@dataclass
class RayWorker:
    """A worker as the driver knows it.

    name: within the run.  greeting: pending until the actor runs.  calls: pending evaluations.
    asked: the pending question of how many images it has classified.  looked: when that was last answered.
    images: that it says it has classified, and `settled` how many of them are of tasks it has done.  rate: in images/s, of late.
    """

    name: str
    actor: Any
    info: Any
    node: str = ""
    pid: int = 0
    calls: dict[Any, Task] = field(default_factory=dict)
    asked: Any = None
    looked: float = 0.0
    images: int = 0
    settled: int = 0
    rate: float = 0.0

    def poll(self, ray: Any) -> None:
        """See how many images it has classified; where it does not answer now, it answers later."""
        if self.asked is None:
            self.asked = self.actor.images.remote()
        if not ray.wait([self.asked], timeout=0)[0]:
            return
        try:
            images = ray.get(self.asked)
        except ray.exceptions.RayError:
            return  # Its evaluation tells the same.
        now = time.monotonic()
        # Fewer images than before are those of a batch that was too large for its device.
        rate = max(images - self.images, 0) / max(now - self.looked, 1e-3)
        self.rate = 0.7 * self.rate + 0.3 * rate if self.rate else rate
        self.images, self.looked = images, now
        self.asked = self.actor.images.remote()


class WorkerProgress:
    """Images done and under way, as an observer is told: those of a lost worker are taken back.

    labels: of the runs' models, where there are several.
    """

    def __init__(self, observer: Observer, schedule: Scheduler, labels: Sequence[str] = ()) -> None:
        self._observer, self._schedule, self._labels = observer, schedule, labels
        self._done, self._told, self._shown = 0, 0, time.monotonic()

    def done(self, member: RayWorker, task: Task, members: Sequence[RayWorker]) -> bool:
        """One of the workers has done a task; whether it is the first to."""
        member.settled += task.shard.frames
        first = self._schedule.done(member.name, task)
        if first:
            self._done += task.shard.frames
            self._tell(members)
        return first

    def show(self, ray: Any, members: Sequence[RayWorker]) -> None:
        """Look at the workers and tell where all of them are, unless that was done a moment ago."""
        if time.monotonic() - self._shown <= _SHOWN:
            return
        for member in members:
            if member.info is None:
                member.poll(ray)
        self._tell(members)
        states = []
        for member in members:
            line = self._schedule.assigned(member.name)
            doing = line[0].shard.condition.name if line else ""
            if line and self._labels:
                doing = f"{self._labels[line[0].run]}: {doing}"
            states.append(WorkerState(member.name, member.node or "no node yet", doing, member.images, member.rate))
        self._observer.workers(states)
        self._shown = time.monotonic()

    def _tell(self, members: Sequence[RayWorker]) -> None:
        under_way = sum(
            min(max(one.images - one.settled, 0), sum(task.shard.frames for task in self._schedule.assigned(one.name)))
            for one in members
        )
        now = self._done + under_way
        self._observer.advance(now - self._told)
        self._told = now
