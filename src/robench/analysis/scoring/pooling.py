"""Several seeds of one evaluation as one: the mean over the seeds, with intervals over images and over the draws of corruptions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from robench.analysis.metrics.intervals import resample_counts, wilson_interval
from robench.analysis.scoring.rows import DISTRIBUTION, Row, result_row, row
from robench.analysis.scoring.score import score_rows
from robench.errors import RunError
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, rows_to_frame
from robench.types import Floats, Results

__all__ = ["pool", "pooled_distribution", "pooled_rows"]

_KEY = (
    *("suite", "metric", "method", "subset", "corruption", "severity"),
    *("axis", "axis_value", "dx", "dy", "resolution"),
)
_SAME = ("protocol", "source", "baseline", "unit", "n")
"""Columns in which a figure's rows must be equal to be averaged."""


def pool(runs: Sequence[RunDirectory], normalize_by: str | None = None) -> tuple[Results, list[str]]:
    """Score runs that differ in nothing but their seed as one model; returns the results and what to note about them.

    The figures are means over the runs. normalize_by: as in `score`. Raises RunError unless the runs are of one model, the same
    samples and conditions, all finished.
    """
    rows, notes = _pooled(runs, normalize_by, None)
    return rows_to_frame(RESULTS, ({name: one.get(name) for name in RESULTS.names} for one in rows)), notes


def pooled_rows(
    runs: Sequence[RunDirectory], normalize_by: str | None = None, wanted: Collection[tuple[str, str]] | None = None
) -> list[Row]:
    """Return the rows of the pooled results with their distributions, as `score_rows` does of one run."""
    return _pooled(runs, normalize_by, wanted)[0]


def pooled_distribution(distributions: Floats, seed: int) -> Floats:
    """(seeds, 1 + resamples) -> (1 + resamples,): the mean, and resamples of the images and of the seeds at once.

    Resample r of all seeds takes the same images; which seeds it takes is drawn anew for each. Both are random samples, of
    images and of draws, that cross each other: the pigeonhole bootstrap, which is mildly conservative.
    Source: Owen 2007, Annals of Applied Statistics 1:386.
    """
    seeds, width = distributions.shape
    counts = np.concatenate(list(resample_counts(seeds, seed, width - 1, scope="seeds")))
    found = np.empty(width)
    found[0] = distributions[:, 0].mean()
    found[1:] = np.einsum("rk,kr->r", counts / seeds, distributions[:, 1:])
    return found


def _pooled(
    runs: Sequence[RunDirectory], normalize_by: str | None, wanted: Collection[tuple[str, str]] | None
) -> tuple[list[Row], list[str]]:
    _check(runs)
    runs = sorted(runs, key=lambda run: run.manifest["seed"])
    seeds = [run.manifest["seed"] for run in runs]
    found = [{_key(one): one for one in score_rows(run, normalize_by, wanted, seed=seeds[0])} for run in runs]
    rows, lacking = [], []
    for key in dict.fromkeys(key for of_run in found for key in of_run):
        same = [of_run[key] for of_run in found if key in of_run]
        if len(same) < len(runs) and key[1] != "nonfinite_rate":
            lacking.append(f"{key[1]} of {key[2] or key[0]}")
            continue
        _check_rows(runs, same)
        rows.append({**same[0], **_mean(same, len(runs), seeds[0]), "seed": "+".join(map(str, seeds))})
    notes = [f"{name} is left out: not every seed has it" for name in dict.fromkeys(lacking)]
    return rows, notes


def _mean(rows: Sequence[Row], seeds: int, seed: int) -> Row:
    """The figure of several seeds' rows; a rate of logits that are not finite has a row only where it is not 0."""
    metric, n = rows[0]["metric"], rows[0]["n"]
    if all(DISTRIBUTION in one for one in rows):
        distribution = pooled_distribution(np.stack([one[DISTRIBUTION] for one in rows]), seed)
        found = result_row(metric, distribution)
        if found["ci_low"] == found["ci_high"] and len({one["value"] for one in rows}) == 1:
            found |= {name: rows[0][name] for name in ("ci_low", "ci_high")}  # Wilson's, where all agree on 0 or 1.
        return found
    value = sum(one["value"] for one in rows) / seeds
    return (
        row(metric, value, wilson_interval(round(value * n), n)) if metric == "nonfinite_rate" else row(metric, value)
    )


def _key(one: Row) -> tuple[object, ...]:
    return tuple(one.get(name) for name in _KEY)


def _check(runs: Sequence[RunDirectory]) -> None:
    """Refuse what is not one evaluation with several seeds."""
    if len(runs) < 2:
        raise RunError(f"one run has nothing to be pooled with: give two or more, of other seeds than {_seed(runs[0])}")
    first = runs[0]
    by_seed: dict[int, Path] = {}
    for run in runs:
        for what, ours, theirs in _facts(first, run):
            if ours != theirs:
                raise RunError(
                    f"{run.path} is no other seed of {first.path}: its {what} is {theirs}, not {ours}; pool runs that differ "
                    "in --seed alone"
                )
        if (seed := _seed(run)) in by_seed:
            raise RunError(f"{by_seed[seed]} and {run.path} both have seed {seed}: pool runs of different seeds")
        by_seed[seed] = run.path
        left = len(run.conditions) - len(run.finished())
        if left:
            raise RunError(f"{run.path} has {left} unfinished conditions: give its `robench evaluate` again")


def _facts(first: RunDirectory, run: RunDirectory) -> list[tuple[str, object, object]]:
    """What must be equal, by name, in both."""

    def facts(one: RunDirectory) -> dict[str, object]:
        manifest = one.manifest
        return {
            "model": manifest["model"].get("label"),
            "weights": str(manifest["model"].get("sha256"))[:12],
            "treatment": manifest.get("treatment"),
            "dataset": manifest["data"].get("name"),
            "samples": str(manifest["data"].get("sha256"))[:12],
        }

    found = [(what, value, facts(run)[what]) for what, value in facts(first).items()]
    for ours, theirs in zip(first.conditions, run.conditions, strict=False):
        if (ours.name, ours.protocol, ours.source) != (theirs.name, theirs.protocol, theirs.source):
            found.append(("protocol", f"{ours.name} {ours.protocol}", f"{theirs.name} {theirs.protocol}"))
    return [*found, ("number of conditions", len(first.conditions), len(run.conditions))]


def _seed(run: RunDirectory) -> int:
    return int(run.manifest["seed"])


def _check_rows(runs: Sequence[RunDirectory], rows: Sequence[Row]) -> None:
    for name in _SAME:
        if len({one.get(name) for one in rows}) > 1:
            values = ", ".join(dict.fromkeys(str(one.get(name)) for one in rows))
            raise RunError(
                f"{rows[0]['metric']} of {rows[0]['suite']} has several of {name} ({values}) in {runs[0].path} and its other "
                "seeds: score them alike"
            )
