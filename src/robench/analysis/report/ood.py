"""Charts of out-of-distribution detection: AUROC by corruption and severity, and the metrics of every score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from robench.analysis.report.charts import heat_map
from robench.analysis.report.parts import Chart, Group, TextTable
from robench.analysis.report.words import words
from robench.suites import CLEAN, OOD
from robench.types import Results

__all__ = ["ood_groups"]

_SHOWN = "energy"
"""Score of the heat maps; the table has all scores."""

_METRICS = {
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "aupr_in": "AUPR in",
    "aupr_out": "AUPR out",
    "fs_auroc": "full-spectrum AUROC",
}
_DOMAIN = (50, 100)
"""AUROC of a guess and of a perfect score, in percent."""


def ood_groups(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    """Yield a group of charts for each name of sets.

    Args:
        suite: Name of the suite.
        results: Results of comparable runs with a column `model`.
        models: Names of all models of the page.
    """
    rows = results[results["suite"] == suite]
    for subset in dict.fromkeys(rows["subset"]):
        of_subset = rows[rows["subset"] == subset]
        charts = list(_maps(of_subset, subset))
        text = (
            f"A map shows the AUROC of the score {_SHOWN} for corrupted images in distribution. Images out of distribution are the "
            "positive class. All maps have the same scale, from a guess to 100 %."
        )
        yield Group(
            f"Images out of distribution: {subset}",
            charts,
            {
                "model": "model",
                "name": "corruption",
                "position": "severity",
                "value": "AUROC, %",
                "low": "95 % low",
                "high": "95 % high",
            },
            text if charts else "",
            below=_table(of_subset[of_subset["corruption"] == CLEAN]),
        )


def _maps(rows: Results, subset: str) -> Iterator[Chart]:
    cells = rows[(rows["metric"] == "auroc") & (rows["method"] == _SHOWN) & (rows["corruption"] != CLEAN)]
    if cells.empty:
        return
    means = cells.groupby("corruption", sort=False)["value"].mean().sort_values(kind="stable")
    order = [words(name) for name in means.index]
    for model, of_model in cells.groupby("model", sort=False):
        points: list[dict[str, Any]] = [
            {
                "model": model,
                "name": words(row["corruption"]),
                "position": int(row["severity"]),
                "value": 100 * row["value"],
                "low": 100 * row["ci_low"],
                "high": 100 * row["ci_high"],
                "text": f"{100 * row['value']:.0f}",
            }
            for row in of_model.to_dict("records")
        ]
        about = f"AUROC by corruption and severity, %: {model}, {OOD} {subset}"
        yield Chart(str(model), heat_map(points, "severity", "AUROC, %", about, order=order, domain=_DOMAIN), points)


def _table(rows: Results) -> TextTable:
    shown = [metric for metric in _METRICS if (rows["metric"] == metric).any()]
    values = rows.set_index(["model", "method", "metric"])["value"]
    cells = [
        [str(model), str(method), *(f"{100 * values[model, method, metric]:.1f}" for metric in shown)]
        for model, method in dict.fromkeys(zip(rows["model"], rows["method"], strict=True))
    ]
    return TextTable(["model", "score", *(f"{_METRICS[metric]}, %" for metric in shown)], cells, len(shown))
