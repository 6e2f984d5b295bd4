"""Callbacks for the progress of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EVALUATING", "SCORING", "Observer", "ObserverGroup", "WorkerState"]

EVALUATING = "evaluating"
"""The phase in which images are classified."""

SCORING = "scoring"
"""The phase after all records are complete."""


@dataclass(frozen=True)
class WorkerState:
    """The state of an engine's worker.

    Attributes:
        name: Name of the worker within the run.
        node: Name of the machine, as the engine knows it.
        doing: Name of the current condition; empty while the worker waits.
        images: Number of images classified so far.
        images_per_second: Recent speed.
    """

    name: str
    node: str = ""
    doing: str = ""
    images: int = 0
    images_per_second: float = 0.0


class Observer:
    """A receiver of progress that ignores everything; subclasses override the methods they need."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase in which `total` images are hashed, decoded or classified."""

    def advance(self, count: int) -> None:
        """Count more images of the phase as done; `count` is negative if a lost worker's images must be repeated."""

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Report a condition that is finished and on disk."""

    def note(self, text: str) -> None:
        """Show the user a message of one line."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Report the state of all workers; engines with workers call this every few seconds."""


class ObserverGroup(Observer):
    """Several observers that all receive everything."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def phase(self, name: str, total: int) -> None:
        """Begin a phase."""
        for observer in self._observers:
            observer.phase(name, total)

    def advance(self, count: int) -> None:
        """Count more images as done."""
        for observer in self._observers:
            observer.advance(count)

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Report a finished condition."""
        for observer in self._observers:
            observer.condition(name, seconds, images)

    def note(self, text: str) -> None:
        """Show a message."""
        for observer in self._observers:
            observer.note(text)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Report the state of all workers."""
        for observer in self._observers:
            observer.workers(states)
