"""What the records of a side say of its figures: how they are distributed, and which images are wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.comparison.results_set import NORMALISED, PER_IMAGE_METRICS, Key, ResultsSet
from robench.analysis.scoring.records import read_columns
from robench.errors import RunError
from robench.types import Floats

__all__ = ["distributions", "wrong_images"]

_CELL = ("suite", "corruption", "severity", "resolution")


def distributions(side: ResultsSet, keys: Iterable[Key]) -> dict[Key, Floats]:
    """Return for the keys of figures that follow from the records (1 + resamples,): the figure, then resamples of it.

    RunError where results.csv has another figure than the records.
    """
    if not side.runs[0].finished():
        return {}
    keys = set(keys)
    wanted = {(key.suite, key.metric) for key in keys}
    normalised = any(metric in NORMALISED for _, metric in wanted)
    found: dict[Key, Floats] = {}
    for row in side.rows(None if normalised else "none", wanted):
        cells: list[Any] = [None if _missing(row.get(name)) else row[name] for name in Key._fields]
        key = Key(*cells)
        if key not in keys or "distribution" not in row:
            continue
        stored = side.figures[key]
        if (row["protocol"], row.get("baseline")) != (stored.row["protocol"], stored.row["baseline"]):
            continue  # Clean images of another geometry, or scored with another --normalize-by than the run was made with.
        if not math.isclose(row["value"], stored.value, rel_tol=1e-9, abs_tol=1e-12):
            raise RunError(
                f"{side.name}: {stored} is {stored.value:.6g} in results.csv and {row['value']:.6g} by its records: "
                f"`robench score {side.name}` writes it again"
            )
        found[key] = row["distribution"]
    return found


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def wrong_images(side: ResultsSet, keys: Iterable[Key]) -> dict[Key, NDArray[np.bool_]]:
    """Return for the keys of cells with one image a sample which images are wrong (n,); none of several seeds."""
    found: dict[Key, NDArray[np.bool_]] = {}
    if len(side.runs) != 1:
        return found
    run = side.runs[0]
    cells = [key for key in keys if key.metric in PER_IMAGE_METRICS and key.axis is None]
    for condition in run.finished():
        of_cell = [
            key
            for key in cells
            if all(getattr(key, name) == getattr(condition, name) for name in _CELL)
            and side.figures[key].row["protocol"] == condition.protocol
        ]
        if condition.frames != 1:
            continue
        columns = {PER_IMAGE_METRICS[key.metric] for key in of_cell}
        records = read_columns(run, condition, ["label", *sorted(columns)]) if columns else None
        for key in of_cell:
            assert records is not None
            label = records["label"].to_numpy()
            if key.metric == "top5_error":
                found[key] = np.array(
                    [true not in five for true, five in zip(label, records["top5"], strict=True)], dtype=bool
                )
            else:
                found[key] = np.asarray(records["pred"].to_numpy() != label)
    return found
