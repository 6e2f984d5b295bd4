"""Accuracy by operations of networks with several exits or settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from robench.analysis.report.charts import lines
from robench.analysis.report.parts import Chart, Group, TextTable, model_legend
from robench.analysis.report.words import words
from robench.suites import CLEAN
from robench.types import Results

__all__ = ["exit_groups"]

_EACH, _BUDGETED = "each exit or setting for all images", "budgeted batches, an exit for each image"
_X = "GFLOPs per image (2 are 1 GMAC)"


def exit_groups(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    """Yield accuracy by operations for each model, a chart for each condition, and the best exit for each number of operations."""
    of_suite = results[results["suite"] == suite]
    for model in dict.fromkeys(of_suite["model"]):
        rows = of_suite[of_suite["model"] == model]
        shown = model if of_suite["model"].nunique() > 1 else ""
        charts = [_chart(str(name), severity, cells) for (name, severity), cells in _conditions(rows)]
        charts = [chart for chart in charts if chart.rows]
        if charts:
            columns = {"condition": "images", "model": "", "label": "at", "position": _X, "value": "accuracy, %"}
            columns |= {"low": "95 % low", "high": "95 % high"}
            title = f"Accuracy by operations{f': {shown}' if shown else ''}"
            text = "The thresholds of a budgeted batch are set without labels, on the other half of the images."
            legend = model_legend((_EACH, _BUDGETED))
            yield Group(title, charts, columns, text, legend, "medium", _best(rows))


def _conditions(rows: Results) -> list[tuple[Any, Results]]:
    return list(rows[rows["corruption"].notna()].groupby(["corruption", "severity"], sort=False))


def _name(corruption: str, severity: int) -> str:
    return words(corruption) if corruption == CLEAN else f"{words(corruption)}, severity {severity}"


def _chart(corruption: str, severity: int, cells: Results) -> Chart:
    name, points = _name(corruption, severity), []
    for axis, policy, accuracy, cost in (
        ("method", _EACH, "accuracy", "gflops"),
        ("axis_value", _BUDGETED, "budgeted_accuracy", "budgeted_gflops"),
    ):
        costs = cells[cells["metric"] == cost].drop_duplicates(axis).set_index(axis)["value"].to_dict()
        for row in cells[(cells["metric"] == accuracy) & cells[axis].notna()].to_dict("records"):
            if (gflops := costs.get(row[axis])) is not None:
                label = row["method"] if axis == "method" else f"p {row['axis_value']:g}"
                ends = {key: 100 * float(row[column]) for key, column in (("low", "ci_low"), ("high", "ci_high"))}
                point = {"model": policy, "value": 100 * float(row["value"]), **ends, "condition": name}
                points.append({**point, "label": f"{label}, {gflops:.3g} GFLOPs", "position": gflops})
    spec = lines(
        points, (_EACH, _BUDGETED), _X, "accuracy, %", f"accuracy by operations, {name}", height=260, domain=None
    )
    return Chart(name, spec, points)


def _best(rows: Results) -> TextTable | None:
    """Return the best exit of each condition within the operations of each exit."""
    best = rows[rows["metric"] == "best_accuracy"]
    if best.empty:
        return None
    cells = [
        [
            _name(str(row["corruption"]), row["severity"]),
            f"{row['axis_value']:.3g}",
            str(row["method"]),
            f"{100 * row['value']:.1f}",
        ]
        for row in best.to_dict("records")
    ]
    return TextTable(("Images", "GFLOPs at most", "Best exit or setting", "Accuracy, %"), cells, 1)
