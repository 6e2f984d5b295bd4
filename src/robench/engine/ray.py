"""The engine over a Ray cluster: an actor a device, which evaluates the shards that the driver's schedule gives it.

The driver alone writes, so that a run directory is what it is with the local engine. An actor that ends, with its node or alone,
is replaced; its shards are done by others.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robench.engine.engine import Event, Task
from robench.engine.schedule import ATTEMPTS, Schedule
from robench.engine.worker import Greeting, Refusal, Worker
from robench.errors import DeviceError, OptionError, RunError, printable
from robench.evaluation import Part
from robench.machine import Machine, software
from robench.observer import Observer, WorkerState
from robench.preparation import Prepared

__all__ = ["Ray"]

_POLL = 0.5
"""Seconds between two looks at the workers, where none has done anything."""
_SHOWN = 2.0
"""Seconds between two looks at how far they are."""
_PATIENCE = 300.0
"""Seconds without any worker, after which a run ends."""


@dataclass
class _Member:
    """A worker as the driver knows it.

    name: within the run.  greeting: pending until the actor runs.  calls: pending evaluations.
    images: that it says it has classified, and how many of them are of tasks it has done.
    """

    name: str
    actor: Any
    greeting: Any
    node: str = ""
    pid: int = 0
    calls: dict[Any, Task] = field(default_factory=dict)
    asked: Any = None
    images: int = 0
    settled: int = 0
    rate: float = 0.0
    looked: float = 0.0


class Ray:
    """Workers on a Ray cluster.

    address: of the cluster, `auto`, HOST:PORT or ray://…; None for RAY_ADDRESS, else for one on this machine, for as long as the run.
    workers: how many; None for one a GPU where there are GPUs, else one for so many cores as `threads`.
    device: auto, cpu or cuda; each worker has a GPU of its own.  threads: with which a CPU worker computes.
    """

    name = "ray"
    together = True
    loads_on = "cpu"

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
        self._members: list[_Member] = []
        self._nodes: set[str] = set()
        self._machine: Machine | None = None
        self._early: list[Event] = []
        self._reasons: dict[int, str] = {}
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
        ray = _ray()
        joined = ray.is_initialized()
        if not joined:
            self._connect(ray)
        try:
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
            observer.note(f"{len(self._members)} workers on {self._machine.device}, {self._where(ray)}")
            yield
        finally:
            for member in self._members:
                ray.kill(member.actor)
            self._members, self._nodes = [], set()
            if not joined:
                ray.shutdown()

    def run(
        self, runs: Sequence[Prepared], tasks: Sequence[Task], observer: Observer, tell: Callable[[Event], None]
    ) -> Iterator[tuple[Task, Part]]:
        """Evaluate the tasks on whatever workers there are; RunError where none is left, or a task ends every worker."""
        ray = _ray()
        for event in self._early:
            tell(event)
        self._early = []
        self._reasons, self._stuck = {}, {}
        recipes = [_Stored(ray.put(one.recipe)) for one in runs]
        schedule = Schedule(tasks)
        progress = _Progress(observer)
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
                outcome = self._outcome(ray, call, member, schedule, tell)
                if isinstance(outcome, Part):
                    if schedule.done(member.name, task):
                        progress.done += task.shard.frames
                        progress.tell(self._members, schedule)
                        yield task, outcome
                    member.settled += task.shard.frames
                elif outcome is not None:
                    self._refused(member, task, outcome.reason, schedule, runs, tell)
            if not calls:
                time.sleep(_POLL)
            self._check_members()
            self._check_runs(schedule, runs)
            if time.monotonic() - progress.shown > _SHOWN:
                self._join_nodes(ray)
                self._look(ray)
                progress.show(self._members, schedule)

    @property
    def _ready(self) -> list[_Member]:
        return [member for member in self._members if member.greeting is None]

    def _connect(self, ray: Any) -> None:
        given: dict[str, Any] = {"address": self._address}
        if self._address is None and "RAY_ADDRESS" not in os.environ:
            # Nobody else is to join it, and nothing about it is to be sent anywhere.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            given = {"address": "local", "include_dashboard": False}
            if self._count is not None:
                given["num_cpus"] = self._count * self._threads
        else:
            _check_reached(self._address or os.environ["RAY_ADDRESS"])
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # What matters of it comes as errors.
        try:
            ray.init(**given, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"the Ray cluster {self._address or os.environ.get('RAY_ADDRESS', 'on this machine')}"
            raise OptionError(
                f"{where} cannot be used ({printable(str(error))[:200]}): check --address, and set RAY_AUTH_MODE=token if it asks "
                "for a token"
            ) from error

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
        if self._count is not None:
            return
        for node in ray.nodes():
            if node["Alive"] and node["NodeID"] not in self._nodes:
                self._nodes.add(node["NodeID"])
                has = node["Resources"]
                room = int(has.get("GPU", 0)) if self._gpus else int(has.get("CPU", 0)) // self._threads
                self._members += [self._start(ray, node["NodeID"]) for _ in range(room)]

    def _start(self, ray: Any, node: str | None = None) -> _Member:
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
        return _Member(f"worker {self._numbered}", actor, actor.greet.remote())

    def _greet(self, ray: Any, tell: Callable[[Event], None]) -> None:
        """Hear those that have started; leave out those that would compute something else."""
        pending = {member.greeting: member for member in self._members if member.greeting is not None}
        if not pending:
            return
        for call in ray.wait(list(pending), num_returns=len(pending), timeout=0)[0]:
            member = pending[call]
            try:
                greeting: Greeting = ray.get(call)
            except ray.exceptions.RayTaskError as error:
                greeting = Greeting(
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
            member.greeting, member.looked = None, time.monotonic()

    def _outcome(
        self, ray: Any, call: Any, member: _Member, schedule: Schedule, tell: Callable[[Event], None]
    ) -> Part | Refusal | None:
        """What came of a call; None where the worker is lost."""
        try:
            outcome: Part | Refusal = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, OSError):
                raise
            return Refusal(printable(str(error.cause)))  # The system's: a full disk, a folder that is gone.
        except ray.exceptions.RayError as error:
            doing = schedule.line(member.name)[0].shard.condition.name
            lost = schedule.lose(member.name)
            self._end(ray, member, f"ended at {doing} ({_why(error)}): others do its work", tell)
            if lost >= ATTEMPTS:
                raise RunError(
                    f"{doing} ended {lost} workers, the last with: {_why(error)}; what is finished is on disk: look at the memory "
                    "of the machines, then give the same command to go on"
                ) from error
            return None
        return outcome

    def _end(self, ray: Any, member: _Member, text: str, tell: Callable[[Event], None]) -> None:
        """Put another worker in the place of one that is gone."""
        self._members.remove(member)
        ray.kill(member.actor)
        self._ended += 1
        tell(Event("worker lost", f"{member.name}{f' on {member.node}' if member.node else ''} {text}"))
        if self._ended <= 10 * (self._count or len(self._members) + 1):
            self._members.append(self._start(ray))

    def _refused(
        self,
        member: _Member,
        task: Task,
        reason: str,
        schedule: Schedule,
        runs: Sequence[Prepared],
        tell: Callable[[Event], None],
    ) -> None:
        if not schedule.refuses(member.name, task.run):
            label = runs[task.run].manifest["model"]["label"]
            tell(Event("worker refused", f"{member.name} on {member.node} is left out of {label}: {reason}"))
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

    def _check_runs(self, schedule: Schedule, runs: Sequence[Prepared]) -> None:
        """End where every worker has refused what is left of a run; those that have not started yet get some time."""
        now = time.monotonic()
        for run in schedule.open_runs:
            ready = self._ready
            if not ready or not all(schedule.refuses(member.name, run) for member in ready):
                self._stuck.pop(run, None)
            elif len(ready) == len(self._members) or now - self._stuck.setdefault(run, now) > _PATIENCE:
                raise RunError(f"no worker can evaluate {runs[run].manifest['model']['label']}: {self._reasons[run]}")

    def _look(self, ray: Any) -> None:
        """See how many images the workers have classified; one that does not answer now answers later."""
        now = time.monotonic()
        for member in self._ready:
            if member.asked is None:
                member.asked = member.actor.images.remote()
            if not ray.wait([member.asked], timeout=0)[0]:
                continue
            try:
                images = ray.get(member.asked)
            except ray.exceptions.RayError:
                continue  # Its evaluation tells the same.
            passed = max(now - member.looked, 1e-3)
            member.rate = (
                0.7 * member.rate + 0.3 * max(images - member.images, 0) / passed
                if member.rate
                else (images - member.images) / passed
            )
            member.images, member.looked = images, now
            member.asked = member.actor.images.remote()

    def _where(self, ray: Any) -> str:
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        return f"{nodes} nodes" if nodes > 1 else "1 node"


class _Stored:
    """A recipe in the cluster's store, fetched by a worker that does not have it yet."""

    def __init__(self, reference: Any) -> None:
        self._reference = [reference]

    def __call__(self) -> Any:
        return _ray().get(self._reference[0])


