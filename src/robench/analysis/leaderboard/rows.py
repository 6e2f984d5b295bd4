"""A run's results -> a row for each model in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.leaderboard.columns import ENDS, FIGURES, MetricColumn, side_column
from robench.analysis.metrics import METRICS
from robench.analysis.scoring import pool
from robench.errors import OptionError, RunError, TableError
from robench.runs.directory import RunDirectory
from robench.runs.schema import SCHEMA_VERSION
from robench.suites import CLEAN, NETWORK, Family, families, find_suite
from robench.suites.protocol import SuiteProtocol, short_hash
from robench.types import Results

__all__ = ["Row", "percent", "pooled_rows", "rows_of_results", "run_rows"]

Row = dict[str, Any]
"""Cells of the leaderboard that are filled, by column."""

_DECIMALS = 6
"""Of a percentage: a step of one image among 100 million; what is beyond comes from counting in binary."""

_MODEL = ["model", "treatment", "dataset", "data_sha", "seed", "robench_version"]


def percent(value: float, complement: bool = False) -> float:
    """A percentage as it is written, or what it lacks to 100."""
    return round(100 - value if complement else value, _DECIMALS)


def run_rows(path: Path, suites: Sequence[str] | None) -> list[Row]:
    """Rows of a run directory, with what its manifest says of the model; RunError if it says nothing sensible."""
    run = RunDirectory.open(path)
    return [row | _facts(run) for row in rows_of_results(run.read_results(), path, suites)]


def pooled_rows(paths: Sequence[Path], suites: Sequence[str] | None) -> list[Row]:
    """The row of runs that differ in their seed alone, pooled, with what all of their manifests say of the model alike."""
    runs = [RunDirectory.open(path) for path in paths]
    results, _ = pool(runs)
    first, *others = [_facts(run) for run in runs]
    agreed = {name: value for name, value in first.items() if all(facts[name] == value for facts in others)}
    return [row | agreed for row in rows_of_results(results, paths[0], suites)]


def _facts(run: RunDirectory) -> Row:
    """What a run's manifest says of its model."""
    model = run.manifest["model"]
    try:
        preprocessing = model["preprocessing"]
        crop, resize = int(preprocessing["crop"]), preprocessing["resize"]
        whole = min(map(int, resize)) if isinstance(resize, list) else int(resize)
        count = model.get("parameters")
        return {
            "weights_sha": str(model["sha256"]),
            "param_count": None if count is None else int(count) / 1e6,
            "img_size": crop,
            "crop_pct": round(crop / whole, 3),
            "interpolation": str(preprocessing["interpolation"]),
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"{run.path / 'manifest.json'} is damaged in its model ({error}): evaluate again") from error


def rows_of_results(results: Results, path: Path, suites: Sequence[str] | None) -> list[Row]:
    """One row for each model, dataset and seed; suites: only those, and the clean images.

    Raises OptionError if two suites would stand in the same columns, TableError for another version's results.
    """
    if (results["schema"] != SCHEMA_VERSION).any():
        raise TableError(
            f"{path} has schema {results['schema'].iloc[0]}, this robench reads {SCHEMA_VERSION}: `robench score` the run again"
        )
    if suites is not None:
        missing = [suite for suite in suites if suite not in set(results["suite"])]
        if missing:
            raise OptionError(
                f"{path} has no suite {missing[0]!r}, it has {', '.join(dict.fromkeys(results['suite']))}"
            )
        results = results[results["suite"].isin([CLEAN, *suites])]
    groups = results.groupby(_MODEL, sort=False, dropna=False)
    return [_row(group, path) for _, group in groups]


