"""The workers of a Ray cluster, seen from the driver, and their progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robench.errors import DeviceError, RunError, printable
from robench.evaluation.engines.base import Event
from robench.evaluation.engines.ray_cluster import import_ray
from robench.evaluation.engines.scheduler import Scheduler
from robench.evaluation.engines.worker import Worker, WorkerInfo
from robench.evaluation.environment import Machine, software
from robench.runs.observer import Observer, WorkerState

__all__ = ["TIMEOUT", "RayWorker", "WorkerPool", "WorkerProgress"]

TIMEOUT = 300.0
"""Seconds without any working worker after which a run ends."""

_RESTARTS = 10
"""Number of times that Ray restarts a lost worker."""
_NODES_INTERVAL = 2.0
"""Seconds between two searches for new nodes."""
_REPORT_INTERVAL = 2.0
"""Seconds between two reports of the workers' states."""


@dataclass
class RayWorker:
    """A worker as the driver knows it.

    Attributes:
        name: Name within the run.
        actor: Handle of Ray's actor.
        info: Pending call of `describe`; None once the worker is ready.
        node: Name of the machine.
        pid: Number of the process there.
        call: Pending evaluation.
        poll_call: Pending call of `images`.
        polled: Time of its last answer.
        images: Images classified, by its last answer.
        settled: Images of finished tasks.
        rate: Recent images per second.
    """

    name: str
    actor: Any
    info: Any
    node: str = ""
    pid: int = 0
    call: Any = None
    poll_call: Any = None
    polled: float = 0.0
    images: int = 0
    settled: int = 0
    rate: float = 0.0

    def poll(self, ray: Any) -> None:
        """Update the number of images classified, if the worker has answered."""
        if self.poll_call is None:
            self.poll_call = self.actor.images.remote()
        if not ray.wait([self.poll_call], timeout=0)[0]:
            return
        call, self.poll_call = self.poll_call, None
        try:
            images = ray.get(call)
        except ray.exceptions.RayError:
            return  # The evaluation fails as well and is handled there.
        now = time.monotonic()
        # The count falls if the device ran out of memory and the batch is repeated.
        rate = max(images - self.images, 0) / max(now - self.polled, 1e-3)
        self.rate = 0.7 * self.rate + 0.3 * rate if self.rate else rate
        self.images, self.polled = images, now

    def restart(self) -> None:
        """Wait for the actor that Ray restarts; it counts images from 0."""
        self.info, self.call, self.poll_call = self.actor.describe.remote(), None, None
        self.images = self.settled = 0


class WorkerPool:
    """Workers on the nodes of a cluster that compute the same as the first of them.

    Attributes:
        workers: All workers, those that have not started included.
        machine: The machine of the first worker, which all others must equal.
    """

    def __init__(self, ray: Any, count: int | None, device: str, threads: int) -> None:
        """Choose the device and start the workers.

        Args:
            ray: The package, connected to a cluster.
            count: Number of workers; None for one on each GPU, or on every `threads` cores.
            device: auto, cpu or cuda.
            threads: CPU threads of each worker.

        Raises:
            RunError: The cluster has no resources.
            DeviceError: The cluster has no GPU, and `device` is cuda.
        """
        self._ray, self._count, self._threads = ray, count, threads
        self._gpus = _has_gpus(ray, device)
        self._nodes: set[str] = set()
        self._started, self._next_search = 0, 0.0
        self.machine: Machine | None = None
        self.workers: list[RayWorker] = []
        for _ in range(count or 0):
            self._start()

    @property
    def ready(self) -> list[RayWorker]:
        """Workers that have started."""
        return [worker for worker in self.workers if worker.info is None]

    @property
    def complete(self) -> bool:
        """Whether all workers have started, and at least one was expected."""
        return self._started > 0 and len(self.ready) == len(self.workers)

    def update(self) -> Iterator[Event]:
        """Start workers on new nodes, admit workers that have started, and yield an event for each one lost or rejected."""
        if self._count is None and time.monotonic() >= self._next_search:
            self._next_search = time.monotonic() + _NODES_INTERVAL
            for node in self._ray.nodes():
                if node["Alive"] and node["NodeID"] not in self._nodes:
                    self._nodes.add(node["NodeID"])
                    resources = node["Resources"]
                    cores = int(resources.get("CPU", 0)) // self._threads
                    for _ in range(int(resources.get("GPU", 0)) if self._gpus else cores):
                        self._start(node["NodeID"])
        pending = {worker.info: worker for worker in self.workers if worker.info is not None}
        for call in self._ray.wait(list(pending), num_returns=len(pending), timeout=0)[0] if pending else ():
            yield from self._admit(pending[call])

    def lose(self, worker: RayWorker, error: Exception, text: str) -> Event:
        """Let Ray restart a worker, or drop the worker if Ray does not, and return the event."""
        if isinstance(error, self._ray.exceptions.ActorDiedError):
            self._drop(worker)
        else:
            worker.restart()
        node = f" on {worker.node}" if worker.node else ""
        return Event("worker lost", f"{worker.name}{node} {text} ({_reason(error)})")

    def check(self, since: float, detail: str = "") -> None:
        """Raise RunError if no worker is left, or if none is ready `TIMEOUT` seconds after the time `since`.

        Args:
            since: A time of the monotonic clock.
            detail: Text to append if no worker is left.
        """
        if self._started and not self.workers:
            raise RunError(f"no worker is left{detail}", "give the same command again to resume")
        if not self.ready and time.monotonic() - since > TIMEOUT:
            resource = "GPU" if self._gpus else "core" if self._threads == 1 else f"node with {self._threads} cores"
            raise RunError(
                f"no worker could start in {TIMEOUT:.0f} s",
                f"check that the cluster has a free {resource} (`ray status`)",
            )

    def close(self) -> None:
        """End all workers."""
        for worker in list(self.workers):
            self._drop(worker)

    def _start(self, node: str | None = None) -> None:
        """Add a worker, which waits until the cluster has room, preferably on a node."""
        self._started += 1
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        actor = (
            self._ray.remote(concurrency_groups={"progress": 1})(_actor())
            .options(
                num_cpus=1 if self._gpus else self._threads,
                num_gpus=1 if self._gpus else 0,
                max_restarts=_RESTARTS,
                # Another worker repeats a lost task, since a restarted actor may wait for room.
                max_task_retries=0,
                scheduling_strategy=affinity(node, soft=True) if node else "DEFAULT",
            )
            .remote("cuda" if self._gpus else "cpu", self._threads, str(Path.cwd()))
        )
        self.workers.append(RayWorker(f"worker {self._started}", actor, actor.describe.remote()))

    def _drop(self, worker: RayWorker) -> None:
        self.workers.remove(worker)
        self._ray.kill(worker.actor)

    def _admit(self, worker: RayWorker) -> Iterator[Event]:
        """Make a started worker ready, unless its machine computes something else."""
        try:
            info: WorkerInfo = self._ray.get(worker.info)
        except self._ray.exceptions.RayTaskError as error:
            info = WorkerInfo("a node", 0, None, f"robench does not start there: {printable(str(error.cause))[:200]}")
        except self._ray.exceptions.RayError as error:
            yield self.lose(worker, error, "did not start")
            return
        problem = info.problem
        if info.machine is not None:
            expected = self.machine or replace(info.machine, versions={**info.machine.versions, **software()})
            problem = "; ".join(expected.differences(info.machine))
            if not problem:
                self.machine = expected
        if problem:
            self._drop(worker)
            yield Event("worker rejected", f"{worker.name} on {info.node} is excluded: {problem}")
            return
        worker.node, worker.pid, worker.info, worker.polled = info.node, info.pid, None, time.monotonic()


