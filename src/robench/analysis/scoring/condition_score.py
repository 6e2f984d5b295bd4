"""The value of one finished condition, before the results of its run are computed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robench.analysis.metrics.curves import consistency
from robench.analysis.metrics.flips import flip_rate
from robench.analysis.metrics.shape_bias import Cues
from robench.analysis.scoring.groups import groups_of, suite_of
from robench.analysis.scoring.normalization import group_baseline
from robench.analysis.scoring.records import read_columns
from robench.analysis.scoring.shape_bias import cue_decisions
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.observer import ConditionScore
from robench.suites import FrameKind, families

__all__ = ["condition_score", "mean_divisors"]


def condition_score(run: RunDirectory, condition: ConditionEntry) -> ConditionScore:
    """Return the error rate of a finished condition, or a metric of its frames.

    Sequences have flip_rate, pairs of crops consistency and other frames accuracy. Cue-conflict images have shape_bias.

    Raises:
        RunError: The records do not belong to the condition.
    """
    if suite_of(condition).family is families.CUE_CONFLICT:
        return ConditionScore("shape_bias", Cues.of(*cue_decisions(run, condition)).bias)
    records = read_columns(run, condition, ("label", "pred"))
    shape = condition.frames, -1
    pred, label = (records[name].to_numpy().astype(np.int64).reshape(shape) for name in ("pred", "label"))
    suite = suite_of(condition)
    right = float((pred == label).mean())
    if not suite.family.has_frames:
        return ConditionScore("error_rate", 1 - right)
    kind = suite.kind(condition.corruption)
    if kind is FrameKind.SEQUENCE:
        flips = flip_rate(pred, independent=condition.independent)
        return ConditionScore("flip_rate", float(flips.mean()))
    if kind is FrameKind.PAIRS:
        return ConditionScore("consistency", float(consistency(pred[::2], pred[1::2]).mean()))
    if kind is FrameKind.ATTACKS:
        return ConditionScore("accuracy", float((pred == label).all(axis=0).mean()))
    return ConditionScore("accuracy", right)


def mean_divisors(run: RunDirectory) -> Mapping[str, Mapping[str, float]]:
    """Return the baseline's mean error over the severities by suite and corruption, without suites that have no baseline."""
    divisors: dict[str, dict[str, float]] = {}
    for group in groups_of(run):
        baseline = group_baseline(run, group, None)
        for corruption in group.suite.corruptions if baseline is not None else ():
            errors = baseline.severities(corruption) if baseline is not None else None
            if errors is not None and errors.mean() > 0:
                divisors.setdefault(group.suite.name, {})[corruption] = float(errors.mean())
    return divisors
