"""Progress on stderr: the result filling in on a terminal, a line for each corruption elsewhere."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from robench.display.board import RunBoard, metric_name, percent
from robench.errors import with_option_names
from robench.runs.observer import EVALUATING, FinishedCondition, Observer, StartedRun, WorkerState
from robench.suites import CLEAN

__all__ = [
    "LineProgress",
    "LiveProgress",
    "ProgressDisplay",
    "QuietProgress",
    "duration",
    "long_run_hint",
    "progress_display",
    "worker_line",
]

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WINDOW = 10.0
"""Seconds over which images per second are measured."""
_LONG = 1800.0
"""Estimated seconds above which a hint names shorter runs."""


class _Clock:
    """Counts the images of a phase and measures their speed."""

    def __init__(self) -> None:
        self.start("", 0)

    def start(self, name: str, total: int) -> None:
        """Begin a phase of `total` images."""
        self.name, self.total, self.done = name, total, 0
        self._begin = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._begin, 0)])

    def advance(self, count: int) -> None:
        """Count more images."""
        self.done += count
        now = time.monotonic()
        self._recent.append((now, self.done))
        while len(self._recent) > 2 and now - self._recent[1][0] > _WINDOW:
            self._recent.popleft()

    @property
    def speed(self) -> float:
        """Recent images per second."""
        (start, before), (end, after) = self._recent[0], self._recent[-1]
        return max(after - before, 0) / (end - start) if end > start else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end of the phase; None before the first image."""
        if self.done <= 0:
            return None
        return (time.monotonic() - self._begin) / self.done * max(self.total - self.done, 0)


class ProgressDisplay(Observer):
    """A display of progress, which is a context.

    Attributes:
        console: The console to print on.
        boards: Board of each run by its directory.
        shown: Notes that were printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.boards: dict[Path, RunBoard] = {}
        self.shown: set[str] = set()
        self._has_hinted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say_finished(self) -> None:
        """Print a line for each run that ends before its last condition."""
        for board in self.boards.values():
            done, total = len(board.scores), len(board.run.conditions)
            if 0 < done < total:
                text = f"{board.run.model}: {done:,} of {total:,} conditions are finished, in {board.run.path}"
                self.console.print(text, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to other output."""
        yield

    def warn(self, text: str) -> None:
        """Print a warning."""
        with self.paused():
            self.console.print(f"warning: {text}", soft_wrap=not self.console.is_terminal)

    def begin(self, run: StartedRun) -> None:
        """Keep the run."""
        self.boards[run.path] = RunBoard(run)

    def condition(self, finished: FinishedCondition) -> None:
        """Keep the score."""
        self.boards[finished.path].scores[finished.condition.name] = finished.score

    def header(self, run: StartedRun) -> None:
        """Print model, images, device, conditions and estimated time."""
        left = len(run.conditions) - len(run.scores)
        self.phase("estimating the time", 0)
        seconds = run.estimate() if left else None
        parts = [
            f"{run.samples:,} images, {run.classes} classes",
            run.device,
            f"{left:,} conditions" if not run.scores else f"{left:,} of {len(run.conditions):,} conditions left",
            *([] if seconds is None else [f"about {duration(seconds)}"]),
        ]
        title = Text.assemble((run.model, "bold"), f" on {run.dataset}", (" · " + " · ".join(parts), "dim"))
        lines = [title]
        if not self._has_hinted and (hint := long_run_hint(seconds or 0.0, run.samples)):
            self._has_hinted = True
            lines.append(Text.assemble(("hint: ", "bold cyan"), hint))
        with self.paused():
            for line in lines:
                self.console.print(line, soft_wrap=not self.console.is_terminal)


class QuietProgress(ProgressDisplay):
    """A display that shows nothing."""


