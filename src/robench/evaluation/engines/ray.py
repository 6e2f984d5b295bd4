"""The engine over a Ray cluster: an actor a device, which evaluates the shards that the driver's schedule gives it.

The driver alone writes, so that a run directory is what it is with the local engine. An actor that ends, with its node or alone,
is replaced; its shards are done by others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from robench.errors import DeviceError, OptionError, RunError, printable
from robench.evaluation.engines.base import Event, Task
from robench.evaluation.engines.ray_cluster import connected, import_ray
from robench.evaluation.engines.ray_workers import RayWorker, WorkerProgress
from robench.evaluation.engines.scheduler import ATTEMPTS, Scheduler
from robench.evaluation.engines.worker import Worker, WorkerInfo, WorkerRejection
from robench.evaluation.environment import Machine, software
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.shards import ShardResult
from robench.runs.observer import Observer

__all__ = ["Ray"]

_POLL = 0.5
"""Seconds between two looks at the workers, where none has done anything."""
_JOINED = 2.0
"""Seconds between two looks for nodes that have joined."""
_PATIENCE = 300.0
"""Seconds without any worker, after which a run ends."""


class Ray:
    """Workers on a Ray cluster.

    address: of the cluster, `auto`, HOST:PORT or ray://…; None for RAY_ADDRESS, else for one on this machine, for as long as the run.
    workers: how many; None for one a GPU where there are GPUs, else one for so many cores as `threads`.
    device: auto, cpu or cuda; each worker has a GPU of its own.  threads: with which a CPU worker computes.
    """

    name = "ray"
    runs_concurrently = True
    driver_device = "cpu"

    def __init__(
        self, address: str | None = None, workers: int | None = None, device: str = "auto", threads: int = 1
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise OptionError(
                f"--engine ray gives each worker a device of its own: --device auto, cpu or cuda, not {device!r}"
            )
        if workers is not None and workers < 1:
            raise OptionError(f"--workers must be at least 1, not {workers}")
        if address is not None and not address.strip():
            raise OptionError("--address is empty: give auto, HOST:PORT or ray://HOST:PORT, or leave it out")
        if threads < 1:
            raise OptionError(f"--threads must be at least 1, not {threads}")
        self._address, self._count, self._device, self._threads = address, workers, device, threads
        self._members: list[RayWorker] = []
        self._nodes: set[str] = set()
        self._nodes_looked = -_JOINED
        self._machine: Machine | None = None
        self._early: list[Event] = []
        self._reasons: dict[int, str] = {}
        self._failed: dict[int, str] = {}
        self._stuck: dict[int, float] = {}
        self._numbered = self._ended = 0
        self._gpus = False
        self._alone = time.monotonic()

    @property
    def machine(self) -> Machine | None:
        """The first worker's, which the others must equal."""
        return self._machine

    @contextmanager
    def started(self, observer: Observer) -> Iterator[None]:
        """Start or join the cluster and its workers; wait for the first of them."""
        cores = None if self._count is None else self._count * self._threads
        with connected(self._address, cores) as ray:
            try:
                self._begin(ray, observer)
                yield
            finally:
                for member in self._members:
                    ray.kill(member.actor)
                self._members, self._nodes = [], set()

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer, tell: Callable[[Event], None]
    ) -> Iterator[tuple[Task, ShardResult]]:
        """Evaluate the tasks on whatever workers there are; RunError where none is left.

        A run that no worker can evaluate, or of which a task ends every worker, is given up: the others are evaluated to their end, and
        then a RunError says why.
        """
        ray = import_ray()
        for event in self._early:
            tell(event)
        self._early = []
        self._reasons, self._failed, self._stuck = {}, {}, {}
        recipes = [_Stored(ray.put(one.spec)) for one in runs]
        schedule = Scheduler(tasks)
        labels = [one.manifest["model"]["label"] for one in runs]
        progress = WorkerProgress(observer, schedule, labels if len(labels) > 1 else ())
        while not schedule.finished:
            self._greet(ray, tell)
            for member in self._ready:
                while (task := schedule.take(member.name)) is not None:
                    call = member.actor.evaluate.remote(task.run, recipes[task.run], task.shard)
                    member.calls[call] = task
            calls = {call: member for member in self._members for call in member.calls}
            for call in ray.wait(list(calls), timeout=_POLL)[0] if calls else ():
                member = calls[call]
                if call not in member.calls:
                    continue  # It was lost with its worker meanwhile.
                task = member.calls.pop(call)
                outcome = self._outcome(ray, call, member, schedule, labels, tell)
                if isinstance(outcome, ShardResult):
                    if progress.done(member, task, self._members):
                        yield task, outcome
                elif outcome is not None:
                    self._refused(member, task, outcome.reason, schedule, labels[task.run], tell)
            if not calls:
                time.sleep(_POLL)
            self._check_members()
            self._check_runs(schedule, labels, tell)
            self._join_nodes(ray)
            progress.show(ray, self._members)
        if self._failed:
            raise RunError("; ".join(self._failed.values()))

    @property
    def _ready(self) -> list[RayWorker]:
        return [member for member in self._members if member.info is None]

    def _begin(self, ray: Any, observer: Observer) -> None:
        """Start the workers, and wait for the first that can work."""
        observer.phase("starting workers", 0)
        self._alone = time.monotonic()
        self._choose_device(ray)
        self._members = [self._start(ray) for _ in range(self._count or 0)]
        while self._machine is None:
            self._join_nodes(ray)
            self._greet(ray, self._early.append)
            self._check_members()
            time.sleep(0.05)
        for event in self._early:
            observer.note(event.text)
        observer.note(f"{len(self._members)} workers on {self._machine.device}, {_where(ray)}")

    def _choose_device(self, ray: Any) -> None:
        """Take GPUs where there are some, once a node is there on which anything can run."""
        while True:
            resources = ray.cluster_resources()
            self._gpus = self._device != "cpu" and resources.get("GPU", 0) > 0
            if self._gpus or resources.get("CPU", 0) >= 1:
                break
            if time.monotonic() - self._alone > _PATIENCE:
                raise RunError(
                    f"the cluster had neither a GPU nor a core in {_PATIENCE:.0f} s: start its nodes (`ray status`)"
                )
            time.sleep(_POLL)
        if self._device == "cuda" and not self._gpus:
            raise DeviceError("the cluster has no GPU: use --device cpu, or start its nodes with --num-gpus")

    def _join_nodes(self, ray: Any) -> None:
        """Start workers on the nodes that are new, where their number was left open."""
        if self._count is not None or time.monotonic() - self._nodes_looked < _JOINED:
            return
        self._nodes_looked = time.monotonic()
        for node in ray.nodes():
            if node["Alive"] and node["NodeID"] not in self._nodes:
                self._nodes.add(node["NodeID"])
                has = node["Resources"]
                room = int(has.get("GPU", 0)) if self._gpus else int(has.get("CPU", 0)) // self._threads
                self._members += [self._start(ray, node["NodeID"]) for _ in range(room)]

    def _start(self, ray: Any, node: str | None = None) -> RayWorker:
        """A new worker, pending until there is room for it, if it can be on the node of this id."""
        self._numbered += 1
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        actor = (
            ray.remote(concurrency_groups={"asked": 1})(_actor())
            .options(
                num_cpus=self._threads if not self._gpus else 1,
                num_gpus=1 if self._gpus else 0,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=affinity(node, soft=True) if node else "DEFAULT",
            )
            .remote("cuda" if self._gpus else "cpu", self._threads, str(Path.cwd()))
        )
        return RayWorker(f"worker {self._numbered}", actor, actor.describe.remote())

    def _greet(self, ray: Any, tell: Callable[[Event], None]) -> None:
        """Hear those that have started; leave out those that would compute something else."""
        pending = {member.info: member for member in self._members if member.info is not None}
        if not pending:
            return
        for call in ray.wait(list(pending), num_returns=len(pending), timeout=0)[0]:
            member = pending[call]
            try:
                greeting: WorkerInfo = ray.get(call)
            except ray.exceptions.RayTaskError as error:
                greeting = WorkerInfo(
                    "a node", 0, None, f"robench does not start there: {printable(str(error.cause))[:200]}"
                )
            except ray.exceptions.RayError as error:
                self._end(ray, member, f"did not start ({_why(error)})", tell)
                continue
            problem = greeting.problem
            if greeting.machine is not None:
                expected = self._machine or _expected(greeting.machine)
                problem = "; ".join(expected.unlike(greeting.machine))
                if not problem:
                    self._machine = expected
            if problem:
                self._members.remove(member)
                ray.kill(member.actor)
                tell(Event("worker refused", f"{member.name} on {greeting.node} is left out: {problem}"))
                continue
            member.node, member.pid = greeting.node, greeting.pid
            member.info, member.looked = None, time.monotonic()

    def _outcome(
        self,
        ray: Any,
        call: Any,
        member: RayWorker,
        schedule: Scheduler,
        labels: Sequence[str],
        tell: Callable[[Event], None],
    ) -> ShardResult | WorkerRejection | None:
        """What came of a call; None where the worker is lost."""
        try:
            outcome: ShardResult | WorkerRejection = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, OSError):
                raise
            return WorkerRejection(printable(str(error.cause)))  # The system's: a full disk, a folder that is gone.
        except ray.exceptions.RayError as error:
            at = schedule.assigned(member.name)[0]  # The others in its line, of which this call may be, only waited.
            doing = at.shard.condition.name
            lost = schedule.worker_lost(member.name)
            self._end(ray, member, f"ended at {doing} ({_why(error)}): others do its work", tell)
            if lost >= ATTEMPTS:
                reason = (
                    f"{doing} of {labels[at.run]} ended {lost} workers, the last with: {_why(error)}; what is finished is on disk: look "
                    "at the memory of the machines, then give the same command to go on"
                )
                self._give_up(at.run, reason, schedule, tell)
            return None
        return outcome

    def _give_up(self, run: int, reason: str, schedule: Scheduler, tell: Callable[[Event], None]) -> None:
        """Leave the rest of a run undone, for a reason that is said at the end."""
        schedule.cancel_run(run)
        self._failed[run] = reason
        tell(Event("given up", reason, run))

    def _end(self, ray: Any, member: RayWorker, text: str, tell: Callable[[Event], None]) -> None:
        """Put another worker in the place of one that is gone."""
        self._members.remove(member)
        ray.kill(member.actor)
        self._ended += 1
        tell(Event("worker lost", f"{member.name}{f' on {member.node}' if member.node else ''} {text}"))
        if self._ended <= 10 * (self._count or len(self._members) + 1):
            self._members.append(self._start(ray))

    def _refused(
        self, member: RayWorker, task: Task, reason: str, schedule: Scheduler, label: str, tell: Callable[[Event], None]
    ) -> None:
        if not schedule.refuses(member.name, task.run):
            text = f"{member.name} on {member.node} is left out of {label}: {reason}"
            tell(Event("worker refused", text, task.run))
        schedule.refuse(member.name, task)
        self._reasons[task.run] = reason

    def _check_members(self) -> None:
        """End where nobody is left to wait for."""
        patient = time.monotonic() - self._alone <= _PATIENCE
        if self._ready:
            self._alone = time.monotonic()
        elif (not self._members and self._numbered) or not (patient or self._machine is None):
            said = f": {self._early[-1].text}" if self._early else ""
            raise RunError(
                f"no worker is left{said or '; what is finished is on disk: give the same command to go on'}"
            )
        elif not patient:
            kind = "GPU" if self._gpus else "core" if self._threads == 1 else f"node with {self._threads} cores"
            raise RunError(f"no worker could start in {_PATIENCE:.0f} s: has the cluster a free {kind}? (`ray status`)")

    def _check_runs(self, schedule: Scheduler, labels: Sequence[str], tell: Callable[[Event], None]) -> None:
        """Give up what every worker has refused; those that have not started yet get some time."""
        now = time.monotonic()
        for run in schedule.open_runs:
            ready = self._ready
            if not ready or not all(schedule.refuses(member.name, run) for member in ready):
                self._stuck.pop(run, None)
            elif len(ready) == len(self._members) or now - self._stuck.setdefault(run, now) > _PATIENCE:
                self._give_up(run, f"no worker can evaluate {labels[run]}: {self._reasons[run]}", schedule, tell)


class _Stored:
    """A recipe in the cluster's store, fetched by a worker that does not have it yet."""

    def __init__(self, reference: Any) -> None:
        self._reference = [reference]

    def __call__(self) -> Any:
        return import_ray().get(self._reference[0])


def _actor() -> type[Worker]:
    """The worker as Ray's actor; made when Ray is there."""
    ray = import_ray()

    class Actor(Worker):
        def describe(self) -> WorkerInfo:
            greeting = super().describe()
            # Several nodes may be on one machine.
            node = f"{greeting.node}/{ray.get_runtime_context().get_node_id()[:6]}"
            return replace(greeting, node=node)

        @ray.method(concurrency_group="asked")  # type: ignore[untyped-decorator]
        def images(self) -> int:
            return super().images()

    return Actor


def _expected(first: Machine) -> Machine:
    """What workers must be: like the first, with the software of this process."""
    return replace(first, versions={**first.versions, **software()})


def _where(ray: Any) -> str:
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return f"{nodes} nodes" if nodes > 1 else "1 node"


def _why(error: Exception) -> str:
    """The first sentence of what Ray says, which goes on for a page."""
    name = type(error).__name__.removesuffix("Error")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{name}: {printable(lines[0])[:150]}" if lines else name
