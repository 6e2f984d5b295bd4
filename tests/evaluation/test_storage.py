"""Storage of finished shards in a thread. Oracle: the order in which work and reports happen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from robench.errors import RunError
from robench.evaluation.storage import Storage
from robench.runs.observer import Observer


class Log(Observer):
    """Writes down notes with the thread that hears them."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bool]] = []

    def note(self, text: str) -> None:
        self.notes.append((text, threading.current_thread() is threading.main_thread()))


def noting(observer: Observer, text: str, gate: threading.Event | None = None) -> Callable[[], None]:
    def work() -> None:
        if gate is not None:
            assert gate.wait(20)
        observer.note(text)

    return work


def test_the_caller_goes_on_while_a_shard_is_stored_and_hears_of_it_in_its_own_thread() -> None:
    log, gate = Log(), threading.Event()
    with Storage() as storage:
        reporter = storage.reporter(log)
        storage.submit(noting(reporter, "first", gate))
        storage.submit(noting(reporter, "second"))
        storage.poll()
        assert log.notes == [], "the caller did not wait"
        gate.set()
        storage.submit(noting(reporter, "third"))  # Waits for the first, because two may wait.
        assert ("first", True) in log.notes
    assert log.notes == [("first", True), ("second", True), ("third", True)]


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    def failing() -> None:
        raise RunError("the disk is full")

    def stored() -> None:
        with Storage() as storage:
            storage.submit(failing)

    with pytest.raises(RunError, match="the disk is full"):
        stored()


def test_an_interruption_stores_what_is_evaluated() -> None:
    log, stored = Log(), []

    def interrupted() -> None:
        with Storage() as storage:
            storage.submit(lambda: stored.append("shard"))
            storage.submit(noting(storage.reporter(log), "a condition is finished"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stored == ["shard"]
    assert log.notes == [("a condition is finished", True)]
