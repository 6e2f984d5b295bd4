"""Rows of the leaderboard from the results of runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.leaderboard.columns import ENDS, METRIC_COLUMNS, MetricColumn, ood_columns, resolution_column
from robench.analysis.scoring import pool
from robench.analysis.variants import input_settings
from robench.errors import OptionError, RunError, TableError, unknown_name
from robench.runs.csv import read_csv, without_groups
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION
from robench.suites import CLEAN, NETWORK, OOD, Family, families, find_suite
from robench.suites.protocol import SuiteProtocol, short_hash
from robench.types import Results

__all__ = [
    "Row",
    "corruption_errors",
    "file_rows",
    "percent",
    "pooled_rows",
    "rows_of_results",
    "run_rows",
    "subset_text",
]

Row = dict[str, Any]
"""Filled cells of the leaderboard by column."""

_DECIMALS = 6
"""Decimals of a percentage: enough for one image of 100 million; more would be binary rounding."""

_MODEL = ["model", "treatment", "dataset", "data_sha", "seed", "robench_version"]


def percent(value: float, complement: bool = False) -> float:
    """Return a rounded percentage, or 100 minus it."""
    return round(100 - value if complement else value, _DECIMALS)


def run_rows(path: Path, suites: Sequence[str] | None) -> list[Row]:
    """Return the rows of a run directory with the properties of its model.

    Raises:
        RunError: The run cannot be read.
    """
    run = RunDirectory.open(path)
    return [row | _model_cells(run) for row in rows_of_results(run.read_results(), path, suites, [run])]


def pooled_rows(paths: Sequence[Path], suites: Sequence[str] | None) -> list[Row]:
    """Return the row of pooled runs that differ only in their seed, with the properties that all their models share."""
    runs = [RunDirectory.open(path) for path in paths]
    results, _ = pool(runs)
    first, *others = [_model_cells(run) for run in runs]
    shared = {name: cell for name, cell in first.items() if all(cells[name] == cell for cells in others)}
    return [row | shared for row in rows_of_results(results, paths[0], suites, runs)]


def _model_cells(run: RunDirectory) -> Row:
    """Return the properties of the model from a run's manifest."""
    model = run.manifest["model"]
    try:
        preprocessing = model["preprocessing"]
        model_input = "; ".join(f"{name} {text}" for name, text in input_settings(run.manifest).items())
        crop, resize = preprocessing["crop"], preprocessing["resize"]
        crop = min(map(int, crop)) if isinstance(crop, list) else int(crop)
        resized = min(map(int, resize)) if isinstance(resize, list) else int(resize)
        count = model.get("parameters")
        return {
            "weights_sha": str(model["sha256"]),
            "param_count": None if count is None else int(count) / 1e6,
            "img_size": crop,
            "crop_pct": round(crop / resized, 3),
            "interpolation": str(preprocessing["interpolation"]),
            **({"model_input": model_input} if model_input else {}),
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"the model in {run.path / 'manifest.json'} is damaged ({error})", "evaluate again") from error


def file_rows(path: Path, suites: Sequence[str] | None) -> list[Row]:
    """Return the rows of a results.csv, with the warnings of the run in whose directory it is."""
    run = RunDirectory.around(path)
    return rows_of_results(without_groups(read_csv(RESULTS, path)), path, suites, [] if run is None else [run])


def _warning_cells(runs: Iterable[RunDirectory]) -> Row:
    """Return the cell with the first clause of each warning; the run has the whole text."""
    # A spreadsheet would read a leading option, such as --mean, as a formula.
    clauses = dict.fromkeys(re.split("[:;] ", text)[0].lstrip("-") for run in runs for text in run.warnings)
    return {"warnings": "; ".join(clauses)} if clauses else {}


