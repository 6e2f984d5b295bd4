"""Progress on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
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

from robench.runs.observer import Observer, WorkerState

__all__ = ["LineProgress", "LiveProgress", "duration", "observer", "worker_line"]


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "")


class _Workers:
    """A line for each worker."""

    def __init__(self) -> None:
        self.states: Sequence[WorkerState] = ()

    def __rich__(self) -> Text:
        return Text("\n".join(f"  {worker_line(one)}" for one in self.states))


class LiveProgress(Observer):
    """A bar with images per second and the time left, and what each worker is at."""

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
        """Replace the bar."""
        self._workers.states = ()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total or None)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Show which condition was finished last."""
        if self._task is not None:
            self._progress.update(self._task, description=f"evaluating, {name} done")

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Show a line for each, below the bar."""
        self._workers.states = states

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._live.console.print(f"note: {text}")


class LineProgress(Observer):
    """One line a finished condition, and one every half a minute within a long phase, with what each worker is at."""

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
        """Name the phase."""
        self._name, self._total, self._done = name, total, 0
        self._start = self._last = time.monotonic()
        if total:
            self._console.print(f"{name}: {total:,} images")

    def advance(self, count: int) -> None:
        """Count, and print from time to time."""
        self._done += count
        if time.monotonic() - self._last >= self._every:
            self._console.print(f"{self._name}: {self._status()}")
            for one in self._workers:
                self._console.print(f"  {worker_line(one)}")

    def condition(self, name: str, seconds: float, images: int) -> None:
        """Print the finished condition."""
        self._console.print(f"{name}: {images / seconds:,.0f} images/s; {self._status()}")

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Keep them for the next line."""
        self._workers = states

    def note(self, text: str) -> None:
        """Print."""
        self._console.print(f"note: {text}")

    def _status(self) -> str:
        self._last = time.monotonic()
        passed = max(self._last - self._start, 1e-9)
        left = passed / max(self._done, 1) * (self._total - self._done)
        return f"{self._done:,} of {self._total:,} images, {self._done / passed:,.0f} images/s, {duration(left)} left"


def worker_line(one: WorkerState) -> str:
    """`worker 1 on NODE: CONDITION, 812 images/s, 1,624 so far`."""
    return f"{one.name} on {one.node}: {one.doing or 'waits'}, {one.images_per_second:,.0f} images/s, {one.images:,} so far"


def duration(seconds: float) -> str:
    """`1 h 5 min`, `2 min 3 s`, `4 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def observer(console: Console) -> LiveProgress | LineProgress:
    """Return the kind of progress that fits the console."""
    return LiveProgress(console) if console.is_terminal else LineProgress(console)
