"""How far a run is, in its directory while it goes on: `progress.json`, which `robench status` reads elsewhere. Torch-free."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from robench.runs.observer import WorkerState

__all__ = ["PROGRESS", "RUNNING", "Heartbeat", "Note", "Progress", "read_progress", "seconds_since_update"]

PROGRESS = "progress.json"
RUNNING = "running"

_EVERY = 1.0
"""Seconds between two writings."""
_WINDOW = 60.0
"""Seconds that images/s are over."""
_KEPT = 50
"""Notes that are kept, the last ones."""


@dataclass(frozen=True)
class Note:
    """Something the user should know.  at: UTC, ISO 8601."""

    at: str
    text: str


@dataclass(frozen=True)
class Progress:
    """How far a run was when it last said so.

    state: `running`, or how it ended: `finished`, `interrupted`, `failed`.  phase: what it does.
    done, total: images of the phase.  images_per_second: of the last minute.
    conditions_done, conditions: of the whole run.  started, updated: UTC, ISO 8601.  host, pid: of the process that writes this.
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
    """Read the progress of the run in `path`; None where there is none, or it is damaged."""
    try:
        found = json.loads((path / PROGRESS).read_bytes())
        workers = tuple(_as(WorkerState, one) for one in found.pop("workers"))
        notes = tuple(_as(Note, one) for one in found.pop("notes"))
        progress = _as(Progress, {**found, "workers": workers, "notes": notes})
        seconds_since_update(progress.updated)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    return progress


def _as(kind: type[T], cells: Mapping[str, Any]) -> T:
    """The cells as a dataclass; TypeError where they are others, or of other types."""
    made = kind(**cells)
    for one in fields(made):
        value, expected = getattr(made, one.name), {"int": int, "float": float, "str": str}.get(str(one.type), tuple)
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise TypeError(one.name)
    return made


@dataclass
class Heartbeat:
    """An observer of a run that keeps its progress.json, at most once a second, from `begin` until it is left.

    It never stops a run: where the file cannot be written, the run goes on without.
    """

    engine: str = "local"
    every: float = _EVERY
    _path: Path | None = None
    _state: str = RUNNING
    _phase: str = "preparing"
    _done: int = 0
    _total: int = 0
    _conditions: tuple[int, int] = (0, 0)
    _workers: tuple[WorkerState, ...] = ()
    _notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _passed: deque[tuple[float, int]] = field(default_factory=deque)
    _written: float = -_WINDOW
    _started: str = field(default_factory=lambda: _now())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "finished" if kind is None else "failed" if issubclass(kind, Exception) else "interrupted"
        if kind is not None and issubclass(kind, Exception):
            self._keep(" ".join(f"{error or kind.__name__}".split()))
        self._workers = ()
        self._write()

    def begin(self, path: Path, conditions: int, done: int) -> None:
        """Write into the run in `path`, which this process has locked: of its conditions so many are done."""
        self._path, self._conditions = path, (done, conditions)
        self._write()

    def phase(self, name: str, total: int) -> None:
        """A phase begins: `total` images are to be hashed, decoded or classified."""
        self._phase, self._total, self._done = name, total, 0
        self._passed.clear()
        self._write()

    def advance(self, count: int) -> None:
        """`count` more images of the phase are done; fewer than none where a lost worker's are to be done again."""
        self._done += count
        self._write_sometimes()

    def condition(self, name: str, seconds: float, images: int) -> None:
        """A condition is finished and on disk."""
        done, total = self._conditions
        self._conditions = done + 1, total
        self._write_sometimes()

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""
        self._keep(text)
        self._write_sometimes()

    def workers(self, states: Sequence[WorkerState]) -> None:
        """What the workers are at now; told too where nothing else happens, so that the run is seen to go on."""
        self._workers = tuple(states)
        self._write_sometimes()

    def _keep(self, text: str) -> None:
        self._notes.append(Note(_now(), text))

    def _write_sometimes(self) -> None:
        if time.monotonic() - self._written >= self.every:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        self._passed.append((self._written, self._done))
        while len(self._passed) > 2 and self._written - self._passed[1][0] >= _WINDOW:
            self._passed.popleft()
        (start, before), (end, after) = self._passed[0], self._passed[-1]
        progress = Progress(
            state=self._state,
            phase=self._phase,
            done=self._done,
            total=self._total,
            images_per_second=round(max(after - before, 0) / (end - start), 2) if end > start else 0.0,
            conditions_done=self._conditions[0],
            conditions=self._conditions[1],
            started=self._started,
            updated=_now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            engine=self.engine,
            workers=self._workers,
            notes=tuple(self._notes),
        )
        temporary = self._path / f".tmp-{PROGRESS}"
        try:
            temporary.write_text(json.dumps(asdict(progress), indent=1) + "\n")
            temporary.replace(self._path / PROGRESS)
        except OSError:
            pass  # A full disk stops the run where its records cannot be written, with a line that says so.


def seconds_since_update(at: str) -> float:
    """Seconds since a time, UTC in ISO 8601; ValueError or TypeError where it is none."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
