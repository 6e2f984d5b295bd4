"""Rows of shape bias: over all cue-conflict images, and over those of each category of shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.intervals import wilson_interval
from robench.analysis.metrics.shape_bias import Cues, shape_bias
from robench.analysis.scoring.records import read_columns
from robench.analysis.scoring.rows import DISTRIBUTION, DISTRIBUTION_SIZE, Row, resample_weights, row
from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import SHAPE_CATEGORIES, cues_of
from robench.types import Floats

__all__ = ["cue_decisions", "shape_bias_rows"]

_NO_ANSWER = ""
"""Decision of a network with a logit that is not finite."""


def cue_decisions(run: RunDirectory, condition: ConditionEntry) -> tuple[list[str], list[str], list[str]]:
    """Return the categories of shape, texture and decision of each sample, (n,) each.

    Raises:
        RunError: The samples of the run are no cue-conflict images.
    """
    paths = run.read_samples()["path"]
    cues = [both for path in paths if (both := cues_of(path)) is not None]
    if len(cues) < len(paths):
        raise RunError(f"{run.path} has samples whose names carry no shape and texture", "evaluate again")
    names = [*SHAPE_CATEGORIES, _NO_ANSWER]
    decisions = [names[pred] for pred in read_columns(run, condition, ("pred",))["pred"].tolist()]
    return [shape for shape, _ in cues], [texture for _, texture in cues], decisions


def shape_bias_rows(run: RunDirectory, finished: Sequence[ConditionEntry], seed: int) -> Iterator[Row]:
    """Yield accuracy, shape and texture accuracy and shape bias. Single rates, they have Wilson's intervals.

    Raises:
        RunError: Records do not fit the samples.
    """
    for condition in finished:
        shape, texture, decision = cue_decisions(run, condition)
        cues = Cues.of(shape, texture, decision)
        common: Row = {
            "suite": condition.suite,
            "corruption": condition.corruption,
            "severity": condition.severity,
            "resolution": condition.resolution,
            "protocol": condition.protocol,
            "source": condition.source,
        }
        missing = sum(one == _NO_ANSWER for one in decision)
        if missing:
            n = len(decision)
            yield common | row("nonfinite_rate", missing / n, wilson_interval(missing, n)) | {"n": n}
        shapes = np.array(shape)
        for category in (None, *(name for name in SHAPE_CATEGORIES if name in set(shape))):
            members = np.ones(len(shape), np.bool_) if category is None else shapes == category
            yield from (common | {"subset": category} | one for one in _rows(cues, members, seed))


def _rows(cues: Cues, members: NDArray[np.bool_], seed: int) -> Iterator[Row]:
    conflict = cues.conflict & members
    table = np.stack([cues.right & members, members, cues.shape & members, cues.texture & members, conflict], axis=1)
    sums = np.empty((DISTRIBUTION_SIZE, table.shape[1]))
    for part, counts in resample_weights(len(members), seed):
        sums[part] = counts.astype(np.float64) @ table.astype(np.float64)
    right, images, shape, texture, conflicts = sums.T
    yield from _rate("shape_bias", shape, shape + texture)
    yield from _rate("shape_accuracy", shape, conflicts)
    yield from _rate("texture_accuracy", texture, conflicts)
    yield from _rate("accuracy", right, images)


def _rate(metric: str, hits: Floats, of: Floats) -> Iterator[Row]:
    """Yield the row of a rate; none if there is nothing to count."""
    k, n = int(hits[0]), int(of[0])
    if n:
        yield {**row(metric, k / n, wilson_interval(k, n)), "n": n, DISTRIBUTION: shape_bias(hits, of - hits)}
