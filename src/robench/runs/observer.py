"""Whom a run tells what it does: the command line shows it, a heartbeat writes it down, a library's caller usually ignores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["EVALUATING", "SCORING", "NullObserver", "Observer", "ObserverGroup", "WorkerState"]

EVALUATING = "evaluating"
"""The phase in which images are classified."""

SCORING = "scoring"
"""The phase after it, of a run that has all its records."""


@dataclass(frozen=True)
class WorkerState:
    """What a worker of an engine is at.

    name: within the run.  node: the machine, as the engine names it.  doing: name of a condition; empty where it waits.
    images: that it has classified so far.  images_per_second: of its last minute or so.
    """

    name: str
    node: str = ""
    doing: str = ""
    images: int = 0
    images_per_second: float = 0.0


class Observer(Protocol):
    """Whom a run tells what it does."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins: `total` images are to be hashed, decoded or classified."""

    def advance(self, count: int) -> None:
        """`count` more images of the phase are done; fewer than none where a lost worker's are to be done again."""

    def condition(self, name: str, seconds: float, images: int) -> None:
        """A condition is finished and on disk."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """What the workers are at now; told every few seconds where there are several."""


class NullObserver:
    """An observer that shows nothing."""

    def phase(self, name: str, total: int) -> None:
        """Ignore."""

    def advance(self, count: int) -> None:
        """Ignore."""

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Ignore."""


class ObserverGroup:
    """Tells two observers everything."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._observers = first, second

    def phase(self, name: str, total: int) -> None:
        """Tell both."""
        for one in self._observers:
            one.phase(name, total)

    def advance(self, count: int) -> None:
        """Tell both."""
        for one in self._observers:
            one.advance(count)

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Tell both."""
        for one in self._observers:
            one.condition(name, seconds, images)

    def note(self, text: str) -> None:
        """Tell both."""
        for one in self._observers:
            one.note(text)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Tell both."""
        for one in self._observers:
            one.workers(states)
