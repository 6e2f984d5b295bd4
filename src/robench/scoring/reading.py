"""The records of a run's finished conditions as arrays, checked: of the samples and the condition that they should be of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.errors import RunError, TableError
from robench.metrics.calibration import Reliability
from robench.metrics.errors import nonfinite_rate, top5_wrong
from robench.parquet import read_arrays, read_distinct
from robench.rundir import PlannedCondition, RunDirectory
from robench.scoring.frames import FrameRecords
from robench.tables import RECORDS, SAMPLES
from robench.types import Ints

__all__ = ["Cell", "Outcomes", "read_cells", "read_columns", "read_frames"]


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
    """Outcomes of several conditions on the same samples.  label: (n,) true classes."""

    label: Ints
    cells: list[Cell]


def read_cells(run: RunDirectory, finished: Sequence[PlannedCondition], also: Sequence[str]) -> Outcomes:
    """Read the records of the finished conditions; RunError unless all are of the same samples in the same order.

    also: which of `top5` and `confidence` are needed, beside whether the prediction is right.
    """
    sample = label = None
    cells = []
    for condition in finished:
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
    assert label is not None
    return Outcomes(label, cells)


def _top5_wrong(run: RunDirectory, condition: PlannedCondition, top5: Any, label: Ints) -> NDArray[np.bool_]:
    try:
        return top5_wrong(np.concatenate(top5.to_numpy()).reshape(len(label), -1), label)
    except ValueError as error:
        raise RunError(f"{run.path}: {condition.name} has rows of top5 of different lengths") from error


def read_columns(run: RunDirectory, condition: PlannedCondition, columns: Sequence[str]) -> Any:
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


def _anothers(run: RunDirectory, condition: PlannedCondition, column: str, found: object) -> RunError:
    return RunError(
        f"{run.path}: the records of {condition.name} are of {column} {found}, not {getattr(condition, column)}: delete the "
        "file and evaluate again"
    )


def _check_rows(run: RunDirectory, condition: PlannedCondition, rows: int) -> None:
    expected = run.manifest["data"]["samples"] * condition.frames
    if rows != expected:
        raise RunError(
            f"{run.path}: the records of {condition.name} have {rows} rows for {expected // condition.frames} samples"
            f"{f' and {condition.frames} frames' if condition.frames > 1 else ''}: delete the file and evaluate again"
        )


def read_frames(run: RunDirectory, condition: PlannedCondition) -> FrameRecords:
    """Read the records of a condition frame by frame; RunError unless every frame is of the run's samples."""
    names = (*_OWN, "sample", "frame", "axis_value", "label", "pred", "top5", "confidence", "prob_label")
    try:
        columns = read_arrays(RECORDS, run.records_path(condition.name), names)
        samples = read_arrays(SAMPLES, run.samples_path, ("index", "label"))
    except TableError as error:
        raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
    _check_rows(run, condition, len(columns["pred"]))
    for name in _OWN:
        others = set(columns[name].tolist()) - {getattr(condition, name)}
        if others:
            raise _anothers(run, condition, name, min(others))
    shape = (condition.frames, -1)
    if (columns["frame"].reshape(shape) != np.arange(condition.frames)[:, None]).any():
        raise RunError(
            f"{run.path}: the records of {condition.name} have other frames: delete the file and evaluate again"
        )
    for name, expected in (("sample", samples["index"]), ("label", samples["label"])):
        if not np.array_equal(
            columns[name].reshape(shape), np.broadcast_to(expected, (condition.frames, len(expected)))
        ):
            raise RunError(
                f"{run.path}: {condition.name} has other samples than samples.parquet: delete its records file and evaluate again"
            )
    top5 = columns["top5"]
    return FrameRecords(
        condition=condition,
        axis=columns["axis_value"].reshape(shape)[:, 0],
        pred=columns["pred"].reshape(shape),
        top5=top5.reshape(condition.frames, len(samples["index"]), top5.shape[1]),
        confidence=columns["confidence"].reshape(shape).astype(np.float64),
        prob_label=columns["prob_label"].reshape(shape).astype(np.float64),
        label=columns["label"].reshape(shape)[0],
    )
