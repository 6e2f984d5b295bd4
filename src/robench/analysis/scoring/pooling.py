"""Pooling: several seeds of one evaluation as one model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robench.analysis.metrics.intervals import resample_counts, wilson_interval
from robench.analysis.scoring.rows import DISTRIBUTION, KEY, Row, result_row, row
from robench.analysis.scoring.score import score_rows
from robench.errors import RunError
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, rows_to_frame
from robench.types import Floats, Results

__all__ = ["pool", "pooled_distribution", "pooled_rows"]

_SAME = ("protocol", "source", "baseline", "unit", "n")
"""Columns in which the rows of a value must be equal to be averaged."""


def pool(runs: Sequence[RunDirectory], normalize_by: str | None = None) -> tuple[Results, list[str]]:
    """Score runs that differ only in their seed as one model.

    Args:
        runs: Two or more finished runs.
        normalize_by: As in `score`.

    Returns:
        Results whose values are means over the runs, and notes. Intervals cover images and the draws of corruptions.

    Raises:
        RunError: Unless the runs have one model, the same samples and the same conditions.
    """
    rows, notes = _pooled(runs, normalize_by, None)
    return rows_to_frame(RESULTS, ({name: row.get(name) for name in RESULTS.names} for row in rows)), notes


def pooled_rows(
    runs: Sequence[RunDirectory], normalize_by: str | None = None, only: Collection[tuple[str, str]] | None = None
) -> list[Row]:
    """Return the rows of the pooled results with their distributions, as `score_rows` does for one run."""
    return _pooled(runs, normalize_by, only)[0]


def pooled_distribution(distributions: Floats, seed: int) -> Floats:
    """Return the mean over seeds, with resamples of images and seeds at once.

    Resample r of all seeds takes the same images. Each resample draws its seeds anew. Images and draws are crossed random samples:
    this is the pigeonhole bootstrap, which is mildly conservative.
    Source: Owen 2007, Annals of Applied Statistics 1:386.

    Args:
        distributions: Value and resamples of each seed, (seeds, 1 + resamples).
        seed: Seed of the draws.

    Returns:
        Value and resamples, (1 + resamples,).
    """
    seeds, width = distributions.shape
    counts = np.concatenate(list(resample_counts(seeds, seed, width - 1, scope="seeds")))
    pooled = np.empty(width)
    pooled[0] = distributions[:, 0].mean()
    pooled[1:] = np.einsum("rk,kr->r", counts / seeds, distributions[:, 1:])
    return pooled


def _pooled(
    runs: Sequence[RunDirectory], normalize_by: str | None, only: Collection[tuple[str, str]] | None
) -> tuple[list[Row], list[str]]:
    _check(runs)
    runs = sorted(runs, key=_seed)
    seeds = [_seed(run) for run in runs]
    by_run = [{_key(row): row for row in score_rows(run, normalize_by, only, seed=seeds[0])} for run in runs]
    rows, missing = [], []
    for key in dict.fromkeys(key for keys in by_run for key in keys):
        same = [keys[key] for keys in by_run if key in keys]
        metric, corruption = same[0]["metric"], same[0].get("corruption")
        if len(same) < len(runs) and metric != "nonfinite_rate":
            missing.append(f"{metric} of {corruption or same[0]['suite']}")
            continue
        _check_rows(runs, same)
        rows.append({**same[0], **_mean(same, len(runs), seeds[0]), "seed": "+".join(map(str, seeds))})
    notes = [f"{name} is left out: not every seed has it" for name in dict.fromkeys(missing)]
    return rows, [*notes, *(f"{run.path}: {warning}" for run in runs for warning in run.warnings)]


def _mean(rows: Sequence[Row], seeds: int, seed: int) -> Row:
    """Return the cells of the mean over seeds. Runs without nonfinite logits have no row of nonfinite_rate, which is 0."""
    metric, n = rows[0]["metric"], rows[0]["n"]
    if all(DISTRIBUTION in row for row in rows):
        cells = result_row(metric, pooled_distribution(np.stack([row[DISTRIBUTION] for row in rows]), seed))
        if cells["ci_low"] == cells["ci_high"] and len({row["value"] for row in rows}) == 1:
            cells |= {name: rows[0][name] for name in ("ci_low", "ci_high")}  # Wilson's, if all agree on 0 or 1.
        return cells
    value = sum(row["value"] for row in rows) / seeds
    if metric == "nonfinite_rate":
        return row(metric, value, wilson_interval(round(value * n), n))
    return row(metric, value)


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row.get(name) for name in KEY)


def _check(runs: Sequence[RunDirectory]) -> None:
    """Raise RunError unless the runs are one evaluation with several seeds, all finished."""
    first = runs[0]
    if len(runs) < 2:
        raise RunError("one run cannot be pooled", f"give two or more, of other seeds than {_seed(first)}")
    by_seed: dict[int, Path] = {}
    for run in runs:
        for name, ours, theirs in _facts(first, run):
            if ours != theirs:
                raise RunError(
                    f"{run.path} is no other seed of {first.path}: its {name} is {theirs}, not {ours}",
                    "pool runs that differ only in --seed",
                )
        if (seed := _seed(run)) in by_seed:
            raise RunError(f"{by_seed[seed]} and {run.path} both have seed {seed}", "pool runs of different seeds")
        by_seed[seed] = run.path
        unfinished = len(run.conditions) - len(run.finished())
        if unfinished:
            raise RunError(f"{run.path} has {unfinished} unfinished conditions", "run its `robench evaluate` again")


def _facts(first: RunDirectory, run: RunDirectory) -> list[tuple[str, object, object]]:
    """Return names and values of the facts that must be equal in both runs."""

    def facts(manifest: Mapping[str, Any]) -> dict[str, object]:
        return {
            "model": manifest["model"].get("label"),
            "weights": str(manifest["model"].get("sha256"))[:12],
            "treatment": manifest.get("treatment"),
            "dataset": manifest["data"].get("name"),
            "samples": str(manifest["data"].get("sha256"))[:12],
        }

    theirs = facts(run.manifest)
    pairs = [(name, value, theirs[name]) for name, value in facts(first.manifest).items()]
    for one, other in zip(first.conditions, run.conditions, strict=False):
        if (one.name, one.protocol, one.source) != (other.name, other.protocol, other.source):
            pairs.append(("protocol", f"{one.name} {one.protocol}", f"{other.name} {other.protocol}"))
    return [*pairs, ("number of conditions", len(first.conditions), len(run.conditions))]


def _seed(run: RunDirectory) -> int:
    return int(run.manifest["seed"])


def _check_rows(runs: Sequence[RunDirectory], rows: Sequence[Row]) -> None:
    for name in _SAME:
        values = dict.fromkeys(row.get(name) for row in rows)
        if len(values) > 1:
            raise RunError(
                f"{rows[0]['metric']} of {rows[0]['suite']} has different values of {name} ({', '.join(map(str, values))}) in "
                f"{runs[0].path} and its other seeds",
                "score them alike",
            )