def rows_of_results(
    results: Results, path: Path, suites: Sequence[str] | None, runs: Sequence[RunDirectory] = ()
) -> list[Row]:
    """Return one row for each model, dataset and seed.

    Args:
        results: The results.
        path: Their file or run directory; errors begin with it.
        suites: Suites to show in addition to the clean images; None for all.
        runs: The runs with these results, whose warnings the rows have.

    Raises:
        OptionError: Two suites would fill the same columns, or a suite is missing.
        TableError: The results have another schema.
    """
    if (results["schema"] != SCHEMA_VERSION).any():
        raise TableError(
            f"{path} has schema {results['schema'].iloc[0]}, and this robench reads {SCHEMA_VERSION}",
            f"give `robench score {path}`",
        )
    if suites is not None:
        available = list(dict.fromkeys(results["suite"]))
        if missing := [suite for suite in suites if suite not in available]:
            raise OptionError(*unknown_name(f"suite of {path}", missing[0], available))
        results = results[results["suite"].isin([CLEAN, *suites])]
    groups = results.groupby(_MODEL, sort=False, dropna=False)
    return [_row(group, path) | _warning_cells(runs) for _, group in groups]


def _row(results: Results, path: Path) -> Row:
    suites = _suite_by_columns(results, path)
    first = results.iloc[0]
    row: Row = {name: None if pd.isna(first[name]) else first[name] for name in _MODEL} | {"schema": SCHEMA_VERSION}
    sizes = results[(results["metric"] == "accuracy") & (results["corruption"] == NETWORK)]["resolution"].unique()
    sources: dict[str, list[Mapping[str, Any]]] = {}
    # A set is the mean of its images; parts of it, such as near/cifar100, are in the results alone.
    sets = [name for name in results[results["suite"] == OOD]["subset"].dropna().unique() if "/" not in name]
    others = (
        *(resolution_column(int(size)) for size in sizes),
        *(column for one in sets for column in ood_columns(one)),
    )
    places = results.groupby(["suite", "metric"]).indices
    for column in (*METRIC_COLUMNS, *others):
        suite = suites.get((column.family, column.prefix))
        place = None if suite is None else places.get((suite, column.metric))
        if suite is not None and place is not None and (source := _select(results.iloc[place], column)) is not None:
            row |= _cells(column, source)
            sources.setdefault(suite, []).append(source)
    if not sources:
        raise OptionError(
            f"{path} has no metric of a leaderboard", "name a run of one of the suites in `robench list suites`"
        )
    row |= {f"{name}_err": percent(row[name], complement=True) for name in ("top1", "top5") if name in row}
    return row | _provenance(sources, results)


