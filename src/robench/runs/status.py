"""The status of runs, read from their directories."""

from __future__ import annotations

import json
import re
import shlex
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from robench.errors import RunError
from robench.runs.directory import RunDirectory
from robench.runs.lock import is_locked
from robench.runs.observer import EVALUATING, WorkerState
from robench.runs.progress import RUNNING, Note, Progress, read_progress, seconds_since_update

__all__ = ["RUNNING", "Status", "as_json", "status"]

_STALLED_AFTER = 60.0
"""Seconds without an update after which a run on another machine counts as stalled."""


@dataclass(frozen=True)
class Status:
    """The status of one run.

    Attributes:
        path: The run directory.
        state: `running`; `stalled`: no update from another machine for a minute; `interrupted` or `failed`: ended early;
            `finished`; `damaged`: the manifest cannot be read.
        phase: Current phase of a running run.
        conditions_done: Finished conditions.
        conditions: Conditions of the run.
        images_done: Images classified, every frame counted.
        images: Images to classify.
        images_per_second: Speed over the last minute; None unless the run is evaluating.
        seconds_left: Remaining time at that speed.
        started: Start of the process (UTC, ISO 8601).
        updated: Time of the last update (UTC, ISO 8601); empty if there is none.
        host: Machine of the process.
        pid: Number of the process.
        engine: Name of the engine.
        workers: States of the engine's workers while the run is running.
        notes: Messages for the user.
        next: Advice on the next command.
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
        """Seconds since the last update; None if there is none."""
        return seconds_since_update(self.updated) if self.updated else None


def status(path: Path) -> Status:
    """Return the status of the run in `path`; RunError if it is no directory."""
    if not path.is_dir():
        raise RunError(f"{path} is not a directory", "give a run directory, or a folder of them")
    progress, locked = read_progress(path), is_locked(path)
    if not (path / "manifest.json").exists():
        state = _state(progress, locked, complete=False)
        return _with_progress(Status(path, state, next=_next(path, state, progress, None)), progress)
    try:
        run = RunDirectory.open(path)
    except RunError as error:
        return Status(path, "damaged", next=str(error))
    samples, planned = int(run.manifest["data"]["samples"]), run.conditions
    finished, partial = {condition.name for condition in run.finished()}, run.samples_in_shards()
    complete = len(finished) == len(planned) and (path / "results.csv").exists()
    state = _state(progress, locked, complete=complete)
    images = sum(condition.frames for condition in planned) * samples
    done = sum(
        condition.frames * (samples if condition.name in finished else partial.get(condition.name, 0))
        for condition in planned
    )
    speed = None
    if progress is not None and state == RUNNING and progress.phase == EVALUATING:
        done = max(done, images - max(progress.total - progress.done, 0))
        speed = progress.images_per_second
    environment = run.manifest.get("environment")
    known = Status(
        path,
        state,
        conditions_done=len(finished),
        conditions=len(planned),
        images_done=done,
        images=images,
        images_per_second=speed,
        seconds_left=(images - done) / speed if speed else None,
        next=_next(path, state, progress, environment.get("command") if isinstance(environment, dict) else None),
    )
    return _with_progress(known, progress)


def _state(progress: Progress | None, locked: bool | None, *, complete: bool) -> str:
    last = progress.state if progress is not None else "interrupted"
    if complete and last != RUNNING:
        return "finished"
    if locked:
        return RUNNING
    if progress is None or last != RUNNING:
        return "interrupted" if last == "finished" else last
    if locked is False and progress.host == socket.gethostname():
        # The process was killed. A lock of another machine may be invisible here.
        return "finished" if complete else "interrupted"
    return RUNNING if seconds_since_update(progress.updated) < _STALLED_AFTER else "stalled"


def _with_progress(known: Status, progress: Progress | None) -> Status:
    """Add the content of progress.json; phase and workers only while the run may be running."""
    if progress is None:
        return known
    alive = known.state in (RUNNING, "stalled")
    return replace(
        known,
        phase=progress.phase if alive else "",
        conditions=known.conditions or progress.conditions,
        started=progress.started,
        updated=progress.updated,
        host=progress.host,
        pid=progress.pid,
        engine=progress.engine,
        workers=progress.workers if alive else (),
        notes=progress.notes,
    )


_ASIDE = re.compile(r"\.\d+$")
"""End of the name of a run that --fresh has moved aside."""


def _next(path: Path, state: str, progress: Progress | None, command: Sequence[str] | None) -> str:
    if state == RUNNING:
        return ""
    if state == "finished":
        return f"`robench show {shlex.quote(str(path))}` prints the results"
    again = f"`robench {shlex.join(_resuming(path, command))}`" if command else "the same `robench evaluate`"
    if state == "stalled" and progress is not None:
        return f"check whether process {progress.pid} on {progress.host} is alive; if not, {again} resumes the run"
    return f"{again} resumes the run"


def _resuming(path: Path, command: Sequence[str]) -> list[str]:
    """Return the command of a run without --fresh, and with its place if --fresh has moved the run aside since."""
    words = [word for word in map(str, command) if word != "--fresh"]
    original = path.with_name(_ASIDE.sub("", path.name))
    if original == path or not original.exists():
        return words
    places = [index for index, word in enumerate(words) if word in ("--out", "-o")]
    kept = [word for index, word in enumerate(words) if not {index, index - 1} & set(places)]
    return [*(word for word in kept if not word.startswith("--out=")), "--out", str(path)]


def as_json(statuses: Sequence[Status]) -> str:
    """Return statuses as a JSON list."""
    return json.dumps([{**asdict(status), "path": str(status.path)} for status in statuses], indent=2) + "\n"
