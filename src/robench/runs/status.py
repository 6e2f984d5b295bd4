"""Where runs stand, from their directories alone: of those that go on elsewhere, that ended, or that were killed. Torch-free."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from robench.errors import RunError
from robench.runs.directory import RunDirectory
from robench.runs.lock import is_locked
from robench.runs.observer import EVALUATING, WorkerState
from robench.runs.progress import PROGRESS, RUNNING, Note, Progress, read_progress, seconds_since_update

__all__ = ["RUNNING", "Status", "as_json", "find_runs", "status"]

_FRESH = 60.0
"""Seconds for which a run need not say that it goes on."""


@dataclass(frozen=True)
class Status:
    """Where one run stands.

    state: `running`; `stalled`: not heard of for a minute, from another machine; `interrupted`, `failed`: it ended before its
    end; `finished`; `damaged`: its manifest cannot be read.
    phase: what a running one does.  images_done, images: classified, every frame counted.
    images_per_second: of the last minute, and seconds_left at that speed; None unless it is evaluating.
    updated: when it was last heard of, UTC; empty if never.  next: what to do, in words.
    """

    path: Path
    state: str
    phase: str = ""
    conditions_done: int = 0
    conditions: int = 0
    images_done: int = 0
    images: int = 0
    images_per_second: float | None = None
    seconds_left: float | None = None
    started: str = ""
    updated: str = ""
    host: str = ""
    pid: int | None = None
    engine: str = ""
    workers: tuple[WorkerState, ...] = ()
    notes: tuple[Note, ...] = ()
    next: str = ""

    @property
    def age(self) -> float | None:
        """Seconds since it was last heard of, None if it never was."""
        return seconds_since_update(self.updated) if self.updated else None


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run directories among paths and, of a folder that is none, in it; RunError for one without any."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise RunError(f"{path} is no folder: name a run directory, or a folder of them")
        runs = [path] if _is_run(path) else sorted(child for child in path.iterdir() if _is_run(child))
        if not runs:
            raise RunError(f"there is no run in {path}: it has no manifest.json, nor has any folder in it")
        found += runs
    return list(dict.fromkeys(found))


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("manifest.json", PROGRESS))


def status(path: Path) -> Status:
    """Say where the run in `path` stands."""
    progress, locked = read_progress(path), is_locked(path)
    if not (path / "manifest.json").exists():
        state = _state(progress, locked, whole=False)
        return _heard(Status(path, state, next=_next(path, state, progress, None)), progress)
    try:
        run = RunDirectory.open(path)
    except RunError as error:
        return Status(path, "damaged", next=str(error))
    samples, planned = int(run.manifest["data"]["samples"]), run.conditions
    finished, parts = {one.name for one in run.finished()}, run.samples_in_shards()
    state = _state(progress, locked, whole=len(finished) == len(planned) and (path / "results.csv").exists())
    images = sum(one.frames for one in planned) * samples
    done = sum(one.frames * (samples if one.name in finished else parts.get(one.name, 0)) for one in planned)
    evaluating = progress is not None and state == RUNNING and progress.phase == EVALUATING
    if progress is not None and evaluating:
        done = max(done, images - max(progress.total - progress.done, 0))
    speed = progress.images_per_second if progress is not None and evaluating else None
    found = Status(
        path,
        state,
        conditions_done=len(finished),
        conditions=len(planned),
        images_done=done,
        images=images,
        images_per_second=speed,
        seconds_left=(images - done) / speed if speed else None,
        next=_next(path, state, progress, run.manifest.get("environment", {}).get("command")),
    )
    return _heard(found, progress)


def _state(progress: Progress | None, locked: bool | None, *, whole: bool) -> str:
    last = progress.state if progress is not None else "interrupted"
    if whole and last != RUNNING:
        return "finished"
    if locked:
        return RUNNING
    if progress is None or last != RUNNING:
        return "interrupted" if last == "finished" else last
    if locked is False and progress.host == socket.gethostname():
        return "finished" if whole else "interrupted"  # It was killed. Other machines' locks may not be seen here.
    return RUNNING if seconds_since_update(progress.updated) < _FRESH else "stalled"


def _heard(found: Status, progress: Progress | None) -> Status:
    """The status with what the run said of itself; who works on it only while somebody does."""
    if progress is None:
        return found
    runs = found.state in (RUNNING, "stalled")
    return replace(
        found,
        phase=progress.phase if runs else "",
        conditions=found.conditions or progress.conditions,
        started=progress.started,
        updated=progress.updated,
        host=progress.host,
        pid=progress.pid,
        engine=progress.engine,
        workers=progress.workers if runs else (),
        notes=progress.notes,
    )


def _next(path: Path, state: str, progress: Progress | None, command: Sequence[str] | None) -> str:
    if state == RUNNING:
        return ""
    if state == "finished":
        return f"`robench show {shlex.quote(str(path))}` prints its results"
    again = f"`robench {shlex.join(map(str, command))}`" if command else "the same `robench evaluate`"
    if state == "stalled" and progress is not None:
        return f"see whether process {progress.pid} on {progress.host} lives; if not, {again} goes on where it stopped"
    return f"{again} goes on where it stopped"


def as_json(found: Sequence[Status]) -> str:
    """Statuses as a JSON list."""
    return json.dumps([{**asdict(one), "path": str(one.path)} for one in found], indent=2) + "\n"
