"""Records of finished conditions as arrays, checked against the samples and the condition that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.classification import nonfinite_rate, top5_wrong
from robench.analysis.metrics.proper_scores import brier, nll
from robench.analysis.metrics.selective import RiskCoverage
from robench.analysis.scoring.curves import FrameRecords
from robench.analysis.scoring.groups import suite_of
from robench.errors import RunError, TableError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.parquet import read_arrays, read_distinct
from robench.runs.schema import RECORDS, SAMPLES
from robench.suites import FrameKind
from robench.types import Floats, Ints

__all__ = ["Cell", "Outcomes", "read_cells", "read_columns", "read_frames", "read_label"]


_CONDITION_COLUMNS = ("suite", "corruption", "severity", "resolution")
"""Columns in which all rows of a condition's records equal the condition's own value."""

_REPAIR = "run the same `robench evaluate` again, which repairs it"
_DELETE = "delete its file of records, and run `robench evaluate` again"


@dataclass(frozen=True)
class Cell:
    """Outcomes of one condition by sample, in the order of the records.

    Attributes:
        name: Name of the condition.
        wrong: Whether the prediction is wrong, (n,).
        nonfinite_rate: Fraction of samples without a prediction.
        top5_wrong: Whether the label is missing from the top five, (n,); None unless read.
        reliability: Confidences; None unless read.
        ranking: Order by confidence; None unless read.
        scores: Proper scores by metric, (n,) each; empty unless read, or without a prediction of some sample.
    """

    name: str
    wrong: NDArray[np.bool_]
    nonfinite_rate: float
    top5_wrong: NDArray[np.bool_] | None = None
    reliability: Reliability | None = None
    ranking: RiskCoverage | None = None
    scores: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of several conditions on the same samples.

    Attributes:
        label: True classes, (n,); those of the first condition if images have several.
        cells: Outcomes of each condition.
    """

    label: Ints
    cells: list[Cell]

    @cached_property
    def wrong(self) -> NDArray[Any]:
        """Whether the predictions are wrong, (n, cells), as floating-point numbers."""
        return self._stack([cell.wrong for cell in self.cells])

    @cached_property
    def top5_wrong(self) -> NDArray[Any]:
        """Whether the labels are missing from the top five, (n, cells), as floating-point numbers."""
        return self._stack([cell.top5_wrong for cell in self.cells if cell.top5_wrong is not None])

    def _stack(self, columns: Sequence[NDArray[np.bool_]]) -> NDArray[Any]:
        # Sums of whole numbers that the type holds are exact, whatever the order in which a matrix product adds them.
        return np.stack(columns, axis=1).astype(np.float32 if len(self.label) < 2**24 else np.float64)


def read_cells(
    run: RunDirectory, finished: Sequence[ConditionEntry], columns: Sequence[str], together: int
) -> Iterator[Outcomes]:
    """Yield the outcomes of `together` finished conditions at a time.

    Args:
        run: The run.
        finished: Finished conditions with one image a sample.
        columns: Columns to read besides `sample`, `label` and `pred`: some of `top5`, `confidence`, `prob_label` and `sum_p2`.
        together: Number of conditions.

    Raises:
        RunError: Unless all conditions have the same samples in the same order.
    """
    first: Any = None
    same = ["sample"] if run.is_multi_label else ["sample", "label"]
    for start in range(0, len(finished), together):
        cells = []
        for condition in finished[start : start + together]:
            records = read_columns(run, condition, ("sample", "label", "pred", *columns))
            label = records["label"].to_numpy().astype(np.int64)
            if first is None:
                first, first_label = records[same], label
            elif not first.equals(records[same]):
                raise RunError(f"{run.path}: {condition.name} has other samples than {finished[0].name}", _DELETE)
            pred = records["pred"].to_numpy()
            wrong = np.asarray(pred != label)
            confidence = records["confidence"].to_numpy() if "confidence" in columns else None
            cells.append(
                Cell(
                    condition.name,
                    wrong,
                    float(nonfinite_rate(pred)),
                    _top5_wrong(run, condition, records["top5"], label) if "top5" in columns else None,
                    None if confidence is None else Reliability.of(confidence, ~wrong),
                    None if confidence is None else RiskCoverage.of(confidence, ~wrong),
                    _proper_scores(records, run) if "prob_label" in columns and (pred >= 0).all() else {},
                )
            )
        yield Outcomes(first_label, cells)


