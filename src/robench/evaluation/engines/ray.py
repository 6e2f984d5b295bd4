"""The engine over a Ray cluster; only the driver writes into run directories."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from robench.errors import OptionError, RunError, printable
from robench.evaluation.engines.base import Event, Task, TaskResult
from robench.evaluation.engines.ray_cluster import connected, import_ray
from robench.evaluation.engines.ray_workers import TIMEOUT, WorkerPool, WorkerProgress
from robench.evaluation.engines.scheduler import ATTEMPTS, Scheduler
from robench.evaluation.engines.worker import WorkerRejection
from robench.evaluation.environment import Machine
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.shards import ShardResult
from robench.evaluation.spec import EvaluatorSpec
from robench.runs.observer import Observer

__all__ = ["Ray"]

_POLL = 0.5
"""Seconds to wait for a worker's result."""


class Ray:
    """An engine with one worker on each device of a Ray cluster."""

    name = "ray"
    runs_concurrently = True
    driver_device = "cpu"

    def __init__(
        self, address: str | None = None, workers: int | None = None, device: str = "auto", threads: int = 1
    ) -> None:
        """Choose a cluster and its workers.

        Args:
            address: `auto`, HOST:PORT or ray://HOST:PORT; None for RAY_ADDRESS, or else for a cluster that is started on
                this machine and ends with the runs.
            workers: Number of workers; None for one on each GPU, or else on every `threads` cores.
            device: auto, cpu or cuda; each worker has a GPU of its own.
            threads: CPU threads of each worker.

        Raises:
            OptionError: An argument is invalid.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise OptionError(f"--engine ray takes no --device {device!r}", "give --device auto, cpu or cuda")
        if workers is not None and workers < 1:
            raise OptionError(f"--workers must be at least 1, not {workers}", "omit it for all devices")
        if address is not None and not address.strip():
            raise OptionError("--address is empty", "give auto, HOST:PORT or ray://HOST:PORT, or omit it")
        if threads < 1:
            raise OptionError(f"--threads must be at least 1, not {threads}", "omit it for one thread in each worker")
        self._address, self._count, self._device, self._threads = address, workers, device, threads
        self._pool: WorkerPool | None = None
        self._start_events: list[Event] = []
        self._seen = 0
        """Runs of earlier calls of `run`, whose evaluators the workers may keep."""

    @property
    def machine(self) -> Machine | None:
        """The machine of the first worker, which all others equal."""
        return None if self._pool is None else self._pool.machine

    @contextmanager
    def started(self, observer: Observer) -> Iterator[None]:
        """Start or join the cluster, start the workers and wait for the first of them."""
        cores = None if self._count is None else self._count * self._threads
        with connected(self._address, cores) as ray:
            observer.phase("starting workers", 0)
            self._pool = pool = WorkerPool(ray, self._count, self._device, self._threads)
            try:
                self._start_events, start = [], time.monotonic()
                while pool.machine is None:
                    self._start_events += pool.update()
                    pool.check(start, "".join(f": {event.text}" for event in self._start_events[-1:]))
                    time.sleep(0.05)
                for event in self._start_events:
                    observer.note(event.text)
                nodes = sum(bool(node["Alive"]) for node in ray.nodes())
                where = f"{nodes} node{'' if nodes == 1 else 's'}"
                observer.note(f"{len(pool.workers)} workers on {pool.machine.device}, {where}")
                yield
            finally:
                pool.close()
                self._pool = None

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer
    ) -> Iterator[TaskResult | Event]:
        """Evaluate the tasks on all workers.

        A run fails if no worker can evaluate it, or if one of its tasks ends several workers. The other runs continue.

        Raises:
            RunError: No worker is left; or, at the end, some runs have failed.
        """
        ray, pool = import_ray(), self._pool
        assert pool is not None, "the engine is started"
        yield from self._start_events
        specs = [_StoredSpec(ray.put(run.spec)) for run in runs]
        first, self._seen = self._seen, self._seen + len(runs)
        labels = [run.manifest["model"]["label"] for run in runs]
        scheduler = Scheduler(tasks)
        progress = WorkerProgress(observer, scheduler, labels if len(labels) > 1 else ())
        rejections: dict[int, str] = {}
        failures: list[str] = []

        def fail(run: int, error: RunError) -> Event:
            scheduler.cancel_run(run)
            failures.append(str(error))
            return Event("failed", str(error), run)

        last_busy = time.monotonic()
        while not scheduler.finished:
            yield from pool.update()
            for worker in pool.ready:
                if worker.call is None and (task := scheduler.take(worker.name)) is not None:
                    worker.call = worker.actor.evaluate.remote(first + task.run, specs[task.run], task.shard)
            calls = {worker.call: worker for worker in pool.workers if worker.call is not None}
            for call in ray.wait(list(calls), timeout=_POLL)[0] if calls else ():
                worker, task = calls[call], scheduler.assigned(calls[call].name)
                assert task is not None
                worker.call, outcome = None, _outcome(ray, call)
                if isinstance(outcome, ShardResult):
                    scheduler.done(worker.name)
                    progress.done(worker, task.shard.frames, pool.workers)
                    yield TaskResult(task, outcome)
                elif isinstance(outcome, WorkerRejection):
                    scheduler.reject(worker.name)
                    rejections[task.run] = outcome.reason
                    text = f"{worker.name} on {worker.node} is excluded from {labels[task.run]}: {outcome.reason}"
                    yield Event("worker rejected", text, task.run)
                else:
                    condition, losses = task.shard.condition.name, scheduler.worker_lost(worker.name)
                    event = pool.lose(worker, outcome, f"was lost at {condition}, which is repeated")
                    yield event
                    if losses >= ATTEMPTS:
                        problem = f"{condition} of {labels[task.run]} ended {losses} workers, last: {event.text}"
                        hint = "check the memory of the machines, then give the same command again to resume"
                        yield fail(task.run, RunError(problem, hint))
            if calls:
                last_busy = time.monotonic()
            else:
                pool.check(last_busy)
                if pool.complete or time.monotonic() - last_busy > TIMEOUT:
                    for run in scheduler.waiting_runs:
                        yield fail(run, RunError(f"no worker can evaluate {labels[run]}: {rejections[run]}"))
                time.sleep(_POLL)
            progress.report(ray, pool.workers)
        if failures:
            raise RunError("; ".join(failures))


class _StoredSpec:
    """A spec in the cluster's store, which a worker fetches by calling this."""

    def __init__(self, reference: Any) -> None:
        self._reference = [reference]

    def __call__(self) -> EvaluatorSpec:
        spec: EvaluatorSpec = import_ray().get(self._reference[0])
        return spec


def _outcome(ray: Any, call: Any) -> ShardResult | WorkerRejection | Exception:
    """Return the result of an evaluation, or Ray's error if the worker is lost."""
    try:
        outcome: ShardResult | WorkerRejection = ray.get(call)
    except ray.exceptions.RayTaskError as error:
        if not isinstance(error.cause, OSError):
            raise
        return WorkerRejection(printable(str(error.cause)))  # For example a full disk or a missing directory.
    except ray.exceptions.RayError as error:
        return cast("Exception", error)
    return outcome
