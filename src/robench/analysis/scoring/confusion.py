"""Confusions between classes: counts of wrong predictions over the cells of a suite."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robench.analysis.scoring.records import read_columns
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, display_family

__all__ = ["confused_samples", "confusions"]


def confusions(run: RunDirectory, suite: str) -> pd.DataFrame:
    """Count the wrong predictions of a suite of corruptions by label and prediction, the most frequent first.

    Samples without a prediction, because of a logit that is not finite, are left out.

    Returns:
        Columns `label`, `pred`, `count`, and `share` of all predictions for images of that label. Empty if no condition of the
        suite is finished.
    """
    wrong, total = [], pd.Series(dtype=np.int64)
    for condition in _cells(run, suite):
        records = read_columns(run, condition, ("label", "pred"))
        total = total.add(records["label"].value_counts(), fill_value=0)
        wrong.append(records[(records["pred"] != records["label"]) & (records["pred"] >= 0)])
    if not wrong:
        return pd.DataFrame({"label": [], "pred": [], "count": [], "share": []})
    counts = pd.concat(wrong).groupby(["label", "pred"], sort=True).size().rename("count").reset_index()
    counts["share"] = counts["count"] / counts["label"].map(total)
    return counts.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def confused_samples(run: RunDirectory, suite: str, label: int, pred: int) -> pd.DataFrame:
    """List the records of a suite in which images of class `label` are classified as `pred`, the most confident first.

    Returns:
        Columns `condition`, its name; `sample` and `confidence` of the record; `was_right`, whether the clean image was right.
    """
    clean: dict[str, pd.Series] = {}
    parts = []
    for condition in _cells(run, suite):
        records = read_columns(run, condition, ("sample", "label", "pred", "confidence"))
        of_pair = records[(records["label"] == label) & (records["pred"] == pred)]
        if len(of_pair):
            if condition.clean not in clean:
                clean[condition.clean] = _right(run, condition.clean)
            was_right = of_pair["sample"].map(clean[condition.clean]).fillna(False)
            columns = {"condition": condition.name, **of_pair[["sample", "confidence"]], "was_right": was_right}
            parts.append(pd.DataFrame(columns))
    if not parts:
        return pd.DataFrame({"condition": [], "sample": [], "confidence": [], "was_right": []})
    return pd.concat(parts).sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _cells(run: RunDirectory, suite: str) -> list[ConditionEntry]:
    if suite == CLEAN or display_family(suite).has_frames:
        return []
    return [condition for condition in run.finished() if condition.suite == suite]


def _right(run: RunDirectory, name: str) -> pd.Series:
    """Return by sample whether the clean image is classified correctly; empty if it was not evaluated."""
    condition = next((condition for condition in run.finished() if condition.name == name), None)
    if condition is None:
        return pd.Series(dtype=bool)
    records = read_columns(run, condition, ("sample", "label", "pred"))
    return pd.Series((records["pred"] == records["label"]).to_numpy(), index=records["sample"].to_numpy())