def corruption_errors(results: Results, row: Row, suites: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the errors of a row of the leaderboard by corruption.

    Args:
        results: Results that hold those of the row.
        row: The row.
        suites: Suites to choose from; None for all.

    Returns:
        `suite`, the first one of corruptions, and in percent the mean `error` and the `ce` by corruption; None without a suite of
        corruptions.
    """
    same = results["model"] == row["model"]
    for name in ("treatment", "dataset", "data_sha", "source"):
        if row.get(name) is not None:
            same &= results[name] == row[name]
    results = results[same.fillna(False)]
    of_suite = [
        find_suite(suite).family is families.CORRUPTIONS and (not suites or suite in suites)
        for suite in results["suite"]
    ]
    results = results[of_suite]
    cells = results[results["metric"] == "error_rate"]
    if not len(cells):
        return None
    cells, results = (rows[rows["suite"] == cells["suite"].iloc[0]] for rows in (cells, results))
    means = cells.groupby("corruption", sort=False)["value"].mean()
    ce = results[results["metric"] == "ce"].groupby("corruption", sort=False)["value"].mean()
    return {
        "suite": str(cells["suite"].iloc[0]),
        "error": {str(name): percent(100 * float(value)) for name, value in means.items()},
        "ce": {str(name): percent(float(value)) for name, value in ce.items()},
    }


def _suite_by_columns(results: Results, path: Path) -> dict[tuple[Family, str], str]:
    """Return the suite of each family and prefix; OptionError if one has two."""
    suites: dict[tuple[Family, str], str] = {}
    for name in dict.fromkeys(results["suite"]):
        suite = find_suite(name)
        other = suites.setdefault((suite.family, suite.prefix), name)
        if other != name:
            raise OptionError(
                f"{path} has results of {other} and of {name}, which share their columns",
                f"give --suite {other}, or --suite {name}",
            )
    return suites


def _select(results: Results, column: MetricColumn) -> Mapping[str, Any] | None:
    """Return the row that a column shows, of those of its metric; the first of several clean ones, of the run's first suite."""
    if column.family is families.ADVERSARIAL:
        of_method = results[results["method"] == column.method]
        last: list[Mapping[str, Any]] = of_method.sort_values("axis_value").tail(1).to_dict("records")
        return last[0] if last else None
    matches = results["corruption"].isna() if column.corruption is None else results["corruption"] == column.corruption
    for name, wanted in (("subset", column.subset), ("method", column.method)):
        matches &= results[name] == wanted if wanted else results[name].isna()
    if column.resolution is not None:
        matches &= results["resolution"] == column.resolution
    if column.difficulty is None:
        matches &= results["axis"].isna()
    else:
        matches &= (results["axis"] == "difficulty") & (results["axis_value"] == column.difficulty)
    rows: list[Mapping[str, Any]] = results[matches.fillna(False)].head(1).to_dict("records")
    return rows[0] if rows else None


def _cells(column: MetricColumn, source: Mapping[str, Any]) -> Row:
    factor = 100 if column.is_rate else 1
    ends = ("ci_high", "ci_low") if column.complement else ("ci_low", "ci_high")
    cells = {column.column: source["value"]} | {
        column.column + suffix: source[end] for suffix, end in zip(ENDS, ends, strict=True)
    }
    return {
        name: None if pd.isna(value) else percent(factor * value, column.complement) for name, value in cells.items()
    }


def _provenance(sources: Mapping[str, Sequence[Mapping[str, Any]]], results: Results) -> Row:
    """Return images, source, baseline, field and protocol of the rows that are shown, which are given by suite."""
    rows = [row for of_suite in sources.values() for row in of_suite if row["metric"] != "effective_robustness"]
    fitted = [row for of_suite in sources.values() for row in of_suite if row["metric"] == "effective_robustness"]
    perturbed = [row for suite, of_suite in sources.items() if suite != CLEAN for row in of_suite]
    protocols = (
        SuiteProtocol(suite, "|".join(_unique(of_suite, "protocol")), _subset(suite, results))
        for suite, of_suite in sources.items()
    )
    return {
        "images": next((int(row["n"]) for row in sources.get(CLEAN, ())), None),
        "source": "+".join(_unique(perturbed or rows, "source")),
        "baseline": "+".join(_unique(rows, "baseline")) or None,
        "field": "+".join(_unique(fitted, "baseline")) or None,
        "protocol": "; ".join(map(str, protocols)),
    }


def _unique(rows: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows if not pd.isna(row[name])))


def _subset(suite: str, results: Results) -> str:
    """Describe the cells that the aggregates of a suite cover, if some are missing; such values are not comparable."""
    rows, declared = results[results["suite"] == suite], find_suite(suite)
    if declared.family not in _CELLS:
        return ""
    metric, kind = _CELLS[declared.family]
    rows = rows[(rows["metric"] == metric) & rows["corruption"].notna() & rows["severity"].notna()]
    severities = declared.severities
    if declared.family.has_difficulties:
        severities = severities[:1]
        rows = rows[(rows["axis"] == "difficulty") & (rows["axis_value"] == 1)]
    covered = declared.own_or_extra(rows["corruption"])
    cells = {(row["corruption"], row["severity"]) for row in rows.to_dict("records") if row["corruption"] in covered}
    planned = {(name, severity) for name in declared.corruptions for severity in severities}
    return subset_text(cells, planned, kind)


def subset_text(cells: Collection[tuple[str, int]], planned: Collection[tuple[str, int]], kind: str = "cells") -> str:
    """Describe cells, if they are not those that a suite plans: `(1 of 75 cells#89abcdef)`."""
    if set(cells) == set(planned):
        return ""
    return f"({len(cells)} of {len(planned)} {kind}#{short_hash(repr(sorted(cells)))})"


_CELLS = {
    families.CORRUPTIONS: ("error_rate", "cells"),
    families.SEQUENCES: ("flip_rate", "perturbations"),
    families.NOISE: ("accuracy_auc", "perturbations"),
    families.OCCLUSION: ("accuracy_auc", "perturbations"),
}
"""The metric whose rows are the cells behind a family's aggregates, and the name of these cells."""
