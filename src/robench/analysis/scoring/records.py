"""The records of a run's finished conditions as arrays, checked: of the samples and the condition that they should be of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.classification import nonfinite_rate, top5_wrong
from robench.analysis.scoring.curves import FrameRecords
from robench.errors import RunError, TableError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.parquet import read_arrays, read_distinct
from robench.runs.schema import RECORDS, SAMPLES
from robench.suites import MAP_AXIS
from robench.types import Ints

__all__ = ["Cell", "Outcomes", "read_cells", "read_columns", "read_frames", "read_label"]


_OWN = ("suite", "corruption", "severity", "resolution")
"""Columns in which all rows of a condition's records are equal, and equal to the condition's."""


@dataclass(frozen=True)
class Cell:
    """Outcomes of one condition, by sample in the order of the records.

    wrong, top5_wrong: (n,).  nonfinite_rate: of samples without a prediction.  top5_wrong and reliability: None unless read.
    """

    name: str
    wrong: NDArray[np.bool_]
    nonfinite_rate: float
    top5_wrong: NDArray[np.bool_] | None = None
    reliability: Reliability | None = None


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of some conditions on the same samples.  label: (n,) true classes."""

    label: Ints
    cells: list[Cell]


def read_cells(
    run: RunDirectory, finished: Sequence[ConditionEntry], also: Sequence[str], together: int
) -> Iterator[Outcomes]:
    """Yield the outcomes of so many finished conditions at once; RunError unless all are of the same samples in the same order.

    also: which of `top5` and `confidence` are needed, beside whether the prediction is right.
    """
    sample = label = None
    cells = []
    for number, condition in enumerate(finished, start=1):
        columns = ("sample", "label", "pred", *also)
        records = read_columns(run, condition, columns)
        if sample is None or label is None:
            sample, label = records["sample"].to_numpy(), records["label"].to_numpy().astype(np.int64)
        elif not np.array_equal(sample, records["sample"]) or not np.array_equal(label, records["label"]):
            raise RunError(
                f"{run.path}: {condition.name} has other samples than {finished[0].name}: delete its records file and "
                "evaluate again"
            )
        wrong = np.asarray(records["pred"].to_numpy() != label)
        nonfinite = float(nonfinite_rate(records["pred"].to_numpy()))
        cells.append(
            Cell(
                condition.name,
                wrong,
                nonfinite,
                _top5_wrong(run, condition, records["top5"], label) if "top5" in also else None,
                Reliability.of(records["confidence"].to_numpy(), ~wrong) if "confidence" in also else None,
            )
        )
        if len(cells) == together or number == len(finished):
            yield Outcomes(label, cells)
            cells = []


def read_label(run: RunDirectory, condition: ConditionEntry) -> Ints:
    """Read the true classes (n,) of a finished condition's records."""
    label: Ints = read_columns(run, condition, ("label",))["label"].to_numpy().astype(np.int64)
    return label


def _top5_wrong(run: RunDirectory, condition: ConditionEntry, top5: Any, label: Ints) -> NDArray[np.bool_]:
    try:
        return top5_wrong(np.concatenate(top5.to_numpy()).reshape(len(label), -1), label)
    except ValueError as error:
        raise RunError(f"{run.path}: {condition.name} has rows of top5 of different lengths") from error


def read_columns(run: RunDirectory, condition: ConditionEntry, columns: Sequence[str]) -> Any:
    """Read columns of a condition's records; RunError if it has none, or they are another condition's."""
    path = run.records_path(condition.name)
    try:
        records, own = read_distinct(RECORDS, path, columns, _OWN)
    except TableError as error:
        raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
    _check_rows(run, condition, len(records))
    for column, values in own.items():
        others = [value for value in values if value != getattr(condition, column)]
        if others:
            raise _anothers(run, condition, column, others[0])
    return records


def _anothers(run: RunDirectory, condition: ConditionEntry, column: str, found: object) -> RunError:
    return RunError(
        f"{run.path}: the records of {condition.name} are of {column} {found}, not {getattr(condition, column)}: delete the "
        "file and evaluate again"
    )


def _check_rows(run: RunDirectory, condition: ConditionEntry, rows: int) -> None:
    expected = run.manifest["data"]["samples"] * condition.frames
    if rows != expected:
        raise RunError(
            f"{run.path}: the records of {condition.name} have {rows} rows for {expected // condition.frames} samples"
            f"{f' and {condition.frames} frames' if condition.frames > 1 else ''}: delete the file and evaluate again"
        )


def read_frames(run: RunDirectory, condition: ConditionEntry) -> FrameRecords:
    """Read the records of a condition frame by frame; RunError unless every frame is of the run's samples."""
    # A column at a time: all of them are ten times as large as what is left of them.
    pred = read_columns(run, condition, ("pred",))["pred"].to_numpy()
    try:
        samples = read_arrays(SAMPLES, run.samples_path, ("index", "label"))
        shape = (condition.frames, len(samples["index"]))

        def column(name: str) -> NDArray[Any]:
            return read_arrays(RECORDS, run.records_path(condition.name), (name,))[name]

        if (column("frame").reshape(condition.frames, -1) != np.arange(condition.frames)[:, None]).any():
            raise RunError(
                f"{run.path}: the records of {condition.name} have other frames: delete the file and evaluate again"
            )
        for name, expected in (("sample", samples["index"]), ("label", samples["label"])):
            found = column(name).reshape(condition.frames, -1)
            if found.shape != shape or (found != expected).any():
                raise RunError(
                    f"{run.path}: {condition.name} has other samples than samples.parquet: delete its records file and evaluate "
                    "again"
                )
        return FrameRecords(
            condition=condition,
            axis=column("axis_value").reshape(shape)[:, 0],
            offsets=np.stack([column(name).reshape(shape)[:, 0] for name in ("dx", "dy")], axis=1).astype(np.float64)
            if condition.axis == MAP_AXIS
            else None,
            pred=pred.reshape(shape),
            top5=column("top5").reshape(*shape, -1),
            confidence=column("confidence").reshape(shape),
            prob_label=column("prob_label").reshape(shape),
            label=samples["label"],
        )
    except TableError as error:
        raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