def _row(results: Results, path: Path) -> Row:
    first = {name: None if pd.isna(value) else value for name, value in results.iloc[0].items()}
    row: Row = {name: first[name] for name in _MODEL} | {"schema": SCHEMA_VERSION}
    by_family: dict[Family, str] = {}
    for suite in dict.fromkeys(results["suite"]):
        other = by_family.setdefault(find_suite(suite).family, suite)
        if other != suite:
            raise OptionError(
                f"{path} has figures of {other} and of {suite}, and a row has one column for both: give --suite {other}, or "
                f"--suite {suite}"
            )
    used: dict[str, list[Mapping[str, Any]]] = {}
    for figure in FIGURES:
        suite = by_family.get(figure.family)
        found = None if suite is None else _find(results[results["suite"] == suite], figure)
        if suite is not None and found is not None:
            row |= _cells(figure.column, figure.metric, found, figure.complement)
            used.setdefault(suite, []).append(found)
    if (suite := by_family.get(families.RESOLUTION)) is not None:
        of_suite = results[(results["suite"] == suite) & (results["corruption"] == NETWORK)]
        for found in of_suite[of_suite["metric"] == "accuracy"].to_dict("records"):
            row |= _cells(side_column(found["resolution"]), "accuracy", found)
            used.setdefault(suite, []).append(found)
    for name in ("top1", "top5"):
        if name in row:
            row[f"{name}_err"] = percent(row[name], complement=True)
    if not used:
        raise OptionError(
            f"{path} has none of a leaderboard's figures: name a run of the suites in `robench list suites`"
        )
    perturbed = [one for suite, rows in used.items() if suite != CLEAN for one in rows]
    figures = [one for rows in used.values() for one in rows]
    baselines = dict.fromkeys(one["baseline"] for one in figures if not pd.isna(one["baseline"]))
    row["images"] = next((int(one["n"]) for one in used.get(CLEAN, [])), None)
    row["source"] = "+".join(dict.fromkeys(one["source"] for one in perturbed or figures))
    row["baseline"] = "+".join(baselines) or None
    row["protocol"] = "; ".join(
        str(SuiteProtocol(suite, "|".join(dict.fromkeys(one["protocol"] for one in rows)), _subset(suite, results)))
        for suite, rows in used.items()
    )
    return row


def _find(rows: Results, figure: MetricColumn) -> Mapping[str, Any] | None:
    """The row that a figure is taken from; of several clean ones the first, which belongs to the run's first suite."""
    fits = rows["metric"] == figure.metric
    fits &= rows["corruption"].isna() if figure.corruption is None else rows["corruption"] == figure.corruption
    if figure.difficulty is None:
        fits &= rows["axis"].isna()
    else:
        fits &= (rows["axis"] == "difficulty") & (rows["axis_value"] == figure.difficulty)
    found: list[Mapping[str, Any]] = rows[fits.fillna(False)].head(1).to_dict("records")
    return found[0] if found else None


def _cells(column: str, metric: str, found: Mapping[str, Any], complement: bool = False) -> Row:
    factor = 100 if METRICS[metric].unit == "fraction" else 1
    ends = [found[name] for name in (("ci_high", "ci_low") if complement else ("ci_low", "ci_high"))]
    cells = {column: percent(found["value"] * factor, complement)}
    return cells | {
        column + name: None if pd.isna(end) else percent(end * factor, complement)
        for name, end in zip(ENDS, ends, strict=True)
    }


def _subset(suite: str, results: Results) -> str:
    """Describe the cells that a suite's aggregates cover if they are not all: such values compare with no others."""
    rows, whole = results[results["suite"] == suite], find_suite(suite)
    if whole.family not in _CELLS:
        return ""
    metric, kind = _CELLS[whole.family]
    rows = rows[(rows["metric"] == metric) & rows["corruption"].notna() & rows["severity"].notna()]
    severities = whole.severities
    if whole.family.has_difficulties:
        severities = severities[:1]
        rows = rows[(rows["axis"] == "difficulty") & (rows["axis_value"] == 1)]
    covered = whole.own_or_extra(rows["corruption"])
    cells = {(row["corruption"], row["severity"]) for row in rows.to_dict("records") if row["corruption"] in covered}
    planned = {(name, severity) for name in whole.corruptions for severity in severities}
    return "" if cells == planned else f"({len(cells)} of {len(planned)} {kind}#{short_hash(repr(sorted(cells)))})"


_CELLS = {
    families.CORRUPTIONS: ("error_rate", "cells"),
    families.SEQUENCES: ("flip_rate", "perturbations"),
    families.NOISE: ("accuracy_auc", "perturbations"),
    families.OCCLUSION: ("accuracy_auc", "perturbations"),
}
"""Metric whose rows are the cells of a family's aggregates, and the name of these cells."""
