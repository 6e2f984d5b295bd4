"""The progress of a run, written to `progress.json` in its directory while the run is running."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from robench.runs.observer import FinishedCondition, Observer, StartedRun, WorkerState

__all__ = ["PROGRESS", "RUNNING", "Heartbeat", "Note", "Progress", "read_progress", "seconds_since_update"]

PROGRESS = "progress.json"
RUNNING = "running"

_INTERVAL = 1.0
"""Seconds between two updates of the file."""
_WINDOW = 60.0
"""Seconds over which images per second are measured."""
_MAX_NOTES = 50
"""Number of notes kept; the oldest are dropped."""


@dataclass(frozen=True)
class Note:
    """A message for the user and its time (UTC, ISO 8601)."""

    at: str
    text: str


@dataclass(frozen=True)
class Progress:
    """The content of `progress.json`.

    Attributes:
        state: `running`, `finished`, `interrupted` or `failed`.
        phase: Name of the current phase.
        done: Images of the phase that are done.
        total: Images of the phase.
        images_per_second: Speed over the last minute.
        conditions_done: Finished conditions of the whole run.
        conditions: Conditions of the whole run.
        started: Start of the process (UTC, ISO 8601).
        updated: Time of this update (UTC, ISO 8601).
        host: Machine of the process that writes the run.
        pid: Number of that process.
        engine: Name of the engine.
        workers: States of the engine's workers.
        notes: The last messages for the user.
    """

    state: str = RUNNING
    phase: str = "preparing"
    done: int = 0
    total: int = 0
    images_per_second: float = 0.0
    conditions_done: int = 0
    conditions: int = 0
    started: str = ""
    updated: str = ""
    host: str = ""
    pid: int = 0
    engine: str = "local"
    workers: tuple[WorkerState, ...] = ()
    notes: tuple[Note, ...] = ()


T = TypeVar("T", WorkerState, Note, Progress)


def read_progress(path: Path) -> Progress | None:
    """Read the progress of the run in `path`; None if the file is missing or damaged."""
    try:
        content = json.loads((path / PROGRESS).read_bytes())
        workers = tuple(_parse(WorkerState, worker) for worker in content.pop("workers"))
        notes = tuple(_parse(Note, note) for note in content.pop("notes"))
        progress = _parse(Progress, {**content, "workers": workers, "notes": notes})
        seconds_since_update(progress.updated)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    return progress


def _parse(kind: type[T], cells: Mapping[str, Any]) -> T:
    """Return the cells as a dataclass; TypeError if names or types differ."""
    parsed = kind(**cells)
    for cell in fields(parsed):
        value, expected = (
            getattr(parsed, cell.name),
            {"int": int, "float": float, "str": str}.get(str(cell.type), tuple),
        )
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise TypeError(cell.name)
    return parsed


@dataclass
class Heartbeat(Observer):
    """An observer that writes `progress.json` at most once a second, from `begin` until the end of the context.

    A Heartbeat never stops a run. If the file cannot be written, the run continues without it.
    """

    engine: str = "local"
    every: float = _INTERVAL
    _path: Path | None = None
    _progress: Progress = field(
        default_factory=lambda: Progress(started=_now(), host=socket.gethostname(), pid=os.getpid())
    )
    _notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_MAX_NOTES))
    _history: deque[tuple[float, int]] = field(default_factory=deque)
    _written: float = -_WINDOW

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._notes.append(Note(_now(), " ".join(str(error).split()) or type(error).__name__))
        state = "finished" if error is None else "failed" if isinstance(error, Exception) else "interrupted"
        self._set(state=state, workers=())
        self._write()

    def begin(self, run: StartedRun) -> None:
        """Begin to write into the directory of a run, which this process has locked."""
        self._path = run.path
        self._set(conditions=len(run.conditions), conditions_done=len(run.scores))
        self._write()

    def phase(self, name: str, total: int) -> None:
        """Begin a phase and write it at once."""
        self._set(phase=name, total=total, done=0)
        self._history.clear()
        self._write()

    def advance(self, count: int) -> None:
        """Count more images as done."""
        self._set(done=self._progress.done + count)
        self._write_if_due()

    def condition(self, finished: FinishedCondition) -> None:
        """Count a finished condition."""
        self._set(conditions_done=self._progress.conditions_done + 1)
        self._write_if_due()

    def note(self, text: str) -> None:
        """Keep a message."""
        self._notes.append(Note(_now(), text))
        self._write_if_due()

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Keep the state of the workers; an unchanged state still updates the time in the file."""
        self._set(workers=tuple(states))
        self._write_if_due()

    def _set(self, **cells: Any) -> None:
        self._progress = replace(self._progress, **cells)

    def _write_if_due(self) -> None:
        if time.monotonic() - self._written >= self.every:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        self._history.append((self._written, self._progress.done))
        while len(self._history) > 2 and self._written - self._history[1][0] >= _WINDOW:
            self._history.popleft()
        (start, before), (end, after) = self._history[0], self._history[-1]
        speed = round(max(after - before, 0) / (end - start), 2) if end > start else 0.0
        progress = replace(
            self._progress, images_per_second=speed, updated=_now(), engine=self.engine, notes=tuple(self._notes)
        )
        temporary = self._path / f".tmp-{PROGRESS}"
        with suppress(OSError):  # A full disk stops the run with an error when its records are written.
            temporary.write_text(json.dumps(asdict(progress), indent=1) + "\n")
            temporary.replace(self._path / PROGRESS)


def seconds_since_update(at: str) -> float:
    """Return the seconds since a time in ISO 8601 (UTC); ValueError or TypeError if the text is no such time."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