class LineProgress(ProgressDisplay):
    """A line for each finished corruption, and a regular line between them if they take long.

    Args:
        console: The console to print on.
        every: Least seconds between two regular lines.
        verbose: Whether to print a line for each condition.
    """

    def __init__(self, console: Console, every: float = 30.0, verbose: bool = False) -> None:
        super().__init__(console)
        self._every, self._verbose = every, verbose
        self._clock, self._last = _Clock(), time.monotonic()
        self._workers: Sequence[WorkerState] = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.say_finished()

    def begin(self, run: StartedRun) -> None:
        """Print the header."""
        super().begin(run)
        self.header(run)

    def phase(self, name: str, total: int) -> None:
        """Start to count; a regular line names the phase if it takes long."""
        self._clock.start(name, total)
        self._workers = ()

    def advance(self, count: int) -> None:
        """Count images, and print a line if the last one is old."""
        self._clock.advance(count)
        if time.monotonic() - self._last < self._every:
            return
        clock, left = self._clock, self._clock.seconds_left
        rest = "" if left is None else f", {duration(left)} left"
        self._print(f"{clock.name}: {clock.done:,} of {clock.total:,} images, {clock.speed:,.0f} images/s{rest}")
        for state in self._workers:
            self._print(f"  {worker_line(state)}")

    def condition(self, finished: FinishedCondition) -> None:
        """Print the corruption if this was its last condition."""
        super().condition(finished)
        board, condition = self.boards[finished.path], finished.condition
        model = f"{board.run.model} " if len(self.boards) > 1 else ""
        place = CLEAN if condition.suite == CLEAN else f"{condition.suite} {condition.corruption}"
        if self._verbose:
            seconds = f" in {finished.seconds:.2f} s" if finished.seconds else ""
            score = f"{percent(finished.score.value)} % {metric_name(finished.score.metric)}"
            self._print(f"{model}{condition.name}: {score}, {finished.images:,} images{seconds}")
        cells = board.of_corruption(condition)
        mean = board.mean(cells)
        if not board.are_finished(cells) or mean is None or (self._verbose and len(cells) == 1):
            return
        values = " ".join(percent(board.scores[cell.name].value) for cell in cells)
        each = f" ({values})" if len(cells) > 1 else ""
        done = f"{len(board.scores)} of {len(board.run.conditions)} conditions"
        self._print(f"{model}{place}: {percent(mean.value)} % {metric_name(mean.metric)}{each} · {done}")

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Remember the workers for the next line."""
        self._workers = states

    def note(self, text: str) -> None:
        """Print a note, once."""
        if text not in self.shown:
            self.shown.add(text)
            self._print(f"note: {text}")

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        self.console.print(text, soft_wrap=True)


class LiveProgress(ProgressDisplay):
    """A table that fills in, with speed and remaining time, at the bottom of a terminal.

    The view never wraps, leaves two lines of the terminal free, and is gone whenever something else is printed.

    Args:
        console: The console to print on.
        verbose: Whether to print a line for each condition.
        per_second: Number of redraws in a second; 0 to draw with `refresh` alone.
    """

    def __init__(self, console: Console, verbose: bool = False, per_second: float = 10.0) -> None:
        super().__init__(console)
        self._verbose, self._per_second = verbose, per_second
        self._clock, self._states = _Clock(), tuple[WorkerState, ...]()
        self._drawn: list[int] = []
        self._live = self._new_live()

    def _new_live(self) -> Live:
        rate = self._per_second
        return Live(self, console=self.console, transient=True, auto_refresh=rate > 0, refresh_per_second=rate or 1.0)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if error is not None:
            self.say_finished()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Erase the view until other output is printed."""
        self._live.stop()
        try:
            yield
        finally:
            self._drawn = []
            self._live = self._new_live()
            self._live.start()

    def refresh(self) -> None:
        """Draw the view at once."""
        self._live.refresh()

    def phase(self, name: str, total: int) -> None:
        """Show another phase."""
        self._states = ()
        self._clock.start(name, total)

    def advance(self, count: int) -> None:
        """Count images."""
        self._clock.advance(count)

    def begin(self, run: StartedRun) -> None:
        """Print the header above the table."""
        self.header(run)
        super().begin(run)

    def condition(self, finished: FinishedCondition) -> None:
        """Fill in a cell."""
        super().condition(finished)
        if self._verbose:
            score = finished.score
            text = f"{percent(score.value)} % {metric_name(score.metric)}, {finished.images:,} images"
            self.console.print(f"{finished.condition.name}: {text} in {finished.seconds:.2f} s", soft_wrap=False)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Show the workers below the table."""
        self._states = tuple(states)

    def note(self, text: str) -> None:
        """Print a note above the table, once."""
        if text not in self.shown:
            self.shown.add(text)
            self.console.print(f"note: {text}", soft_wrap=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        terminal = console.size.width
        width, height = terminal - len("^C") - 1, console.size.height - 2
        if any(drawn > terminal for drawn in self._drawn):
            # The terminal became narrower and folded the lines that are on the screen. Begin above their folds.
            folds = sum((drawn - 1) // terminal for drawn in self._drawn if drawn)
            yield Control((ControlType.CURSOR_UP, folds), (ControlType.CARRIAGE_RETURN,))
            yield from self._erased(folds)
        lines = self._lines(width, height)
        self._drawn = [line.cell_len for line in lines]
        yield Text("\n", end="").join(lines)

    @staticmethod
    def _erased(rows: int) -> Iterator[Control]:
        for _ in range(rows):
            yield Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_DOWN, 1))
        yield Control((ControlType.CURSOR_UP, rows))

    def _lines(self, width: int, height: int) -> list[Text]:
        status = self._status(width)
        workers = [_fit(f"  {worker_line(state)}", width) for state in self._states]
        most = max(height // 4, 1)
        if len(workers) > most:
            workers = [*workers[: most - 1], _fit(f"  {len(workers) - most + 1} more workers", width)]
        running = [board for board in self.boards.values() if not board.is_complete]
        if self._clock.name != EVALUATING or not running:
            return [status, *workers][:height]
        first, *rest = running
        others = [_fit(board.one_line(), width) for board in rest]
        if len(others) > most:
            others = [*others[: most - 1], _fit(f"{len(others) - most + 1} more models", width)]
        below = [*others, status, *workers]
        title = [_fit(f"{first.run.model}:", width)] if rest else []
        table = first.lines(width, height - len(below) - len(title))
        return [*title, *table, *below][:height]

    def _status(self, width: int) -> Text:
        """Return the last line: spinner, conditions or phase, a bar, speed and remaining time."""
        clock, left = self._clock, self._clock.seconds_left
        spinner = _SPINNER[int(time.monotonic() * 10) % len(_SPINNER)]
        running = [board for board in self.boards.values() if not board.is_complete]
        if clock.name == EVALUATING and running:
            done = sum(len(board.scores) for board in self.boards.values())
            head = (
                f"{spinner} {done:,} of {sum(len(board.run.conditions) for board in self.boards.values()):,} conditions"
            )
            clean = running[0].clean_text()
            head += f", {clean}" if clean else ""
        else:
            head = f"{spinner} {clock.name}"
        speed = f"{clock.speed:,.0f} images/s" if clock.speed else ""
        rest = f"{duration(left)} left" if left is not None and clock.total else ""
        tail = "  ".join(filter(None, (speed, rest)))
        if len(head) + len(tail) + 2 > width:
            tail = rest
        room = width - len(head) - len(tail) - 4
        bar = Text()
        if clock.total and room >= 5:
            size = min(room, 30)
            full = round(size * min(max(clock.done / clock.total, 0), 1))
            bar = Text.assemble("  ", ("━" * full, "green"), ("─" * (size - full), "dim"))
        line = Text.assemble(head, bar, f"  {tail}" if tail else "")
        line.truncate(width, overflow="ellipsis")
        return line


def _fit(text: str, width: int) -> Text:
    line = Text(text, no_wrap=True)
    line.truncate(max(width, 1), overflow="ellipsis")
    return line


def worker_line(state: WorkerState) -> str:
    """Return `worker 1 on NODE: CONDITION, 812 images/s, 1,624 so far`."""
    speed = f"{state.images_per_second:,.0f} images/s"
    return f"{state.name} on {state.node}: {state.doing or 'waiting'}, {speed}, {state.images:,} so far"


def duration(seconds: float) -> str:
    """Return a duration as `1 h 5 min`, `2 min 3 s` or `4 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def long_run_hint(seconds: float, samples: int) -> str:
    """Return how to get a result sooner than in `seconds` with `samples` images; empty for a short run."""
    if seconds <= _LONG:
        return ""
    images = 1000 if samples > 1000 else 100
    option = with_option_names("--limit")
    limit, preset = (f"-n {images}", "--preset ci") if option == "--limit" else (f"limit={images}", 'preset="ci"')
    return f"this takes about {duration(seconds)}; {limit} evaluates fewer images, and {preset} takes minutes"


def progress_display(console: Console, *, quiet: bool = False, verbose: bool = False) -> ProgressDisplay:
    """Return a live view for a terminal, lines for any other console, or nothing if `quiet`."""
    if quiet:
        return QuietProgress(console)
    if console.is_terminal and os.environ.get("TERM") != "dumb":
        return LiveProgress(console, verbose)
    return LineProgress(console, verbose=verbose)
