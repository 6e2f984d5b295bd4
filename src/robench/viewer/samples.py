"""Records of runs, joined by sample: one array of predictions and one of confidences. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.comparison import ResultsSet, load_results
from robench.analysis.comparison.compare import model_names
from robench.analysis.report.class_names import class_names
from robench.analysis.scoring.records import read_columns
from robench.errors import OptionError, RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import FrameKind, display_family

__all__ = ["Plane", "SampleTable", "read_samples"]

_RECORDS = ("sample", "label", "pred", "confidence")


@dataclass(frozen=True)
class Plane:
    """One image of every sample: a condition, or one frame of it.

    Attributes:
        condition: The condition.
        frame: Number of the frame; 0 for a corruption.
        axis_value: Position of the frame on the condition's axis; NaN without an axis.
        reference: Number of the plane whose predictions this one is compared with: the clean images, or an earlier frame.
    """

    condition: ConditionEntry
    frame: int
    axis_value: float
    reference: int


@dataclass(frozen=True)
class SampleTable:
    """Predictions of runs on the same samples under the conditions that all runs have.

    Attributes:
        names: Unique name of each run.
        runs: The run directories.
        results: The results of each run.
        planes: The images of each sample, clean ones first.
        index: (n,) position of each sample in its dataset.
        paths: (n,) path of each sample in its dataset.
        label: (n,) true class of each sample; one of them if it has several.
        pred: (runs, planes, n) predicted classes; -1 for none.
        confidence: (runs, planes, n) float32, 0 to 1.
        right: (runs, planes, n) whether each prediction is right.
        notes: Messages about conditions that are left out.
    """

    names: tuple[str, ...]
    runs: tuple[RunDirectory, ...]
    results: tuple[ResultsSet, ...]
    planes: tuple[Plane, ...]
    index: NDArray[np.int64]
    paths: tuple[str, ...]
    label: NDArray[Any]
    pred: NDArray[Any]
    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; numbers where the runs have no names."""
        names = class_names(self.runs[0].manifest["data"].get("classes", []))
        count = 1 + max(int(self.label.max(initial=-1)), int(self.pred.max(initial=-1)))
        return [*names, *(f"class {number}" for number in range(len(names), count))]

    @cached_property
    def conditions(self) -> dict[str, ConditionEntry]:
        """The conditions by name."""
        return {plane.condition.name: plane.condition for plane in self.planes}

    @cached_property
    def clean(self) -> list[int]:
        """The plane of the clean images of each plane."""
        first = {plane.condition.name: number for number, plane in reversed([*enumerate(self.planes)])}
        return [first.get(plane.condition.clean, number) for number, plane in enumerate(self.planes)]

    @cached_property
    def flip(self) -> NDArray[np.bool_]:
        """Whether each prediction differs from that of the plane's reference, (runs, planes, n)."""
        return np.asarray(self.pred != self.pred[:, [plane.reference for plane in self.planes]])

    @cached_property
    def disagreement(self) -> NDArray[np.float32]:
        """Highest confidence of a right run plus that of a wrong one, (planes, n); -1 where all are right or all are wrong."""
        found = np.empty(self.pred.shape[1:], np.float32)
        for number in range(len(self.planes)):
            right, sure = self.right[:, number], self.confidence[:, number]
            both = right.any(axis=0) & ~right.all(axis=0)
            found[number] = np.where(
                both, np.where(right, sure, 0).max(axis=0) + np.where(right, 0, sure).max(axis=0), -1
            )
        return found

    def position(self, sample: int) -> int | None:
        """Return the row of a sample; None if the runs do not have it."""
        place = int(np.searchsorted(self.index, sample))
        return place if place < len(self.index) and self.index[place] == sample else None


