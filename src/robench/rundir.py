"""The run directory: what a run leaves on disk, and the reading of it. Torch-free.

    manifest.json        identity of the run (model, data, options), its conditions, environment, notes
    samples.parquet      tables.SAMPLES
    records/NAME.parquet tables.RECORDS, one file per finished condition
    timings.csv          tables.TIMINGS
    results.csv          tables.RESULTS

Every file is written under a temporary name and renamed, so a finished condition is a file that exists.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from robench import parquet, tables
from robench.errors import OptionError, RunError, TableError
from robench.tables import RECORDS, RESULTS, SAMPLES, SCHEMA_VERSION, TIMINGS
from robench.types import Records, Results

__all__ = ["PlannedCondition", "RunDirectory", "check_replaceable", "differences", "writing"]


_KEYS: dict[str, type] = {
    "model": dict,
    "data": dict,
    "identity": dict,
    "options": dict,
    "conditions": list,
    "seed": int,
}
"""What a manifest must have, and of which type."""


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

    @property
    def conditions(self) -> list[PlannedCondition]:
        """All conditions of the run, finished or not, in the order of evaluation."""
        return [PlannedCondition(**condition) for condition in self.manifest["conditions"]]

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

    def damaged(self, name: str, rows: int) -> bool:
        """Whether the records of a finished condition cannot be read, or are not so many."""
        try:
            return len(parquet.read_parquet(RECORDS, self.records_path(name))) != rows
        except TableError:
            return True

    def restore_samples(self, samples: pd.DataFrame) -> None:
        """Write the list of samples again if it is gone or damaged."""
        try:
            self.read_samples()
        except TableError:
            with writing(self.path):
                parquet.write_parquet(SAMPLES, samples, self.samples_path)

    def read_samples(self) -> pd.DataFrame:
        """The evaluated samples (tables.SAMPLES)."""
        return parquet.read_parquet(SAMPLES, self.samples_path)

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
        results = tables.read_csv(RESULTS, file)
        if not len(results):
            raise RunError(f"{file} has no rows: `robench score {self.path}` writes it again")
        return results

    def add_timing(self, row: Mapping[str, Any]) -> None:
        """Append one row to timings.csv."""
        file = self.path / "timings.csv"
        try:
            rows = tables.read_csv(TIMINGS, file).to_dict("records") if file.exists() else []
        except TableError:
            rows = []
            with writing(self.path):
                file.replace(file.with_suffix(".csv.damaged"))
        with writing(self.path):
            tables.write_csv(TIMINGS, tables.rows_to_frame(TIMINGS, [*rows, row]), file)

    def sweep(self) -> None:
        """Remove temporary files that a killed run left behind."""
        with writing(self.path):
            for folder in (self.path, self.path / "records"):
                for leftover in folder.glob(".tmp-*"):
                    leftover.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; RunError if another process does. The lock ends with the process, however it ends."""
        with writing(self.path):
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{self.path} is being written by another robench: wait for it, or choose another --out"
                ) from None
            yield
        finally:
            os.close(handle)


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
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise RunError(f"{path} cannot be a run directory: a file is in the way") from error
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