class WorkerProgress:
    """Reports finished images and images in progress to an observer; a lost worker's images are taken back."""

    def __init__(self, observer: Observer, scheduler: Scheduler, labels: Sequence[str] = ()) -> None:
        """Set up the reports.

        Args:
            observer: Receives `advance` and `workers`.
            scheduler: Holds the workers' tasks.
            labels: Labels of the models if there are several runs.
        """
        self._observer, self._scheduler, self._labels = observer, scheduler, labels
        self._done, self._reported, self._last_report = 0, 0, time.monotonic()

    def done(self, worker: RayWorker, frames: int, workers: Sequence[RayWorker]) -> None:
        """Count the images of a finished task."""
        worker.settled += frames
        self._done += frames
        self._advance(workers)

    def report(self, ray: Any, workers: Sequence[RayWorker]) -> None:
        """Poll the workers and report their states, unless the last report is recent."""
        if time.monotonic() - self._last_report <= _REPORT_INTERVAL:
            return
        states = []
        for worker in workers:
            if worker.info is None:
                worker.poll(ray)
            task = self._scheduler.assigned(worker.name)
            label = f"{self._labels[task.run]}: " if task and self._labels else ""
            doing = f"{label}{task.shard.condition.name}" if task else ""
            states.append(WorkerState(worker.name, worker.node or "no node yet", doing, worker.images, worker.rate))
        self._advance(workers)
        self._observer.workers(states)
        self._last_report = time.monotonic()

    def _advance(self, workers: Sequence[RayWorker]) -> None:
        images = self._done
        for worker in workers:
            if (task := self._scheduler.assigned(worker.name)) is not None:
                images += min(max(worker.images - worker.settled, 0), task.shard.frames)
        self._observer.advance(images - self._reported)
        self._reported = images


def _has_gpus(ray: Any, device: str) -> bool:
    """Wait for a node that can compute; return whether workers use GPUs."""
    start = time.monotonic()
    while True:
        resources = ray.cluster_resources()
        gpus = device != "cpu" and resources.get("GPU", 0) > 0
        if gpus or resources.get("CPU", 0) >= 1:
            break
        if time.monotonic() - start > TIMEOUT:
            raise RunError(
                f"the cluster had neither a GPU nor a core in {TIMEOUT:.0f} s", "start its nodes (`ray status`)"
            )
        time.sleep(0.5)
    if device == "cuda" and not gpus:
        raise DeviceError("the cluster has no GPU", "use --device cpu, or start its nodes with --num-gpus")
    return gpus


def _actor() -> type[Worker]:
    """Return the class of Ray's actor, which needs Ray to be defined."""
    ray = import_ray()

    class Actor(Worker):
        @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
        def describe(self) -> WorkerInfo:
            info = super().describe()
            # A machine may run several nodes.
            return replace(info, node=f"{info.node}/{ray.get_runtime_context().get_node_id()[:6]}")

        @ray.method(concurrency_group="progress")  # type: ignore[untyped-decorator]
        def images(self) -> int:
            return super().images()

    return Actor


def _reason(error: Exception) -> str:
    """Return the kind and the first line of Ray's error, which is a page long."""
    name = type(error).__name__.removesuffix("Error")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{name}: {printable(lines[0])[:150]}" if lines else name
