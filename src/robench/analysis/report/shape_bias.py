"""Charts of shape bias by category, and the table of error consistency."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from robench.analysis.comparison.consistency import Consistency
from robench.analysis.report.charts import dots
from robench.analysis.report.parts import Chart, Group, Section, TextTable, model_legend
from robench.analysis.report.words import suite_words
from robench.types import Results

__all__ = ["consistency_section", "shape_bias_groups"]

_METRICS = {"shape_bias": "shape bias, %", "shape_accuracy": "shape, %", "texture_accuracy": "texture, %"}


def shape_bias_groups(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    """Yield the shape bias of each category of shape, with a table of the shares over all images.

    Args:
        suite: Name of the suite.
        results: Results of comparable runs, those of categories included, with a column `model`.
        models: Names of all models of the page.
    """
    rows = results[results["suite"] == suite]
    bias = rows[(rows["metric"] == "shape_bias") & rows["subset"].notna()]
    points = [
        {"model": row["model"], "name": row["subset"]}
        | {name: 100 * row[key] for name, key in (("value", "value"), ("low", "ci_low"), ("high", "ci_high"))}
        for row in bias.to_dict("records")
    ]
    means = bias.groupby("subset", sort=False)["value"].mean().sort_values(ascending=False, kind="stable")
    title = "Shape bias by category of the shape"
    shown = [model for model in models if any(point["model"] == model for point in points)]
    columns = {"model": "model", "name": "shape", "value": "shape bias, %", "low": "95 % low", "high": "95 % high"}
    text = "Share of the decisions for the shape among those for the shape or the texture. A category has few images, and wide intervals."
    spec = dots(points, list(means.index), "shape bias, %", title, models=models)
    charts = [Chart("", spec, points)] if points else []
    yield Group(title, charts, columns, text, model_legend(shown), "large", _table(rows[rows["subset"].isna()]))


def _table(rows: Results) -> TextTable:
    values = rows.set_index(["model", "metric"])
    cells = []
    for model in dict.fromkeys(rows["model"]):
        found = [values.loc[(model, metric)] if (model, metric) in values.index else None for metric in _METRICS]
        texts = ["" if row is None else f"{100 * row['value']:.1f} ({_count(row)})" for row in found]
        cells.append([str(model), *texts])
    return TextTable(["model", *_METRICS.values()], cells, len(_METRICS))


def _count(row: pd.Series) -> str:
    return f"{round(row['value'] * row['n'])} of {row['n']}"


def consistency_section(found: Sequence[Consistency]) -> Section | None:
    """Return the section on error consistency; None without a pair of decision makers."""
    if not found:
        return None
    has_bias = any(math.isfinite(one.shape_bias) for one in found)
    heading = ["of", "with", "suite", "kappa", "95 % interval", "agree, %", "by chance, %"]
    rows = [
        [
            *(one.run, one.base, suite_words(one.suite), f"{one.kappa:.3f}"),
            f"{one.ci_low:.2f} to {one.ci_high:.2f}" if math.isfinite(one.ci_low) else "",
            *(f"{100 * share:.1f}" for share in (one.observed, one.expected)),
            *([f"{100 * one.shape_bias:.1f}" if math.isfinite(one.shape_bias) else ""] if has_bias else []),
        ]
        for one in found
    ]
    text = (
        "Kappa is 1 if two decision makers are right on the same images, and 0 if they agree as often as chance makes two of their "
        "accuracies agree. It is a mean over the conditions of a suite. Where chance alone agrees nearly always, kappa is unstable."
    )
    table = TextTable([*heading, *(["shape bias of the second, %"] if has_bias else [])], rows, 4 + has_bias)
    return Section("Error consistency", text, [Group("", [], {}, below=table)])
