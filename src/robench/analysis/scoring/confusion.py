"""Confusions between classes: counts of wrong predictions over the cells of a suite."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robench.analysis.scoring.records import read_columns
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, display_family

__all__ = ["confusions"]


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


def _cells(run: RunDirectory, suite: str) -> list[ConditionEntry]:
    if suite == CLEAN or display_family(suite).has_frames:
        return []
    return [condition for condition in run.finished() if condition.suite == suite]
