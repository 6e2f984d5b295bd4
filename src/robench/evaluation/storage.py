"""Storage of finished shards while the engine evaluates the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from robench.runs.observer import FinishedCondition, Observer

__all__ = ["Storage"]

_PENDING = 2
"""Shards that may wait to be stored, so that their records do not fill the memory."""


class Storage:
    """One thread that encodes, writes and joins shards in the order of `submit`.

    What the thread reports is passed on in the thread of the caller, because observers draw.
    """

    def __init__(self) -> None:
        """Start without work; the context ends when all work is done."""
        self._thread = ThreadPoolExecutor(1, "storage")
        self._pending: deque[Future[None]] = deque()
        self._reports: deque[Callable[[], None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        """Return the storage."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Store what is evaluated, also after an interruption."""
        self._thread.shutdown()
        if error is None or isinstance(error, KeyboardInterrupt):
            self.drain()

    def reporter(self, observer: Observer) -> Observer:
        """Return an observer for the thread; `poll` forwards what it receives to `observer`."""
        return _Reporter(observer, self._reports)

    def submit(self, work: Callable[[], None]) -> None:
        """Do some work in the thread, after the work before it, unless that fails."""
        if len(self._pending) == _PENDING:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._done, work))
        self.poll()

    def _done(self, work: Callable[[], None]) -> None:
        if not self._failed:
            self._failed = True  # Until the work is done.
            work()
            self._failed = False

    def poll(self) -> None:
        """Forward reports, and raise the error of finished work; wait for nothing."""
        while self._reports:
            self._reports.popleft()()
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def drain(self) -> None:
        """Wait for all work, then `poll`."""
        while self._pending:
            self._pending.popleft().result()
        self.poll()


class _Reporter(Observer):
    """Keeps reports of conditions and notes for later."""

    def __init__(self, observer: Observer, reports: deque[Callable[[], None]]) -> None:
        self._observer, self._reports = observer, reports

    def condition(self, finished: FinishedCondition) -> None:
        self._reports.append(partial(self._observer.condition, finished))

    def note(self, text: str) -> None:
        self._reports.append(partial(self._observer.note, text))
