"""Which classes a run takes for which: counts of wrong predictions over the cells of a suite."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robench.analysis.scoring.records import read_columns
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, find_suite

__all__ = ["confused_samples", "confusions"]


def confusions(run: RunDirectory, suite: str) -> pd.DataFrame:
    """Count wrong predictions of a suite of corruptions by (label, pred), the most frequent first.

    Columns: label, pred, count, share: of all predictions for images of that label. Predictions that do not exist, where a
    logit is not finite, are left out. Empty where nothing of the suite is finished.
    """
    found, total = [], pd.Series(dtype=np.int64)
    for condition in _cells(run, suite):
        records = read_columns(run, condition, ("label", "pred"))
        total = total.add(records["label"].value_counts(), fill_value=0)
        found.append(records[(records["pred"] != records["label"]) & (records["pred"] >= 0)])
    if not found:
        return pd.DataFrame({"label": [], "pred": [], "count": [], "share": []})
    wrong = pd.concat(found).groupby(["label", "pred"], sort=True).size().rename("count").reset_index()
    wrong["share"] = wrong["count"] / wrong["label"].map(total)
    return wrong.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def confused_samples(run: RunDirectory, suite: str, label: int, pred: int) -> pd.DataFrame:
    """List the records of a suite in which images of a class are taken for another, the most confident first.

    Columns: condition: its name.  sample, confidence: of the record.  was_right: whether the clean image was.
    """
    clean: dict[str, pd.Series] = {}
    found = []
    for condition in _cells(run, suite):
        records = read_columns(run, condition, ("sample", "label", "pred", "confidence"))
        of_pair = records[(records["label"] == label) & (records["pred"] == pred)]
        if not len(of_pair):
            continue
        if condition.clean not in clean:
            clean[condition.clean] = _right(run, condition.clean)
        found.append(
            pd.DataFrame(
                {
                    "condition": condition.name,
                    "sample": of_pair["sample"],
                    "confidence": of_pair["confidence"],
                    "was_right": of_pair["sample"].map(clean[condition.clean]).fillna(False),
                }
            )
        )
    if not found:
        return pd.DataFrame({"condition": [], "sample": [], "confidence": [], "was_right": []})
    return pd.concat(found).sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _cells(run: RunDirectory, suite: str) -> list[ConditionEntry]:
    if suite == CLEAN or find_suite(suite).family != "corruptions":
        return []
    return [condition for condition in run.finished() if condition.suite == suite]


def _right(run: RunDirectory, name: str) -> pd.Series:
    """Whether the clean image of a sample is classified rightly, by sample; empty where it was not evaluated."""
    condition = next((one for one in run.finished() if one.name == name), None)
    if condition is None:
        return pd.Series(dtype=bool)
    records = read_columns(run, condition, ("sample", "label", "pred"))
    return pd.Series((records["pred"] == records["label"]).to_numpy(), index=records["sample"].to_numpy())
