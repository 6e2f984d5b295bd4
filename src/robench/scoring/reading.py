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
from robench.rundir import PlannedCondition, RunDirectory
from robench.scoring.frames import FrameRecords
from robench.tables import RECORDS, read_arrays, read_parquet
from robench.types import Ints

__all__ = ["Cell", "Outcomes", "read_cells", "read_columns", "read_frames"]


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
    try:
        records = read_parquet(RECORDS, run.records_path(condition.name), ["suite", "corruption", "severity", *columns])
    except TableError as error:
        raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
    _check_rows(run, condition, len(records))
    for column in ("suite", "corruption", "severity"):
        expected = getattr(condition, column)
        if (records[column] != expected).any():
            other = records.loc[records[column] != expected, column].iloc[0]
            raise RunError(
                f"{run.path}: the records of {condition.name} are of {column} {other}, not {expected}: delete the file and "
                "evaluate again"
            )
    return records


def _check_rows(run: RunDirectory, condition: PlannedCondition, rows: int) -> None:
    expected = run.manifest["data"]["samples"] * condition.frames
    if rows != expected:
        raise RunError(
            f"{run.path}: the records of {condition.name} have {rows} rows for {expected // condition.frames} samples"
            f"{f' and {condition.frames} frames' if condition.frames > 1 else ''}: delete the file and evaluate again"
        )


def read_frames(run: RunDirectory, condition: PlannedCondition) -> FrameRecords:
    """Read the records of a condition frame by frame; RunError unless every frame is of the same samples."""
    names = ("suite", "corruption", "sample", "frame", "axis_value", "label", "pred", "top5", "prob_label")
    try:
        columns = read_arrays(RECORDS, run.records_path(condition.name), names)
    except TableError as error:
        raise RunError(f"{error}: give the same `robench evaluate` again, which mends it") from error
    _check_rows(run, condition, len(columns["pred"]))
    shape = (condition.frames, -1)
    sample, frame = columns["sample"].reshape(shape), columns["frame"].reshape(shape)
    fits = set(columns["suite"]) == {condition.suite} and set(columns["corruption"]) == {condition.corruption}
    if not fits or (sample != sample[0]).any() or (frame != np.arange(condition.frames)[:, None]).any():
        raise RunError(f"{run.path}: the records of {condition.name} are another's: delete the file and evaluate again")
    top5 = columns["top5"]
    return FrameRecords(
        condition=condition,
        axis=columns["axis_value"].reshape(shape)[:, 0],
        pred=columns["pred"].reshape(shape),
        top5=top5.reshape(*frame.shape, top5.shape[1]),
        prob_label=columns["prob_label"].reshape(shape).astype(np.float64),
        label=columns["label"].reshape(shape)[0],
    )
