"""Reports to an observer, from workers whose answers the test sets; no cluster runs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from robench.evaluation.engines import Task, ray_workers
from robench.evaluation.engines.ray_workers import RayWorker, WorkerProgress
from robench.evaluation.engines.scheduler import Scheduler
from robench.evaluation.shards import Shard
from robench.runs.observer import Observer, WorkerState
from robench.suites import Condition
from robench.suites.geometry import Geometry

FOG = Condition("cifar-c", "fog", 3, Geometry(resize=(32, 32)), constants="32")


class Lost(Exception):  # noqa: N818
    """Return the error that Ray raises for a lost worker."""


class Cluster:
    """Ray, as far as workers are asked how many images they have classified; None for one that does not answer."""

    exceptions = SimpleNamespace(RayError=Lost)

    def __init__(self, **images: int | None) -> None:
        self.images = images
        self.gone: set[str] = set()

    def member(self, name: str, greeting: object = None) -> RayWorker:
        return RayWorker(name, SimpleNamespace(images=SimpleNamespace(remote=lambda: name)), greeting, node="here")

    def wait(self, calls: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return [call for call in calls if self.images[call] is not None], []

    def get(self, call: str) -> int | None:
        if call in self.gone:
            raise Lost
        return self.images[call]


class Told(Observer):
    """Keep the numbers of finished and pending images, and the state of the workers."""

    def __init__(self) -> None:
        self.images = 0
        self.states: Sequence[WorkerState] = ()

    def advance(self, count: int) -> None:
        self.images += count

    def workers(self, states: Sequence[WorkerState]) -> None:
        self.states = states


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are looked at whenever they can be."""
    monkeypatch.setattr(ray_workers, "_REPORT_INTERVAL", -1.0)


def test_images_under_way_count_until_their_worker_is_lost() -> None:
    cluster, told = Cluster(a=70, b=10, c=None), Told()
    first, *others = tasks = [Task(0, Shard(FOG, 64 * number, 64 * (number + 1))) for number in range(6)]
    a, b, c = cluster.member("a"), cluster.member("b"), cluster.member("c", greeting="pending")
    schedule = Scheduler(tasks)
    progress = WorkerProgress(told, schedule)
    assert [schedule.take(name) for name in "ab"] == [first, others[0]]
    progress.report(cluster, [a, b, c])
    assert told.images == 64 + 10, "no more than what it is at"
    assert c.poll_call is None, "it has not started"
    assert [(one.name, one.node, one.doing) for one in told.states] == [
        ("a", "here", "cifar-c-fog-3-32px"),
        ("b", "here", "cifar-c-fog-3-32px"),
        ("c", "here", ""),
    ]
    assert schedule.done("a") == first
    progress.done(a, 64, [a, b, c])
    assert told.images == 64 + 10, "what is done is under way no more"
    assert schedule.take("a") == others[1]
    progress.report(cluster, [a, b, c])
    assert told.images == 64 + 6 + 10
    schedule.worker_lost("b")
    progress.report(cluster, [a, c])
    assert told.images == 64 + 6
    cluster.images["a"] = 500
    progress.report(cluster, [a, c])
    assert told.images == 64 + 64, "no more than what it is at"


def test_of_several_models_the_one_that_a_worker_is_at_is_named() -> None:
    cluster, told = Cluster(a=70), Told()
    schedule = Scheduler([Task(1, Shard(FOG, 0, 64))])
    schedule.take("a")
    WorkerProgress(told, schedule, ["one", "other"]).report(cluster, [cluster.member("a")])
    assert [one.doing for one in told.states] == ["other: cifar-c-fog-3-32px"]


def test_a_worker_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "_REPORT_INTERVAL", 3600.0)
    cluster, told = Cluster(a=70), Told()
    WorkerProgress(told, Scheduler([])).report(cluster, [cluster.member("a")])
    assert not told.states


def test_the_rate_of_a_worker() -> None:
    cluster = Cluster(a=100)
    member = cluster.member("a")
    member.poll(cluster)
    before = member.rate
    assert member.images == 100
    assert before > 0
    for images in (60, None):  # Half the batch from now on; and busy.
        cluster.images["a"] = images
        member.poll(cluster)
        assert member.images == 60
        assert member.rate == pytest.approx(0.7 * before)
    cluster.images["a"] = 200
    cluster.gone.add("a")
    member.poll(cluster)
    assert member.images == 60
