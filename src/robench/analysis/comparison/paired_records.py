"""Distributions and wrong images of result rows, computed from the records."""

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


def distributions(results: ResultsSet, keys: Iterable[Key]) -> dict[Key, Floats]:
    """Compute value and resamples, (1 + resamples,), for each key that follows from the records.

    Raises:
        RunError: results.csv has another value than the records.
    """
    if not results.runs[0].finished():
        return {}
    keys = set(keys)
    requested = {(key.suite, key.metric) for key in keys}
    normalised = any(metric in NORMALISED for _, metric in requested)
    found: dict[Key, Floats] = {}
    for row in results.rescore(None if normalised else "none", requested):
        cells: list[Any] = [None if _is_missing(row.get(name)) else row[name] for name in Key._fields]
        key = Key(*cells)
        if key not in keys or "distribution" not in row:
            continue
        stored = results.rows[key]
        if (row["protocol"], row.get("baseline")) != (stored.row["protocol"], stored.row["baseline"]):
            continue  # Clean images of another geometry, or results of another --normalize-by.
        if not math.isclose(row["value"], stored.value, rel_tol=1e-9, abs_tol=1e-12):
            raise RunError(
                f"{results.name}: {stored} is {stored.value:.6g} in results.csv and {row['value']:.6g} by its records",
                f"`robench score {results.name}` writes it again",
            )
        found[key] = row["distribution"]
    return found


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def wrong_images(results: ResultsSet, keys: Iterable[Key]) -> dict[Key, NDArray[np.bool_]]:
    """Return which images are wrong, (n,), for the keys of cells with one image a sample; nothing for several seeds."""
    found: dict[Key, NDArray[np.bool_]] = {}
    if len(results.runs) != 1:
        return found
    run = results.runs[0]
    cells = [key for key in keys if key.metric in PER_IMAGE_METRICS and key.axis is None and key.subset is None]
    for condition in run.finished():
        of_condition = [
            key
            for key in cells
            if all(getattr(key, name) == getattr(condition, name) for name in _CELL)
            and results.rows[key].row["protocol"] == condition.protocol
        ]
        if condition.frames != 1 or not of_condition:
            continue
        columns = {PER_IMAGE_METRICS[key.metric] for key in of_condition}
        records = read_columns(run, condition, ["label", *sorted(columns)])
        labels = records["label"].to_numpy()
        for key in of_condition:
            if key.metric == "top5_error":
                wrong = [label not in top5 for label, top5 in zip(labels, records["top5"], strict=True)]
                found[key] = np.array(wrong, dtype=bool)
            else:
                found[key] = np.asarray(records["pred"].to_numpy() != labels)
    return found
