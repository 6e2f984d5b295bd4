"""The writer of a run directory during an evaluation."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.scoring import clean_warnings, condition_score, mean_divisors, score_and_store
from robench.display.run import Run
from robench.errors import RunError
from robench.evaluation.attack_state import FOLDER, state_path
from robench.evaluation.changes import describe_changes
from robench.evaluation.engines import Event
from robench.evaluation.estimate import remaining_seconds
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.profile import Profile
from robench.evaluation.shards import Shard, ShardResult
from robench.runs.directory import RunDirectory
from robench.runs.files import translate_os_errors
from robench.runs.lock import lock_run
from robench.runs.observer import EVALUATING, SCORING, FinishedCondition, Observer, ObserverGroup, StartedRun
from robench.runs.progress import Heartbeat
from robench.suites import Condition
from robench.transforms.apply import condition_frames

__all__ = ["RunWriter"]


@dataclass
class RunWriter:
    """A run directory that this process fills.

    Attributes:
        prepared: The prepared run.
        directory: The run directory.
        observer: Receives progress.
        heartbeat: Writes progress.json.
        held: Holds the lock and the heartbeat until the run is finished.
        missing: Shards that are not on disk, in the order of the plan.
        spent: Images and seconds of each unfinished condition by name, without those of an earlier process.
        sanity_checked: Whether the clean records are checked.
        profiles: Profile of each suite and corruption.
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
        """Create or open the run directory, lock it, and find the missing shards.

        Args:
            prepared: The prepared run.
            fresh: Whether to move an existing run aside.
            engine: Name of the engine.
            observer: Receives progress.
            held: Receives the lock and the heartbeat.

        Raises:
            RunError: The directory holds another run, or is locked.
        """
        path, plan = prepared.path, prepared.plan
        if fresh and path.exists() and any(path.iterdir()):
            observer.note(f"moved {path} to {_move_aside(path)}")
        with translate_os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock_run(path))
        directory = _open_or_create(path, prepared.manifest, prepared.samples)
        directory.remove_leftovers()
        directory.restore_samples(prepared.samples)
        samples, finished = len(prepared.samples), set()
        for entry in directory.finished():
            if directory.is_damaged(entry.name, entry.frames * samples):
                observer.note(f"the records of {entry.name} are damaged and evaluated again")
            else:
                finished.add(entry.name)
        unfinished = [condition for condition in plan.conditions if condition.name not in finished]
        done = len(plan.conditions) - len(unfinished)
        if done:
            observer.note(f"resuming {path}: {done} of {len(plan.conditions)} conditions are finished")
        heartbeat = held.enter_context(Heartbeat(engine))
        writer = cls(prepared, directory, ObserverGroup(observer, heartbeat), heartbeat, held)
        if prepared.labelled:
            writer.observer.begin(_started_run(prepared, directory, unfinished))
        for condition in unfinished:
            writer._begin_condition(condition)
        heartbeat.phase(EVALUATING, sum(shard.frames for shard in writer.missing))
        if prepared.labelled:
            writer._warn_if_implausible()
        return writer

    def _begin_condition(self, condition: Condition) -> None:
        shards = self.prepared.shards(condition)
        ranges = [(shard.start, shard.stop) for shard in shards]
        valid = self.directory.valid_shards(condition.name, ranges, condition_frames(condition))
        self.missing += [shard for shard in shards if (shard.start, shard.stop) not in valid]
        if len(valid) == len(shards):
            self._finish_condition(condition)

    def add(self, shard: Shard, result: ShardResult | Callable[[], ShardResult]) -> None:
        """Write an evaluated shard; the last shard of a condition finishes the condition."""
        result = result if isinstance(result, ShardResult) else result()
        condition, requested = shard.condition, self.prepared.batch_size
        self.missing.remove(shard)
        if result.profile is not None:
            name = condition.suite if condition.is_clean else f"{condition.suite} {condition.corruption}"
            self.profiles[name] = self.profiles.get(name, Profile()) + result.profile
        images, seconds = self.spent.get(condition.name, (0, 0.0))
        self.spent[condition.name] = images + shard.frames, seconds + result.seconds
        if result.batch_size < requested:
            text = (
                f"{condition.name}: out of memory with {requested} images a batch, evaluated with {result.batch_size}"
            )
            if text not in self.directory.notes:
                self.observer.note(text)
                notes = [*self.directory.manifest["notes"], text]
                self.record(Event("out of memory", text), notes=notes)
        if len(self.prepared.shards(condition)) == 1:
            self.directory.write_encoded(condition.name, result.content)
        else:
            self.directory.write_shard(condition.name, shard.start, shard.stop, result.content)
        if condition.attack is not None:
            first = int(self.prepared.samples["index"].iloc[shard.start])
            state_path(self.directory.path / FOLDER, condition.name, first).unlink(missing_ok=True)
        if not any(other.condition == condition for other in self.missing):
            self._finish_condition(condition)

    def _finish_condition(self, condition: Condition) -> None:
        shards = self.prepared.shards(condition)
        if len(shards) > 1:
            self.directory.merge_shards(condition.name, [(shard.start, shard.stop) for shard in shards])
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
        entry = next(entry for entry in self.prepared.plan.listed if entry.name == condition.name)
        if self.prepared.labelled:
            value = condition_score(self.directory, entry)
            self.observer.condition(FinishedCondition(self.prepared.path, entry, value, images, seconds))
            self._warn_if_implausible()

    def _warn_if_implausible(self) -> None:
        """Check the clean records as soon as they are complete, before the long work. An interrupted run keeps the warnings."""
        if not self.sanity_checked and self.missing and not any(shard.condition.is_clean for shard in self.missing):
            self.sanity_checked = True
            warnings = clean_warnings(self.directory)
            if warnings:
                scored = {**self.directory.manifest.get("scored", {}), "warnings": warnings}
                self.directory = self.directory.with_manifest_entries(scored=scored)
            for warning in warnings:
                self.observer.note(warning)

    def record(self, event: Event, **entries: Any) -> None:
        """Write an event into the manifest, with other entries that change."""
        now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "kind": event.kind, "text": event.text}
        events = [*self.directory.manifest.get("events", []), now]
        self.directory = self.directory.with_manifest_entries(events=events, **entries)

    def finish(self, image_sets: Sequence[Mapping[str, str]] = (), groups: str | None = None) -> Run:
        """Compute the results from the records, write them and release the run.

        Args:
            image_sets: Entry of the manifest for each evaluated set of images without labels.
            groups: Groups of images, as in `score_and_store`.
        """
        self.heartbeat.phase(SCORING, 0)
        if image_sets or "image_sets" in self.directory.manifest:
            self.directory = self.directory.with_manifest_entries(image_sets=list(image_sets))
        self.directory, results = score_and_store(self.directory, groups=groups)
        scored = self.directory.manifest["scored"]
        for text in (*scored["notes"], *scored["warnings"]):
            self.heartbeat.note(text)  # The summary of the run holds them for the reader.
        shutil.rmtree(self.directory.path / FOLDER, ignore_errors=True)
        self.held.close()
        decoding = {"decoding": Profile.of("decode", self.prepared.decoding)} if self.profiles else {}
        return Run(self.directory, results, {**decoding, **self.profiles})


