"""Progress on stderr: a live bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from robench.arguments import check_type
from robench.display.console import stderr
from robench.runs.observer import Observer, WorkerState

__all__ = ["LineProgress", "LiveProgress", "duration", "observer", "progress_display", "worker_line"]


class _Rate(ProgressColumn):
    """A column of images per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "")


class _Workers:
    """Lines of worker states."""

    def __init__(self) -> None:
        self.states: Sequence[WorkerState] = ()

    def __rich__(self) -> Text:
        return Text("\n".join(f"  {worker_line(state)}" for state in self.states))


class LiveProgress(Observer):
    """A bar with images per second and the remaining time, and a line for each worker."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
        )
        self._progress = Progress(*columns, _Rate(), TimeRemainingColumn(), console=console)
        self._workers = _Workers()
        self._live = Live(Group(self._progress, self._workers), console=console, transient=True, refresh_per_second=10)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def phase(self, name: str, total: int) -> None:
        """Start a new bar."""
        self._workers.states = ()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total or None)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Show the condition that was finished last."""
        if self._task is not None:
            self._progress.update(self._task, description=f"evaluating, {name} done")

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Show the workers below the bar."""
        self._workers.states = states

    def note(self, text: str) -> None:
        """Print a note above the bar."""
        self._live.console.print(f"note: {text}")


class LineProgress(Observer):
    """A line for each finished condition, and regular lines with the state of each worker.

    Args:
        console: The console to print on.
        every: Seconds between two regular lines.
    """

    def __init__(self, console: Console, every: float = 30.0) -> None:
        self._console, self._every = console, every
        self._name, self._total, self._done = "", 0, 0
        self._start = self._last = time.monotonic()
        self._workers: Sequence[WorkerState] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def phase(self, name: str, total: int) -> None:
        """Print the name and size of the phase."""
        self._name, self._total, self._done = name, total, 0
        self._start = self._last = time.monotonic()
        if total:
            self._console.print(f"{name}: {total:,} image{'' if total == 1 else 's'}")

    def advance(self, count: int) -> None:
        """Count images, and print a line if the last one is old."""
        self._done += count
        if time.monotonic() - self._last >= self._every:
            self._console.print(f"{self._name}: {self._status()}")
            for state in self._workers:
                self._console.print(f"  {worker_line(state)}")

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Print the condition and its speed."""
        self._console.print(f"{name}: {images / seconds:,.0f} images/s; {self._status()}")

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Remember the workers for the next line."""
        self._workers = states

    def note(self, text: str) -> None:
        """Print a note."""
        self._console.print(f"note: {text}")

    def _status(self) -> str:
        self._last = time.monotonic()
        passed = max(self._last - self._start, 1e-9)
        left = passed / max(self._done, 1) * (self._total - self._done)
        return f"{self._done:,} of {self._total:,} images, {self._done / passed:,.0f} images/s, {duration(left)} left"


def worker_line(state: WorkerState) -> str:
    """Return `worker 1 on NODE: CONDITION, 812 images/s, 1,624 so far`."""
    speed = f"{state.images_per_second:,.0f} images/s"
    return f"{state.name} on {state.node}: {state.doing or 'waiting'}, {speed}, {state.images:,} so far"


def duration(seconds: float) -> str:
    """Return a duration as `1 h 5 min`, `2 min 3 s` or `4 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def progress_display(progress: bool | None) -> AbstractContextManager[Observer]:
    """Return the display of a Python call: True shows one, False none, and None shows one in a terminal or a notebook.

    Raises:
        ArgumentError: `progress` is nothing of these.
    """
    if progress is not None:
        check_type("progress", progress, bool, "True, False, None or an Observer")
    console = stderr()
    shown = (console.is_terminal or console.is_jupyter) if progress is None else progress
    return observer(console) if shown else nullcontext(Observer())


def observer(console: Console) -> LiveProgress | LineProgress:
    """Return a live bar for a terminal, lines for any other console."""
    return LiveProgress(console) if console.is_terminal or console.is_jupyter else LineProgress(console)
