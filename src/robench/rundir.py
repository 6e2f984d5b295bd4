"""The run directory: what a run leaves on disk, and the reading of it. Torch-free.

    manifest.json        identity of the run (model, data, options), its conditions, environment, notes
    samples.parquet      tables.SAMPLES
    records/NAME.parquet tables.RECORDS, one file per finished condition
    records/.parts/      tables.RECORDS of some samples each, of conditions that are not finished
    timings.csv          tables.TIMINGS
    results.csv          tables.RESULTS
    progress.json        how far a run is (robench.heartbeat)

Every file but timings.csv is written under a temporary name and renamed, so a finished condition is a file that exists.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from robench import parquet, tables
from robench.errors import OptionError, RunError, TableError
from robench.tables import RECORDS, RESULTS, SAMPLES, SCHEMA_VERSION, TIMINGS
from robench.types import Records, Results

__all__ = ["PlannedCondition", "RunDirectory", "check_replaceable", "differences", "is_locked", "writing"]

_GLANCE = 1.0
"""Seconds that are longer than it takes to look whether a lock is free."""

_KEYS: dict[str, type] = {
    "model": dict,
    "data": dict,
    "identity": dict,
    "options": dict,
    "conditions": list,
    "seed": int,
}
"""What a manifest must have, and of which type."""

_FACTS = (("model", "label"), ("data", "name"), ("data", "sha256"), ("data", "samples"))
"""What must be in these, for the results are made of it."""


@dataclass(frozen=True)
class PlannedCondition:
    """A condition as the manifest lists it.

    name: stem of the records file.  resolution: side of the image, px.  protocol: of its results' rows.
    source: `computed` or `released`.  clean: name of the condition of the same images unperturbed.
    frames: rows of the records by sample; 1 but for perturbations.  axis: what the records' axis_value is.
    independent: whether each frame is compared with the first instead of with the one before.
    gflops: of one image through the network, in 10^9 floating-point operations, where it was counted.
    """

    name: str
    suite: str
    corruption: str
    severity: int
    resolution: int
    protocol: str
    source: str
    clean: str
    frames: int = 1
    axis: str = ""
    independent: bool = False
    gflops: float | None = None


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that exists and whose manifest could be read."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Open an existing run; RunError if `path` is none or was written with another schema."""
        path = Path(path)
        file = path / "manifest.json"
        try:
            manifest = json.loads(file.read_text())
        except FileNotFoundError:
            lacks = "it has no manifest.json" if path.exists() else "it does not exist"
            raise RunError(f"{path} is not a run directory: {lacks}") from None
        except NotADirectoryError:
            raise RunError(f"{path} is a file, not a run directory") from None
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {file}: {error}") from error
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if schema != SCHEMA_VERSION:
            raise RunError(
                f"{path} has schema {schema}, this robench reads {SCHEMA_VERSION}: evaluate again into another --out"
            )
        missing = [key for key in _KEYS if not isinstance(manifest.get(key), _KEYS[key])]
        missing += [f"{name} of {key}" for key, name in _FACTS if not missing and name not in manifest[key]]
        if missing:
            raise RunError(f"{file} is damaged, it lacks {', '.join(missing)}: evaluate again with --fresh")
        return cls(path, manifest)

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any], samples: pd.DataFrame) -> RunDirectory:
        """Make the directory with its manifest and list of samples; the manifest comes last, and makes it a run."""
        with writing(path):
            (path / "records").mkdir(parents=True, exist_ok=True)
            run = cls(path, manifest)
            parquet.write_parquet(SAMPLES, samples, run.samples_path)
            run.write_manifest()
        return run

    def write_manifest(self) -> None:
        """Write the manifest as it is in memory."""
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"
        with writing(self.path):
            tables.atomic_write(self.path / "manifest.json", lambda file: file.write(text.encode()))

    def saying(self, **entries: Any) -> RunDirectory:
        """Return the run with these entries in its manifest, which is written where that changes it."""
        changed = RunDirectory(self.path, {**self.manifest, **entries})
        if changed.manifest != self.manifest:
            changed.write_manifest()
        return changed

    @property
    def conditions(self) -> list[PlannedCondition]:
        """All conditions of the run, finished or not, in the order of evaluation; RunError if they are not listed as here."""
        try:
            return [PlannedCondition(**condition) for condition in self.manifest["conditions"]]
        except TypeError as error:
            raise RunError(
                f"{self.path / 'manifest.json'} is damaged in its conditions, or another robench's: evaluate again with --fresh"
            ) from error

    @property
    def notes(self) -> list[str]:
        """What a reader of the results should know, as the run found it: sizes left out, images resized twice."""
        return list(self.manifest.get("notes", []))

    def records_path(self, name: str) -> Path:
        """Where the records of the condition called `name` are, once it is finished."""
        return self.path / "records" / f"{name}.parquet"

    @property
    def samples_path(self) -> Path:
        """Where the list of samples is."""
        return self.path / "samples.parquet"

    def finished(self) -> list[PlannedCondition]:
        """The conditions whose records are on disk."""
        return [condition for condition in self.conditions if self.records_path(condition.name).exists()]

    def read_records(self, name: str) -> Records:
        """Records of one finished condition, one row per sample in the order of samples.parquet."""
        return parquet.read_parquet(RECORDS, self.records_path(name))

    def write_records(self, name: str, records: Records) -> None:
        """Write the records of one condition, which is finished by that."""
        with writing(self.path):
            self.records_path(name).parent.mkdir(exist_ok=True)
            parquet.write_parquet(RECORDS, records, self.records_path(name))

    def write_encoded(self, name: str, content: bytes) -> None:
        """The same of records that `parquet.encode_parquet` has made a file of, elsewhere perhaps."""
        with writing(self.path):
            self.records_path(name).parent.mkdir(exist_ok=True)
            tables.atomic_write(self.records_path(name), lambda file: file.write(content))

    def damaged(self, name: str, rows: int) -> bool:
        """Whether the records of a finished condition cannot be read, or are not so many."""
        try:
            return sum(parquet.rows_of_groups(RECORDS, self.records_path(name))) != rows
        except TableError:
            return True

    def parts_folder(self, name: str) -> Path:
        """Where the parts of the unfinished condition called `name` are.

        The folder above is named after the run's identity: a worker that outlives its driver cannot leave there a part of
        what the directory held before.
        """
        identity = json.dumps(self.manifest["identity"], sort_keys=True)
        return self._parts / hashlib.sha256(identity.encode()).hexdigest()[:16] / name

    @property
    def _parts(self) -> Path:
        return self.path / "records" / ".parts"

    def write_part(self, name: str, start: int, stop: int, content: bytes) -> None:
        """Write the records of the samples at places start..stop of an unfinished condition.

        content: frame by frame, a row group each, as a file.
        """
        folder = self.parts_folder(name)
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            tables.atomic_write(folder / _part(start, stop), lambda file: file.write(content))

    def sound_parts(self, name: str, shards: Sequence[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
        """Return those of the shards of a condition whose parts are on disk and whole; whatever else is there is removed."""
        found = []
        wanted = {_part(start, stop): (start, stop) for start, stop in shards}
        folder = self.parts_folder(name)
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            start, stop = wanted.get(file.name, (0, 0))
            try:
                if stop and parquet.rows_of_groups(RECORDS, file) == [stop - start] * frames:
                    found.append((start, stop))
                    continue
            except TableError:
                pass
            with writing(self.path):
                file.unlink(missing_ok=True)
        return sorted(found)

    def samples_in_parts(self) -> dict[str, int]:
        """How many samples of each unfinished condition have parts, by its name; these are not read."""
        found: dict[str, int] = {}
        for file in self.parts_folder("").glob("*/*-*.parquet"):
            start, _, stop = file.stem.partition("-")
            if start.isdecimal() and stop.isdecimal():
                found[file.parent.name] = found.get(file.parent.name, 0) + int(stop) - int(start)
        return found

    def join_parts(self, name: str, shards: Sequence[tuple[int, int]]) -> None:
        """Finish a condition of which all parts are on disk; the records are those that `write_records` writes of all at once.

        shards: (start, stop) of each part, which together are all samples.  RunError if a part cannot be read.
        """
        ordered = sorted(shards)
        assert [start for start, _ in ordered] == [0, *(stop for _, stop in ordered[:-1])], ordered
        folder = self.parts_folder(name)
        try:
            with writing(self.path):
                parquet.join_parquet(RECORDS, [folder / _part(*shard) for shard in ordered], self.records_path(name))
        except TableError as error:
            raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
        self._drop(folder)

    def _drop(self, folder: Path) -> None:
        """Remove a folder of parts, and those above it that are empty then."""
        with writing(self.path):
            shutil.rmtree(folder, ignore_errors=True)  # A worker that outlived its driver may be writing there.
            with suppress(OSError):  # Where they hold other conditions' parts.
                folder.parent.rmdir()
                self._parts.rmdir()

    def restore_samples(self, samples: pd.DataFrame) -> None:
        """Write the list of samples again if it is gone or damaged."""
        try:
            self.read_samples()
        except RunError:
            with writing(self.path):
                parquet.write_parquet(SAMPLES, samples, self.samples_path)

    def read_samples(self) -> pd.DataFrame:
        """The evaluated samples (tables.SAMPLES); RunError if the list is gone or damaged."""
        try:
            return parquet.read_parquet(SAMPLES, self.samples_path)
        except TableError as error:
            raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error

    def write_results(self, results: Results) -> None:
        """Write results.csv."""
        with writing(self.path):
            tables.write_csv(RESULTS, results, self.path / "results.csv")

    def read_results(self) -> Results:
        """Read results.csv; RunError if the run has none yet."""
        file = self.path / "results.csv"
        if not file.exists():
            raise RunError(
                f"{self.path} has no results.csv yet: give its `robench evaluate` again, or `robench score {self.path}`"
            )
        try:
            results = tables.read_csv(RESULTS, file)
        except TableError as error:
            raise RunError(f"{error}; `robench score {self.path}` writes it again") from error
        if not len(results):
            raise RunError(f"{file} has no rows: `robench score {self.path}` writes it again")
        return results

    def read_timings(self) -> pd.DataFrame:
        """Read timings.csv, a row each time that a condition was finished; RunError where it is damaged, no rows where there is none."""
        file = self.path / "timings.csv"
        if not file.exists():
            return tables.rows_to_frame(TIMINGS, [])
        try:
            return tables.read_csv(TIMINGS, file)
        except TableError as error:
            raise RunError(f"{error}; remove it: only images a second are in it") from error

    def add_timing(self, row: Mapping[str, Any]) -> None:
        """Append one row to timings.csv; a line that a killed run left half written goes."""
        file, header = self.path / "timings.csv", ",".join(TIMINGS.names).encode() + b"\n"
        line = tables.rows_to_frame(TIMINGS, [row]).to_csv(index=False, header=False, lineterminator="\n").encode()
        with writing(self.path):
            found = file.read_bytes() if file.exists() else b""
            whole = found[: found.rfind(b"\n") + 1]
            if whole and not whole.startswith(header):
                file.replace(file.with_suffix(".csv.damaged"))
                whole = b""
            with file.open("ab") as opened:
                opened.truncate(len(whole))
                opened.write(line if whole else header + line)
                opened.flush()
                os.fsync(opened.fileno())

    def sweep(self) -> None:
        """Remove what a killed run left behind and no resumed one needs."""
        unfinished = {one.name for one in self.conditions} - {one.name for one in self.finished()}
        with writing(self.path):
            for folder in (self.path, self.path / "records"):
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)
            for folder in self._parts.glob("*/*"):
                if folder.name not in unfinished or folder != self.parts_folder(folder.name):
                    self._drop(folder)
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; RunError if another process does. The lock ends with the process, however it ends."""
        with writing(self.path):
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Whoever only looks whether the lock is free holds it for a moment, which on a busy machine may be a long one.
            asked = time.monotonic()
            while not _take(handle, fcntl.LOCK_EX):
                if time.monotonic() - asked > _GLANCE:
                    raise RunError(
                        f"{self.path} is being written by another robench: wait for it, or choose another --out"
                    )
                time.sleep(0.01)
            yield
        finally:
            os.close(handle)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the run in `path` for writing; None where this cannot be known, as on some shared disks."""
    try:
        handle = os.open(path / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not _take(handle, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(handle)


def _part(start: int, stop: int) -> str:
    return f"{start}-{stop}.parquet"


def check_replaceable(path: Path, header: Sequence[str], option: str) -> None:
    """Refuse to write a CSV over anything but one of the same columns, into a run, or where there is no folder.

    option: by which the user named the path, for the error, OptionError.
    """
    if path.is_dir():
        raise OptionError(f"{option} {path} is a folder: name a .csv file")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}, make it first")
    if (path.absolute().parent / "manifest.json").exists():
        raise OptionError(f"{option} {path} lies in a run, of which nothing is replaced: choose another place")
    if path.exists():
        with path.open("rb") as file:
            if file.readline(65536).decode(errors="replace").strip() != ",".join(header):
                raise OptionError(f"{option} {path} exists and is another kind of file: choose another name")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission while writing below `path` into one line; finished conditions stay."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"no space left to write {path}: free some, then give the same command to go on") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"no permission to write {path}: choose another --out") from error
        if error.errno == errno.ENOENT:
            raise RunError(f"{path} cannot be written: its folder is gone, or takes no files") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise RunError(f"{path} cannot be a run directory: a file is in the way") from error
        if error.errno == errno.ENOENT:
            raise RunError(
                f"{path} cannot be written: its folder is gone, or takes no files; choose another --out"
            ) from error
        raise


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