def _started_run(prepared: PreparedRun, directory: RunDirectory, unfinished: Sequence[Condition]) -> StartedRun:
    manifest, plan = directory.manifest, prepared.plan
    missing = {condition.name for condition in unfinished}
    return StartedRun(
        path=prepared.path,
        model=manifest["model"]["label"],
        dataset=manifest["data"]["name"],
        samples=len(prepared.samples),
        classes=len(manifest["data"]["classes"]),
        device=manifest["identity"]["device"],
        conditions=plan.listed,
        scores={entry.name: condition_score(directory, entry) for entry in plan.listed if entry.name not in missing},
        divisors=mean_divisors(directory),
        estimate=partial(remaining_seconds, prepared, unfinished),
    )


def _open_or_create(path: Path, manifest: dict[str, Any], samples: pd.DataFrame) -> RunDirectory:
    """Return the run in a locked directory; RunError if the directory holds another run."""
    if not (path / "manifest.json").exists():
        return RunDirectory.create(path, manifest, samples)
    directory = RunDirectory.open(path)
    if not manifest["model"]["sha256"]:
        raise RunError(
            f"{path} is a run, and robench cannot tell whether it is of the same function, which has no state_dict",
            "choose another --out, or start over with --fresh",
        )
    identity = _with_replaced_files(directory, directory.manifest["identity"], manifest["identity"])
    changed = describe_changes(directory.manifest, manifest, identity)
    if changed:
        hint = "choose another --out, or start over with --fresh"
        if len(changed) == 1 and changed[0].startswith("threads was"):
            hint = f"resume with --threads {identity['threads']}, or {hint}"
        raise RunError(f"{path} is another run: {'; '.join(changed)}", hint)
    # Only the results depend on these options, so a finished run is scored again instead of refused.
    scoring = {name: manifest["options"][name] for name in ("normalize_by", "difficulty")}
    return directory.with_manifest_entries(
        identity=identity,
        normalize_by=manifest["normalize_by"],
        options={**directory.manifest["options"], **scoring},
    )


def _with_replaced_files(directory: RunDirectory, identity: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's identity with the current released files of unfinished conditions, which the user may have repaired.

    Args:
        directory: The run directory.
        identity: Identity of the existing run.
        new: Identity of a new run.
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
