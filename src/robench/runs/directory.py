"""The run directory and its files.

- manifest.json: identity of the run (model, data, options), its conditions, environment and notes
- samples.parquet: the table SAMPLES
- records/NAME.parquet: the table RECORDS, one file for each finished condition
- records/.parts/: RECORDS of shards of unfinished conditions
- timings.csv: the table TIMINGS
- results.csv: the table RESULTS
- progress.json: progress while the run is running (`robench.runs.progress`)

Every file except timings.csv is written under a temporary name and renamed. A finished condition is a file that exists.
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

from robench.errors import RunError, TableError, one_line
from robench.runs import parquet, schema
from robench.runs.conditions import ConditionEntry
from robench.runs.csv import read_csv, without_groups, write_csv
from robench.runs.files import atomic_write, translate_os_errors
from robench.runs.find import runs_in
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
"""Required keys of a manifest and their types."""

_FACTS = (("model", "label"), ("data", "name"), ("data", "sha256"), ("data", "samples"))
"""Required entries of the model and data."""

_RESULTS = "results.csv"

_RESUME = "give the same `robench evaluate` command again"


@dataclass(frozen=True)
class RunDirectory:
    """A run directory with a readable manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Open an existing run.

        Raises:
            RunError: `path` is no run, its manifest is damaged, or another schema wrote it.
        """
        path = Path(path)
        file = path / "manifest.json"
        try:
            manifest = json.loads(file.read_text())
        except FileNotFoundError:
            reason = "it has no manifest.json" if path.exists() else "it does not exist"
            inside = runs_in(path)
            hint = "give a folder that `robench evaluate` wrote; `robench status FOLDER` lists the runs in a folder"
            if inside:
                hint = f"name one of the {len(inside)} runs in it, such as {inside[0]}"
            raise RunError(f"{path} is not a run directory, {reason}", hint) from None
        except NotADirectoryError:
            raise RunError(
                f"{path} is a file, not a run directory",
                f"give the folder that `robench evaluate` wrote, not {path.name}",
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} is damaged and cannot be read ({one_line(error)})", "evaluate again with --fresh"
            ) from error
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if schema != SCHEMA_VERSION:
            raise RunError(
                f"{path} has schema {schema}, and this robench reads schema {SCHEMA_VERSION}",
                "evaluate again with another --out",
            )
        missing = [key for key in _KEYS if not isinstance(manifest.get(key), _KEYS[key])]
        missing += [f"{name} of {key}" for key, name in _FACTS if not missing and name not in manifest[key]]
        if missing:
            raise RunError(f"{file} is damaged and lacks {', '.join(missing)}", "evaluate again with --fresh")
        return cls(path, manifest)

    @classmethod
    def around(cls, file: Path) -> RunDirectory | None:
        """Return the run whose results.csv is `file`; None for any other file, and without a readable manifest."""
        try:
            return cls.open(file.parent) if file.name == _RESULTS else None
        except RunError:
            return None

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any], samples: pd.DataFrame) -> RunDirectory:
        """Create the directory; the manifest is written last and makes it a run."""
        with translate_os_errors(path):
            (path / "records").mkdir(parents=True, exist_ok=True)
            run = cls(path, manifest)
            parquet.write_parquet(SAMPLES, samples, run.samples_path)
            run.write_manifest()
        return run

    def write_manifest(self) -> None:
        """Write the manifest."""
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"
        with translate_os_errors(self.path):
            atomic_write(self.path / "manifest.json", lambda file: file.write(text.encode()))

    def with_manifest_entries(self, **entries: Any) -> RunDirectory:
        """Return the run with other entries in its manifest; a changed manifest is written."""
        changed = RunDirectory(self.path, {**self.manifest, **entries})
        if changed.manifest != self.manifest:
            changed.write_manifest()
        return changed

    @property
    def conditions(self) -> list[ConditionEntry]:
        """All conditions of the run in the order of evaluation.

        Raises:
            RunError: The manifest lists them in another form.
        """
        try:
            return [ConditionEntry(**condition) for condition in self.manifest["conditions"]]
        except TypeError as error:
            raise RunError(
                f"{self.path / 'manifest.json'} is damaged, or its conditions are of another robench version",
                "evaluate again with --fresh",
            ) from error

    @property
    def data_path(self) -> Path | None:
        """The path of the images; None for embedded ones."""
        root = self.manifest["data"].get("root")
        return None if root is None else Path(root)

    @property
    def is_multi_label(self) -> bool:
        """Whether images have several true classes. The label of a record is then the most probable of them."""
        return bool(self.manifest["data"].get("multi_label"))

    @property
    def notes(self) -> list[str]:
        """Notes for readers of the results, such as skipped input sizes: of the preparation, then of the last scoring."""
        return self._texts("notes")

    @property
    def warnings(self) -> list[str]:
        """Messages about likely mistakes, such as labels that look permuted: of the preparation, then of the last scoring."""
        return self._texts("warnings")

    def _texts(self, key: str) -> list[str]:
        """Return the texts under a key of the manifest, and under the same key of its entry `scored`."""
        scored = self.manifest.get("scored", {})
        lists = [self.manifest.get(key, []), scored.get(key, []) if isinstance(scored, dict) else None]
        if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            raise RunError(f"the {key} in {self.path / 'manifest.json'} are damaged", "evaluate again with --fresh")
        return list(dict.fromkeys(text for texts in lists for text in texts))

    def records_path(self, name: str) -> Path:
        """Return the path of the records of a finished condition."""
        return self.path / "records" / f"{name}.parquet"

    @property
    def samples_path(self) -> Path:
        """The path of the list of samples."""
        return self.path / "samples.parquet"

    @property
    def groups_path(self) -> Path:
        """The path of the groups of images."""
        return self.path / "groups.parquet"

    def finished(self) -> list[ConditionEntry]:
        """Return the conditions with records on disk."""
        return [condition for condition in self.conditions if self.records_path(condition.name).exists()]

    def read_records(self, name: str) -> Records:
        """Read the records of a finished condition, frame by frame, samples in the order of samples.parquet."""
        return parquet.read_parquet(RECORDS, self.records_path(name))

    def write_records(self, name: str, records: Records) -> None:
        """Write the records of a condition, which finishes it."""
        self.write_encoded(name, parquet.encode_parquet(RECORDS, records))

    def write_encoded(self, name: str, content: bytes) -> None:
        """Write the records of a condition that `parquet.encode_parquet` has encoded."""
        with translate_os_errors(self.path):
            self.records_path(name).parent.mkdir(exist_ok=True)
            atomic_write(self.records_path(name), lambda file: file.write(content))

    def is_damaged(self, name: str, rows: int) -> bool:
        """Return whether the records of a finished condition are unreadable or have another number of rows."""
        try:
            return sum(parquet.rows_of_groups(RECORDS, self.records_path(name))) != rows
        except TableError:
            return True

    def shards_folder(self, name: str) -> Path:
        """Return the directory for shards of an unfinished condition.

        The parent directory is named after the run's identity. A worker that outlives its driver therefore cannot add
        shards to a later run in the same place.
        """
        identity = json.dumps(self.manifest["identity"], sort_keys=True)
        return self._parts / hashlib.sha256(identity.encode()).hexdigest()[:16] / name

    @property
    def _parts(self) -> Path:
        return self.path / "records" / ".parts"

    def write_shard(self, name: str, start: int, stop: int, content: bytes) -> None:
        """Write the records of a shard.

        Args:
            name: Name of the unfinished condition.
            start: Position of the first sample of the shard in the run.
            stop: Position after its last sample.
            content: A Parquet file with one row group for each frame.
        """
        folder = self.shards_folder(name)
        with translate_os_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / _part(start, stop), lambda file: file.write(content))

    def valid_shards(self, name: str, shards: Sequence[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
        """Return the shards of a condition that are complete on disk, and remove all other files of the condition.

        Args:
            name: Name of the condition.
            shards: (start, stop) of every shard of the condition.
            frames: Frames of the condition.
        """
        valid = []
        expected = {_part(start, stop): (start, stop) for start, stop in shards}
        folder = self.shards_folder(name)
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            start, stop = expected.get(file.name, (0, 0))
            try:
                if stop and parquet.rows_of_groups(RECORDS, file) == [stop - start] * frames:
                    valid.append((start, stop))
                    continue
            except TableError:
                pass
            with translate_os_errors(self.path):
                file.unlink(missing_ok=True)
        return sorted(valid)

    def samples_in_shards(self) -> dict[str, int]:
        """Return the number of samples in the shards of each unfinished condition by name, without reading the shards."""
        counts: dict[str, int] = {}
        for file in self.shards_folder("").glob("*/*-*.parquet"):
            start, _, stop = file.stem.partition("-")
            if start.isdecimal() and stop.isdecimal():
                counts[file.parent.name] = counts.get(file.parent.name, 0) + int(stop) - int(start)
        return counts

    def merge_shards(self, name: str, shards: Sequence[tuple[int, int]]) -> None:
        """Finish a condition from its shards; the file equals the one that `write_records` writes of all rows at once.

        Args:
            name: Name of the condition.
            shards: (start, stop) of all its shards, which are on disk and cover all samples.

        Raises:
            RunError: A shard cannot be read.
        """
        ordered = sorted(shards)
        assert [start for start, _ in ordered] == [0, *(stop for _, stop in ordered[:-1])], ordered
        folder = self.shards_folder(name)
        try:
            with translate_os_errors(self.path):
                parquet.join_parquet(RECORDS, [folder / _part(*shard) for shard in ordered], self.records_path(name))
        except TableError as error:
            raise RunError(error.problem, f"{_RESUME} to repair it") from error
        self._remove_shards(folder)

    def _remove_shards(self, folder: Path) -> None:
        """Remove a directory of shards, and its parents if they are empty."""
        with translate_os_errors(self.path):
            shutil.rmtree(folder, ignore_errors=True)  # A worker that outlived its driver may be writing there.
            with suppress(OSError):  # The parents may hold shards of other conditions.
                folder.parent.rmdir()
                self._parts.rmdir()

    def restore_samples(self, samples: pd.DataFrame) -> None:
        """Write the list of samples again if it is missing or damaged."""
        try:
            self.read_samples()
        except RunError:
            with translate_os_errors(self.path):
                parquet.write_parquet(SAMPLES, samples, self.samples_path)

    def read_samples(self) -> pd.DataFrame:
        """Read the list of samples; RunError if it is missing or damaged."""
        try:
            return parquet.read_parquet(SAMPLES, self.samples_path)
        except TableError as error:
            raise RunError(error.problem, f"{_RESUME} to repair it") from error

    def write_results(self, results: Results) -> None:
        """Write results.csv."""
        with translate_os_errors(self.path):
            write_csv(RESULTS, results, self.path / _RESULTS)

    def read_results(self, groups: bool = False) -> Results:
        """Read results.csv; RunError if it is missing, damaged or empty.

        Args:
            groups: Whether to keep the rows of groups of images.
        """
        file, hint = self.path / _RESULTS, f"give `robench score {self.path}` to write it"
        if not file.exists():
            raise RunError(f"{self.path} has no results.csv", f"{_RESUME}, or {hint}")
        try:
            results = read_csv(RESULTS, file)
        except TableError as error:
            raise RunError(error.problem, hint) from error
        if not len(results):
            raise RunError(f"{file} has no rows", hint)
        return results if groups else without_groups(results)

    def read_timings(self) -> pd.DataFrame:
        """Read timings.csv, one row for each time that a condition was finished; no rows if there is no file.

        Raises:
            RunError: The file is damaged.
        """
        file = self.path / "timings.csv"
        if not file.exists():
            return schema.rows_to_frame(TIMINGS, [])
        try:
            return read_csv(TIMINGS, file)
        except TableError as error:
            raise RunError(error.problem, f"remove {file}, which holds only speeds") from error

    def add_timing(self, row: Mapping[str, Any]) -> None:
        """Append a row to timings.csv, after removing an incomplete last line of a killed run."""
        file, header = self.path / "timings.csv", ",".join(TIMINGS.names).encode() + b"\n"
        line = schema.rows_to_frame(TIMINGS, [row]).to_csv(index=False, header=False, lineterminator="\n").encode()
        with translate_os_errors(self.path):
            content = file.read_bytes() if file.exists() else b""
            complete = content[: content.rfind(b"\n") + 1]
            if complete and not complete.startswith(header):
                file.replace(file.with_suffix(".csv.damaged"))
                complete = b""
            with file.open("ab") as opened:
                opened.truncate(len(complete))
                opened.write(line if complete else header + line)
                opened.flush()
                os.fsync(opened.fileno())

    def remove_leftovers(self) -> None:
        """Remove files of a killed run that no resumed run needs."""
        unfinished = {condition.name for condition in self.conditions} - {
            condition.name for condition in self.finished()
        }
        with translate_os_errors(self.path):
            for folder in (self.path, self.path / "records"):
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)
            for folder in self._parts.glob("*/*"):
                if folder.name not in unfinished or folder != self.shards_folder(folder.name):
                    self._remove_shards(folder)
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)


def _part(start: int, stop: int) -> str:
    return f"{start}-{stop}.parquet"