def read_samples(paths: Sequence[Path], advance: Callable[[int, int], None] = lambda done, total: None) -> SampleTable:
    """Read the records of runs.

    Args:
        paths: Run directories of the same samples and seed.
        advance: Receives the numbers of files that are read, and of all files.

    Raises:
        OptionError: A run is named twice, is a CSV file, or has other samples, another seed or no shared condition.
        RunError: A run is damaged, or has no results or records.
    """
    results = [load_results(path) for path in paths]
    for one in results:
        if not one.runs:
            raise OptionError(f"{one.name} is a file without records", "give the run directory")
    names, runs = model_names(results), [one.runs[0] for one in results]
    if len(set(names)) < len(names):
        raise OptionError("a run is named twice", "name each run once")
    for run in runs[1:]:
        _check_same(runs[0], run)
    entries, notes = _shared(names, runs)
    table = runs[0].read_samples()
    index, label = (table[name].to_numpy() for name in ("index", "label"))
    classes = max(int(run.manifest["model"].get("classes", 0)) for run in runs)
    planes = sum(entry.frames for entry in entries)
    shape = (len(runs), planes, len(index))
    pred = np.empty(shape, np.int16 if max(classes, int(label.max(initial=0))) < 2**15 else np.int32)
    confidence, right = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    listed: list[Plane] = []
    clean: dict[str, int] = {}
    for entry in entries:
        start, rows = len(listed), slice(len(listed), len(listed) + entry.frames)
        for number, run in enumerate(runs):
            records = read_columns(run, entry, _RECORDS)
            _check_records(run, entry, records, index, label)
            pred[number, rows] = records["pred"].to_numpy().reshape(entry.frames, -1)
            confidence[number, rows] = records["confidence"].to_numpy().reshape(entry.frames, -1)
            right[number, rows] = (records["pred"] == records["label"]).to_numpy().reshape(entry.frames, -1)
            advance(len(listed) * len(runs) + number + 1, planes * len(runs))
        axis = np.full(entry.frames, np.nan)
        if entry.frames > 1:
            axis = read_columns(runs[0], entry, ("axis_value",))["axis_value"].to_numpy(float, na_value=np.nan)
            axis = axis.reshape(entry.frames, -1)[:, 0]
        clean.setdefault(entry.name, start)
        listed += [
            Plane(entry, frame, float(axis[frame]), _reference(entry, frame, start, clean.get(entry.clean, start)))
            for frame in range(entry.frames)
        ]
    return SampleTable(
        tuple(names),
        tuple(runs),
        tuple(results),
        tuple(listed),
        index.astype(np.int64),
        tuple(table["path"]),
        label.astype(pred.dtype),
        pred,
        confidence,
        right,
        tuple(notes),
    )


def _reference(entry: ConditionEntry, frame: int, start: int, clean: int) -> int:
    """Return the number of the plane with which a frame is compared; `start` is that of the first frame."""
    kind = display_family(entry.suite).kind(entry.corruption)
    if kind is FrameKind.SEQUENCE:
        return start + (0 if entry.independent else max(frame - 1, 0))
    return start + frame // 2 * 2 if kind is FrameKind.PAIRS else clean


def _check_same(first: RunDirectory, other: RunDirectory) -> None:
    """Raise OptionError unless the images of two runs are the same."""
    for name, hint, ours, theirs in (
        ("dataset", "dataset", first.manifest["data"]["name"], other.manifest["data"]["name"]),
        ("samples", "samples", first.manifest["data"]["sha256"][:12], other.manifest["data"]["sha256"][:12]),
        ("seed", "seed", first.manifest["seed"], other.manifest["seed"]),
    ):
        if ours != theirs:
            raise OptionError(
                f"{other.path} has {name} {theirs}, {first.path} has {ours}", f"give runs of the same {hint}"
            )


def _shared(names: Sequence[str], runs: Sequence[RunDirectory]) -> tuple[list[ConditionEntry], list[str]]:
    """Return the conditions that all runs have finished under one protocol, clean ones first, and notes on the others."""
    finished = [run.finished() for run in runs]
    keys = [{(entry.name, entry.protocol, entry.frames) for entry in entries} for entries in finished]
    common = set.intersection(*keys)
    shared = [entry for entry in finished[0] if (entry.name, entry.protocol, entry.frames) in common]
    if not shared:
        if len(runs) == 1:
            raise RunError(f"{runs[0].path} has no records", "evaluate it again, or give a run with records")
        raise OptionError("the runs share no condition of the same protocol", "evaluate the same suites")
    notes = [
        f"{name}: {len(own) - len(common)} of {len(own)} conditions are left out, because another run lacks them"
        for name, own in zip(names, keys, strict=True)
        if len(own) > len(common)
    ]
    is_clean = {entry.name for entry in shared if entry.clean == entry.name}
    return sorted(shared, key=lambda entry: entry.name not in is_clean), notes


def _check_records(
    run: RunDirectory, entry: ConditionEntry, records: Any, index: NDArray[Any], label: NDArray[Any]
) -> None:
    """Raise RunError unless the records are those of the samples, frame by frame."""
    for name, expected in {"sample": index, **({} if run.is_multi_label else {"label": label})}.items():
        if (records[name].to_numpy().reshape(entry.frames, -1) != expected).any():
            raise RunError(
                f"{run.path}: {entry.name} has other samples than samples.parquet",
                "delete its file of records, and run `robench evaluate` again",
            )
