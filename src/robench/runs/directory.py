"""The run directory: what a run leaves on disk, and the reading of it. Torch-free.

    manifest.json        identity of the run (model, data, options), its conditions, environment, notes
    samples.parquet      tables.SAMPLES
    records/NAME.parquet tables.RECORDS, one file per finished condition
    records/.parts/      tables.RECORDS of some samples each, of conditions that are not finished
    timings.csv          tables.TIMINGS
    results.csv          tables.RESULTS
    progress.json        how far a run is (robench.runs.progress)

Every file but timings.csv is written under a temporary name and renamed, so a finished condition is a file that exists.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from robench.errors import RunError, TableError
from robench.runs import parquet, schema
from robench.runs.conditions import ConditionEntry
from robench.runs.csv import read_csv, write_csv
from robench.runs.files import atomic_write, translate_os_errors
from robench.runs.schema import RECORDS, RESULTS, SAMPLES, SCHEMA_VERSION, TIMINGS
from robench.types import Records, Results

__all__ = ["RunDirectory"]


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
        with translate_os_errors(path):
            (path / "records").mkdir(parents=True, exist_ok=True)
            run = cls(path, manifest)
            parquet.write_parquet(SAMPLES, samples, run.samples_path)
            run.write_manifest()
        return run

    def write_manifest(self) -> None:
        """Write the manifest as it is in memory."""
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"
        with translate_os_errors(self.path):
            atomic_write(self.path / "manifest.json", lambda file: file.write(text.encode()))

    def with_manifest_entries(self, **entries: Any) -> RunDirectory:
        """Return the run with these entries in its manifest, which is written where that changes it."""
        changed = RunDirectory(self.path, {**self.manifest, **entries})
        if changed.manifest != self.manifest:
            changed.write_manifest()
        return changed

    @property
    def conditions(self) -> list[ConditionEntry]:
        """All conditions of the run, finished or not, in the order of evaluation; RunError if they are not listed as here."""
        try:
            return [ConditionEntry(**condition) for condition in self.manifest["conditions"]]
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

    def finished(self) -> list[ConditionEntry]:
        """The conditions whose records are on disk."""
        return [condition for condition in self.conditions if self.records_path(condition.name).exists()]

    def read_records(self, name: str) -> Records:
        """Records of one finished condition, one row per sample in the order of samples.parquet."""
        return parquet.read_parquet(RECORDS, self.records_path(name))

    def write_records(self, name: str, records: Records) -> None:
        """Write the records of one condition, which is finished by that."""
        with translate_os_errors(self.path):
            self.records_path(name).parent.mkdir(exist_ok=True)
            parquet.write_parquet(RECORDS, records, self.records_path(name))

    def write_encoded(self, name: str, content: bytes) -> None:
        """The same of records that `parquet.encode_parquet` has made a file of, elsewhere perhaps."""
        with translate_os_errors(self.path):
            self.records_path(name).parent.mkdir(exist_ok=True)
            atomic_write(self.records_path(name), lambda file: file.write(content))

    def is_damaged(self, name: str, rows: int) -> bool:
        """Whether the records of a finished condition cannot be read, or are not so many."""
        try:
            return sum(parquet.rows_of_groups(RECORDS, self.records_path(name))) != rows
        except TableError:
            return True

    def shards_folder(self, name: str) -> Path:
        """Where the parts of the unfinished condition called `name` are.

        The folder above is named after the run's identity: a worker that outlives its driver cannot leave there a part of
        what the directory held before.
        """
        identity = json.dumps(self.manifest["identity"], sort_keys=True)
        return self._parts / hashlib.sha256(identity.encode()).hexdigest()[:16] / name

    @property
    def _parts(self) -> Path:
        return self.path / "records" / ".parts"

    def write_shard(self, name: str, start: int, stop: int, content: bytes) -> None:
        """Write the records of the samples at places start..stop of an unfinished condition.

        content: frame by frame, a row group each, as a file.
        """
        folder = self.shards_folder(name)
        with translate_os_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / _part(start, stop), lambda file: file.write(content))

    def valid_shards(self, name: str, shards: Sequence[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
        """Return those of the shards of a condition whose parts are on disk and whole; whatever else is there is removed."""
        found = []
        wanted = {_part(start, stop): (start, stop) for start, stop in shards}
        folder = self.shards_folder(name)
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            start, stop = wanted.get(file.name, (0, 0))
            try:
                if stop and parquet.rows_of_groups(RECORDS, file) == [stop - start] * frames:
                    found.append((start, stop))
                    continue
            except TableError:
                pass
            with translate_os_errors(self.path):
                file.unlink(missing_ok=True)
        return sorted(found)

    def samples_in_shards(self) -> dict[str, int]:
        """How many samples of each unfinished condition have parts, by its name; these are not read."""
        found: dict[str, int] = {}
        for file in self.shards_folder("").glob("*/*-*.parquet"):
            start, _, stop = file.stem.partition("-")
            if start.isdecimal() and stop.isdecimal():
                found[file.parent.name] = found.get(file.parent.name, 0) + int(stop) - int(start)
        return found

    def merge_shards(self, name: str, shards: Sequence[tuple[int, int]]) -> None:
        """Finish a condition of which all parts are on disk; the records are those that `write_records` writes of all at once.

        shards: (start, stop) of each part, which together are all samples.  RunError if a part cannot be read.
        """
        ordered = sorted(shards)
        assert [start for start, _ in ordered] == [0, *(stop for _, stop in ordered[:-1])], ordered
        folder = self.shards_folder(name)
        try:
            with translate_os_errors(self.path):
                parquet.join_parquet(RECORDS, [folder / _part(*shard) for shard in ordered], self.records_path(name))
        except TableError as error:
            raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
        self._drop(folder)

    def _drop(self, folder: Path) -> None:
        """Remove a folder of parts, and those above it that are empty then."""
        with translate_os_errors(self.path):
            shutil.rmtree(folder, ignore_errors=True)  # A worker that outlived its driver may be writing there.
            with suppress(OSError):  # Where they hold other conditions' parts.
                folder.parent.rmdir()
                self._parts.rmdir()

    def restore_samples(self, samples: pd.DataFrame) -> None:
        """Write the list of samples again if it is gone or damaged."""
        try:
            self.read_samples()
        except RunError:
            with translate_os_errors(self.path):
                parquet.write_parquet(SAMPLES, samples, self.samples_path)

    def read_samples(self) -> pd.DataFrame:
        """The evaluated samples (tables.SAMPLES); RunError if the list is gone or damaged."""
        try:
            return parquet.read_parquet(SAMPLES, self.samples_path)
        except TableError as error:
            raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error

    def write_results(self, results: Results) -> None:
        """Write results.csv."""
        with translate_os_errors(self.path):
            write_csv(RESULTS, results, self.path / "results.csv")

    def read_results(self) -> Results:
        """Read results.csv; RunError if the run has none yet."""
        file = self.path / "results.csv"
        if not file.exists():
            raise RunError(
                f"{self.path} has no results.csv yet: give its `robench evaluate` again, or `robench score {self.path}`"
            )
        try:
            results = read_csv(RESULTS, file)
        except TableError as error:
            raise RunError(f"{error}; `robench score {self.path}` writes it again") from error
        if not len(results):
            raise RunError(f"{file} has no rows: `robench score {self.path}` writes it again")
        return results

    def read_timings(self) -> pd.DataFrame:
        """Read timings.csv, a row each time that a condition was finished; RunError where it is damaged, no rows where there is none."""
        file = self.path / "timings.csv"
        if not file.exists():
            return schema.rows_to_frame(TIMINGS, [])
        try:
            return read_csv(TIMINGS, file)
        except TableError as error:
            raise RunError(f"{error}; remove it: only images a second are in it") from error

    def add_timing(self, row: Mapping[str, Any]) -> None:
        """Append one row to timings.csv; a line that a killed run left half written goes."""
        file, header = self.path / "timings.csv", ",".join(TIMINGS.names).encode() + b"\n"
        line = schema.rows_to_frame(TIMINGS, [row]).to_csv(index=False, header=False, lineterminator="\n").encode()
        with translate_os_errors(self.path):
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

    def remove_leftovers(self) -> None:
        """Remove what a killed run left behind and no resumed one needs."""
        unfinished = {one.name for one in self.conditions} - {one.name for one in self.finished()}
        with translate_os_errors(self.path):
            for folder in (self.path, self.path / "records"):
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)
            for folder in self._parts.glob("*/*"):
                if folder.name not in unfinished or folder != self.shards_folder(folder.name):
                    self._drop(folder)
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)


def _part(start: int, stop: int) -> str:
    return f"{start}-{stop}.parquet"