def _proper_scores(records: Any, run: RunDirectory) -> dict[str, Floats]:
    prob_label, sum_p2 = records["prob_label"].to_numpy(), records["sum_p2"].to_numpy()
    # The distance to one true class does not exist if there are several.
    return {"nll": nll(prob_label), **({} if run.is_multi_label else {"brier": brier(prob_label, sum_p2)})}


def read_label(run: RunDirectory, condition: ConditionEntry) -> Ints:
    """Read the true classes of a finished condition's records, (n,)."""
    label: Ints = read_columns(run, condition, ("label",))["label"].to_numpy().astype(np.int64)
    return label


def _top5_wrong(run: RunDirectory, condition: ConditionEntry, top5: Any, label: Ints) -> NDArray[np.bool_]:
    try:
        return top5_wrong(np.concatenate(top5.to_numpy()).reshape(len(label), -1), label)
    except ValueError as error:
        raise RunError(f"{run.path}: {condition.name} has rows of top5 of different lengths", _DELETE) from error


def read_columns(run: RunDirectory, condition: ConditionEntry, columns: Sequence[str]) -> Any:
    """Read columns of a condition's records as a data frame.

    Raises:
        RunError: If there are no records, or they belong to another condition.
    """
    path = run.records_path(condition.name)
    try:
        records, distinct = read_distinct(RECORDS, path, columns, _CONDITION_COLUMNS)
    except TableError as error:
        raise RunError(error.problem, _REPAIR) from error
    expected = run.manifest["data"]["samples"] * condition.frames
    if len(records) != expected:
        frames = f" and {condition.frames} frames" if condition.frames > 1 else ""
        raise RunError(
            f"{run.path}: the records of {condition.name} have {len(records)} rows for "
            f"{expected // condition.frames} samples{frames}",
            _DELETE,
        )
    for column, values in distinct.items():
        own = getattr(condition, column)
        for value in values:
            if value != own:
                raise RunError(
                    f"{run.path}: the records of {condition.name} are of {column} {value}, not {own}", _DELETE
                )
    return records


def read_frames(run: RunDirectory, condition: ConditionEntry) -> FrameRecords:
    """Read the records of a condition by frame.

    Raises:
        RunError: Unless every frame has the samples of the run.
    """
    # One column at a time, because all columns together take ten times the memory of the result.
    pred = read_columns(run, condition, ("pred",))["pred"].to_numpy()
    try:
        samples = read_arrays(SAMPLES, run.samples_path, ("index", "label"))
        shape = (condition.frames, len(samples["index"]))

        def column(name: str) -> NDArray[Any]:
            return read_arrays(RECORDS, run.records_path(condition.name), (name,))[name]

        if (column("frame").reshape(condition.frames, -1) != np.arange(condition.frames)[:, None]).any():
            raise RunError(f"{run.path}: the records of {condition.name} have other frames", _DELETE)
        for name, expected in {
            "sample": samples["index"],
            **({} if run.is_multi_label else {"label": samples["label"]}),
        }.items():
            values = column(name).reshape(condition.frames, -1)
            if values.shape != shape or (values != expected).any():
                raise RunError(f"{run.path}: {condition.name} has other samples than samples.parquet", _DELETE)

        def positions(name: str) -> NDArray[Any]:
            return column(name).reshape(shape)[:, 0]

        is_map = suite_of(condition).kind(condition.corruption) is FrameKind.MAP
        return FrameRecords(
            condition=condition,
            positions=np.stack([positions("dx"), positions("dy")], axis=1).astype(np.float64)
            if is_map
            else positions("axis_value"),
            pred=pred.reshape(shape),
            top5=column("top5").reshape(*shape, -1),
            confidence=column("confidence").reshape(shape),
            prob_label=column("prob_label").reshape(shape),
            label=column("label").reshape(shape) if run.is_multi_label else samples["label"],
        )
    except TableError as error:
        raise RunError(error.problem, _REPAIR) from error