class _Progress:
    """Images done and under way, as an observer is told: those of a lost worker are taken back."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._told = observer, 0
        self.done, self.shown = 0, time.monotonic()

    def tell(self, members: Sequence[_Member], schedule: Schedule) -> None:
        """Tell it of the images."""
        under_way = sum(
            min(max(one.images - one.settled, 0), sum(task.shard.frames for task in schedule.line(one.name)))
            for one in members
        )
        now = self.done + under_way
        self._observer.advance(now - self._told)
        self._told = now

    def show(self, members: Sequence[_Member], schedule: Schedule) -> None:
        """Tell it where all workers are."""
        self.tell(members, schedule)
        self.shown = time.monotonic()
        states = []
        for one in members:
            line = schedule.line(one.name)
            doing = line[0].shard.condition.name if line else ""
            states.append(WorkerState(one.name, one.node or "no node yet", doing, one.images, one.rate))
        self._observer.workers(states)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise OptionError("--engine ray needs Ray: pip install 'robench[ray]'") from error
    return ray


def _check_reached(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray would wait a quarter of an hour."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, or what Ray itself refuses.
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise OptionError(f"no Ray cluster listens at {address} ({error}): check --address") from error


def _actor() -> type[Worker]:
    """The worker as Ray's actor; made when Ray is there."""
    ray = _ray()

    class Actor(Worker):
        def greet(self) -> Greeting:
            greeting = super().greet()
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


def _why(error: Exception) -> str:
    """The first sentence of what Ray says, which goes on for a page."""
    name = type(error).__name__.removesuffix("Error")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{name}: {printable(lines[0])[:150]}" if lines else name
