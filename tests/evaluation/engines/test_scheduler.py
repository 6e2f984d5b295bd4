"""Order of tasks and workers, without a cluster. The oracle is the list of tasks: each done once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from robench.evaluation.engines import Task
from robench.evaluation.engines.scheduler import Scheduler
from robench.evaluation.shards import Shard, shards_of
from robench.suites import CLEAN, Condition
from robench.suites.geometry import Geometry
from tests.builders import each

CLEAN_IMAGES = Condition(CLEAN, CLEAN, 0, Geometry(resize=(32, 32)))
FOG = Condition("cifar-c", "fog", 3, Geometry(resize=(32, 32)), constants="32")


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
        assert schedule.done("a") == task
    assert order == given
    assert schedule.finished


def test_what_is_left_of_a_run_can_be_dropped() -> None:
    schedule = Scheduler([*tasks(2), *tasks(2, run=1)])
    assert taken(schedule, "a").run == 0
    schedule.cancel_run(0)
    assert schedule.waiting_runs == {1}
    assert [taken(schedule, "b"), taken(schedule, "c")] == tasks(2, run=1)
    assert [schedule.done(worker) for worker in "bca"] == [*tasks(2, run=1), tasks(1)[0]]
    assert schedule.finished


def test_what_a_lost_worker_had_is_done_by_others() -> None:
    schedule = Scheduler(tasks(4))
    mine = taken(schedule, "a")
    assert schedule.worker_lost("a") == 1
    assert schedule.worker_lost("a") == 0, "it is gone"
    again = []
    while schedule.take("b") is not None:
        again.append(schedule.done("b"))
    assert again[0] == mine
    assert again == tasks(4)
    assert schedule.finished


def test_a_task_that_ends_workers_is_counted() -> None:
    schedule = Scheduler(tasks(1))
    for number in (1, 2, 3):
        taken(schedule, f"w{number}")
        assert schedule.worker_lost(f"w{number}") == number


def test_a_rejected_run_goes_to_others() -> None:
    schedule = Scheduler([*tasks(1, run=0), *tasks(1, run=1)])
    task = taken(schedule, "a")
    schedule.reject("a")
    assert taken(schedule, "a").run == 1
    schedule.done("a")
    assert schedule.take("a") is None
    assert schedule.waiting_runs == {0}
    assert taken(schedule, "b") == task


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_whatever_happens_each_task_counts_once(count: int, chance: object) -> None:
    """Workers come, go and reject at random; somebody always stays."""
    done = []
    assert hasattr(chance, "random")
    assert hasattr(chance, "choice")
    schedule = Scheduler([*tasks(count, 0), *tasks(count, 1)])
    for _ in range(10_000):
        if schedule.finished:
            break
        worker = chance.choice(["stays", "a", "b"])
        if schedule.assigned(worker) is None and schedule.take(worker) is None:
            continue
        luck = chance.random()
        if worker != "stays" and luck > 0.8:
            schedule.worker_lost(worker)
        elif worker == "a" and luck > 0.7:
            schedule.reject(worker)
        elif luck < 0.6:
            done.append(schedule.done(worker))
    assert schedule.finished
    assert sorted((one.run, one.shard.start) for one in done) == [(r, 64 * n) for r in (0, 1) for n in range(count)]


@each("batch", [7, 64, 256, 20_000])
@each("samples", [1, 63, 20_000, 50_000])
def test_shards_are_whole_batches(samples: int, batch: int) -> None:
    shards = shards_of(FOG, samples, batch, whole=False)
    assert [one.start for one in shards] == [0, *(one.stop for one in shards[:-1])]
    assert shards[-1].stop == samples
    assert all(one.start % batch == 0 for one in shards)
    assert all(one.frames > 16_000 for one in shards[:-1]), "small ones cost more than they save"
    assert shards_of(FOG, samples, batch, whole=True) == [Shard(FOG, 0, samples)]


def test_no_shard_is_much_smaller_than_the_others() -> None:
    """ImageNet in batches of 256: three shards of 16,640 images would leave one of 80."""
    sizes = [shard.stop - shard.start for shard in shards_of(FOG, 50_000, 256, whole=False)]
    assert sizes == [16_640, 16_640, 16_720]
