"""Fill a run directory while a run is evaluated."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.scoring import check_clean_records, nonfinite_notes, score
from robench.analysis.scoring import notes as score_notes
from robench.errors import RunError
from robench.evaluation.engines import Event
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.profile import Profile
from robench.evaluation.shards import Shard, ShardResult
from robench.runs.directory import RunDirectory
from robench.runs.files import translate_os_errors
from robench.runs.lock import lock_run
from robench.runs.observer import EVALUATING, SCORING, Observer, ObserverGroup
from robench.runs.progress import Heartbeat
from robench.suites import Condition
from robench.transforms.apply import condition_frames
from robench.types import Results

__all__ = ["Run", "differences"]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Say for each leaf in which two identities differ: `options.seed was 0, is 1`."""
    lines: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            lines += differences(was, now, f"{prefix}{key}.")
        elif was != now:
            change = f"was {was!r}, is {now!r}"
            lines.append(
                f"{prefix}{key} " + ("is left out now" if key not in new else "is new" if key not in old else change)
            )
    return lines


@dataclass(frozen=True)
class Run:
    """A finished run: its directory and its results.

    profiles: by suite and corruption, where the time went, if the options ask for that.
    """

    directory: RunDirectory
    results: Results
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the run directory is."""
        return self.directory.path


@dataclass
class RunWriter:
    """A run directory that is being filled, by this process alone.

    observer: the caller's, and the heartbeat.  held: what ends with it: the lock, and the heartbeat.
    missing: shards that are not on disk, in the order of the plan.
    spent: images and seconds of each unfinished condition, by name; without those of an earlier process.
    """

    prepared: PreparedRun
    directory: RunDirectory
    observer: Observer
    heartbeat: Heartbeat
    held: ExitStack
    missing: list[Shard] = field(default_factory=list)
    spent: dict[str, tuple[int, float]] = field(default_factory=dict)
    sanity_checked: bool = False
    profiles: dict[str, Profile] = field(default_factory=dict)

    @classmethod
    def begin(cls, prepared: PreparedRun, fresh: bool, engine: str, observer: Observer, held: ExitStack) -> RunWriter:
        """Open or make the run directory, hold it, and find what it lacks.  engine: its name."""
        path, plan = prepared.path, prepared.plan
        if fresh and path.exists() and any(path.iterdir()):
            observer.note(f"what was in {path} is now in {_move_aside(path)}")
        with translate_os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock_run(path))
        directory = _open_or_create(path, prepared.manifest, prepared.samples)
        directory.remove_leftovers()
        directory.restore_samples(prepared.samples)
        rows = len(prepared.samples)
        finished = {condition.name for condition in directory.finished()}
        damaged = {one.name for one in directory.finished() if directory.is_damaged(one.name, one.frames * rows)}
        for name in sorted(damaged):
            observer.note(f"the records of {name} are damaged: it is evaluated again")
        todo = [condition for condition in plan.conditions if condition.name not in finished - damaged]
        done = len(plan.conditions) - len(todo)
        if done:
            observer.note(f"resuming {path}: {done} of {len(plan.conditions)} conditions are finished")
        heartbeat = held.enter_context(Heartbeat(engine))
        heartbeat.begin(path, len(plan.conditions), done)
        run = cls(prepared, directory, ObserverGroup(observer, heartbeat), heartbeat, held)
        for condition in todo:
            run._begin_condition(condition)
        heartbeat.phase(EVALUATING, sum(shard.frames for shard in run.missing))
        run._warn_if_implausible()
        return run

    def _begin_condition(self, condition: Condition) -> None:
        shards = self.prepared.shards(condition)
        there = self.directory.valid_shards(
            condition.name, [(one.start, one.stop) for one in shards], condition_frames(condition)
        )
        missing = [one for one in shards if (one.start, one.stop) not in there]
        if not missing:
            self._finish_condition(condition)
        self.missing += missing

    def add(self, shard: Shard, part: ShardResult) -> None:
        """Write an evaluated shard, and finish its condition if it was the last one."""
        condition, asked = shard.condition, self.prepared.batch_size
        self.missing.remove(shard)
        if part.profile is not None:
            name = condition.suite if condition.is_clean else f"{condition.suite} {condition.corruption}"
            self.profiles[name] = self.profiles.get(name, Profile()) + part.profile
        images, seconds = self.spent.get(condition.name, (0, 0.0))
        self.spent[condition.name] = images + shard.frames, seconds + part.seconds
        if part.batch_size < asked:
            text = f"{condition.name}: out of memory with {asked} images a batch, evaluated {part.batch_size} at once"
            if text not in self.directory.notes:
                self.observer.note(text)
                self.record(Event("out of memory", text), notes=[*self.directory.notes, text])
        if len(self.prepared.shards(condition)) == 1:
            self.directory.write_encoded(condition.name, part.content)
            self._finish_condition(condition)
            return
        self.directory.write_shard(condition.name, shard.start, shard.stop, part.content)
        if not any(one.condition == condition for one in self.missing):
            self._finish_condition(condition)

    def _finish_condition(self, condition: Condition) -> None:
        shards = self.prepared.shards(condition)
        if len(shards) > 1:
            self.directory.merge_shards(condition.name, [(one.start, one.stop) for one in shards])
        images, seconds = self.spent.pop(condition.name, (0, 0.0))
        if seconds:
            self.directory.add_timing(
                {
                    "suite": condition.suite,
                    "corruption": condition.corruption,
                    "severity": condition.severity,
                    "resolution": condition.resolution,
                    "images": images,
                    "seconds": round(seconds, 4),
                    "images_per_second": round(images / seconds, 2),
                }
            )
            self.observer.condition(condition.name, seconds, images)
        self._warn_if_implausible()

    def _warn_if_implausible(self) -> None:
        """Say what the clean images show to be wrong, which come first, before the long work."""
        if not self.sanity_checked and self.missing and not any(one.condition.is_clean for one in self.missing):
            self.sanity_checked = True
            for doubt in _clean_warnings(self.directory):
                self.observer.note(doubt)

    def record(self, event: Event, **entries: Any) -> None:
        """Write into the manifest what happened to the work, and the entries that change with it."""
        now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "kind": event.kind, "text": event.text}
        events = [*self.directory.manifest.get("events", []), now]
        self.directory = self.directory.with_manifest_entries(events=events, **entries)

    def finish(self) -> Run:
        """Score what is on disk now."""
        self.heartbeat.phase(SCORING, 0)
        results = score(self.directory)
        self.directory.write_results(results)
        for note in (*score_notes(self.directory), *nonfinite_notes(results), *_clean_warnings(self.directory)):
            self.observer.note(note)
        self.held.close()
        decoding = {"decoding": Profile.of("decode", self.prepared.decoding)} if self.profiles else {}
        return Run(self.directory, results, {**decoding, **self.profiles})


def _clean_warnings(directory: RunDirectory) -> list[str]:
    """What the clean images show to be wrong; where the labels look permuted, their order is written beside the results."""
    doubts, permutation = check_clean_records(directory)
    names = directory.manifest["data"].get("classes", [])
    if permutation is None or len(names) != len(permutation.label_of):
        return doubts
    file = directory.path / "class_map.suggested.txt"
    with translate_os_errors(directory.path):
        file.write_text("".join(f"{names[label]}\n" for label in permutation.label_of.tolist()))
    return [*doubts, f"that order is in {file}: try --class-map {file}"]


def _open_or_create(path: Path, manifest: dict[str, Any], samples: pd.DataFrame) -> RunDirectory:
    """The run in a directory that this process has locked; RunError if it is another one."""
    if not (path / "manifest.json").exists():
        return RunDirectory.create(path, manifest, samples)
    directory = RunDirectory.open(path)
    identity = _with_replaced_files(directory, directory.manifest["identity"], manifest["identity"])
    changed = differences(identity, manifest["identity"])
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        mend = "choose another --out, or give --fresh"
        if len(changed) == 1 and changed[0].startswith("threads was"):
            mend = f"give --threads {identity['threads']} to go on with it, or {mend}"
        raise RunError(f"{path} is another run: {'; '.join(changed[:3])}{more}; {mend}")
    # Only the scoring depends on these, so a finished run is scored again instead of refused.
    scoring = {name: manifest["options"][name] for name in ("normalize_by", "difficulties")}
    return directory.with_manifest_entries(
        identity=identity,
        normalize_by=manifest["normalize_by"],
        options={**directory.manifest["options"], **scoring},
    )


def _with_replaced_files(directory: RunDirectory, identity: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A run's identity with the released files that there are now for unfinished conditions: a damaged one may have stopped it.

    new: the identity as the run would be begun now.
    """
    known, now = identity.get("released"), new.get("released")
    if not known or not now:
        return identity
    finished = {condition.name for condition in directory.finished()}
    files = {name: known[name] if name in finished or name not in now else now[name] for name in known}
    return {**identity, "released": files}


def _move_aside(path: Path) -> Path:
    number = next(n for n in range(1, sys.maxsize) if not path.with_name(f"{path.name}.{n}").exists())
    with lock_run(path), translate_os_errors(path.parent):
        return path.rename(path.with_name(f"{path.name}.{number}"))
