"""Who does what next: on an invented clock, without a cluster. The oracle is the list of tasks: each done once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.evaluation.engines import Task
from robench.evaluation.engines.scheduler import Scheduler
from robench.evaluation.shards import Shard, shards_of
from robench.suites import CLEAN, Condition
from robench.suites.geometry import Geometry

CLEAN_IMAGES = Condition(CLEAN, CLEAN, 0, Geometry(resize=(32, 32)))
FOG = Condition("cifar-c", "fog", 3, Geometry(resize=(32, 32)), constants="32")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tasks(count: int, run: int = 0) -> list[Task]:
    return [Task(run, Shard(FOG, 64 * number, 64 * (number + 1))) for number in range(count)]


def taken(schedule: Scheduler, worker: str) -> Task:
    task = schedule.take(worker)
    assert task is not None
    return task


def test_tasks_are_given_in_their_order_run_by_run() -> None:
    """Else a worker would have made the evaluations of all runs, and let them go, before it comes to the first in earnest."""
    given = [task for run in range(3) for task in (Task(run, Shard(CLEAN_IMAGES, 0, 64)), *tasks(2, run))]
    schedule = Scheduler(given)
    order = []
    while (task := schedule.take("a")) is not None:
        order.append(task)
        assert schedule.done("a", task)
    assert order == given
    assert schedule.finished


def test_a_second_task_waits_in_the_line_only_while_there_is_plenty() -> None:
    schedule = Scheduler(tasks(4))
    first, second = taken(schedule, "a"), taken(schedule, "a")
    assert schedule.assigned("a") == [first, second] == tasks(2)
    assert schedule.take("a") is None, "two are enough"
    taken(schedule, "b")
    assert schedule.take("b") is None, "one is left, for whoever comes to it first"


def test_what_is_left_of_a_run_can_be_dropped() -> None:
    schedule = Scheduler([*tasks(3), *tasks(2, run=1)])
    first, second = taken(schedule, "a"), taken(schedule, "a")
    schedule.cancel_run(0)
    assert schedule.open_runs == {1}
    assert not schedule.done("a", first), "nobody asks for it any more"
    assert schedule.worker_lost("a") == 1
    assert second.run == 0
    assert [taken(schedule, "b"), taken(schedule, "c")] == tasks(2, run=1)
    assert [schedule.done(worker, task) for worker, task in zip("bc", tasks(2, run=1), strict=True)] == [True, True]
    assert schedule.finished


def test_what_a_lost_worker_had_is_done_by_others() -> None:
    schedule = Scheduler(tasks(4))
    mine = [taken(schedule, "a"), taken(schedule, "a")]
    assert schedule.worker_lost("a") == 1
    assert schedule.worker_lost("a") == 0, "it is gone"
    again = []
    while (task := schedule.take("b")) is not None:
        again.append(task)
        schedule.done("b", task)
    assert again[:2] == mine
    assert sorted(again, key=lambda one: one.shard.start) == tasks(4)
    assert schedule.finished


def test_a_task_that_ends_workers_is_counted() -> None:
    schedule = Scheduler(tasks(1))
    for number in (1, 2, 3):
        taken(schedule, f"w{number}")
        assert schedule.worker_lost(f"w{number}") == number


def test_a_refused_run_goes_to_others() -> None:
    schedule = Scheduler([*tasks(1, run=0), *tasks(1, run=1)])
    task = taken(schedule, "a")
    schedule.refuse("a", task)
    assert schedule.refuses("a", 0)
    assert not schedule.refuses("a", 1)
    other = taken(schedule, "a")
    assert other.run == 1
    schedule.done("a", other)
    assert schedule.take("a") is None
    assert schedule.open_runs == {0}
    assert taken(schedule, "b") == task


def test_a_straggler_is_overtaken_and_counts_once() -> None:
    clock = Clock()
    schedule = Scheduler(tasks(3), clock)
    slow = taken(schedule, "slow")
    for _ in range(2):
        quick = taken(schedule, "quick")
        clock.now += 5
        assert schedule.done("quick", quick)
    assert schedule.take("quick") is None, "ten seconds are not late"
    clock.now = 14.9
    assert schedule.take("quick") is None
    clock.now = 15.1  # three times five, of two at 0 and 5 s
    assert taken(schedule, "quick") == slow
    assert schedule.take("third") is None, "twice is enough"
    assert schedule.done("quick", slow)
    assert schedule.finished
    assert not schedule.done("slow", slow)


def test_the_first_task_of_all_may_hang_too() -> None:
    clock = Clock()
    schedule = Scheduler(tasks(1), clock)
    task = taken(schedule, "hangs")
    clock.now = 599
    assert schedule.take("idle") is None
    clock.now = 601
    assert taken(schedule, "idle") == task


def test_what_only_waits_in_a_line_is_taken_over_at_once() -> None:
    schedule = Scheduler(tasks(4), Clock())
    first, second = taken(schedule, "a"), taken(schedule, "a")
    for _ in range(2):
        schedule.done("b", taken(schedule, "b"))
    assert taken(schedule, "b") == second
    schedule.done("b", second)
    assert schedule.done("a", first)
    assert not schedule.done("a", second)
    assert schedule.finished


def test_a_task_with_two_workers_survives_either() -> None:
    clock = Clock()
    schedule = Scheduler(tasks(2), clock)
    late = taken(schedule, "a")
    schedule.done("b", taken(schedule, "b"))
    clock.now = 100
    assert taken(schedule, "b") == late
    schedule.worker_lost("a")
    assert schedule.take("c") is None, "b is still at it"
    schedule.worker_lost("b")
    assert taken(schedule, "c") == late


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_whatever_happens_each_task_counts_once(count: int, chance: object) -> None:
    """Workers come, go, are slow and refuse, at random; somebody always stays."""
    clock, done = Clock(), []
    assert hasattr(chance, "random")
    assert hasattr(chance, "choice")
    schedule = Scheduler([*tasks(count, 0), *tasks(count, 1)], clock)
    for _ in range(10_000):
        if schedule.finished:
            break
        clock.now += 20 * chance.random()
        worker = chance.choice(["stays", "a", "b"])
        schedule.take(worker)
        line = schedule.assigned(worker)
        if not line:
            continue
        luck = chance.random()
        if worker != "stays" and luck < 0.2:
            schedule.worker_lost(worker)
        elif worker == "a" and luck < 0.3:
            schedule.refuse(worker, line[0])
        elif schedule.done(worker, line[0]):
            done.append(line[0])
    assert schedule.finished
    assert sorted((one.run, one.shard.start) for one in done) == [(r, 64 * n) for r in (0, 1) for n in range(count)]


@pytest.mark.parametrize("batch", [7, 64, 256, 20_000])
@pytest.mark.parametrize("samples", [1, 63, 20_000, 50_000])
def test_shards_are_whole_batches(samples: int, batch: int) -> None:
    shards = shards_of(FOG, samples, batch, whole=False)
    assert [one.start for one in shards] == [0, *(one.stop for one in shards[:-1])]
    assert shards[-1].stop == samples
    assert all(one.start % batch == 0 for one in shards)
    assert all(one.frames > 16_000 for one in shards[:-1]), "small ones cost more than they save"
    assert shards_of(FOG, samples, batch, whole=True) == [Shard(FOG, 0, samples)]
