"""The section on groups of images: error of each group, worst group and gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robench.analysis.report.charts import dots
from robench.analysis.report.parts import Chart, Group, Section, TextTable, model_legend
from robench.analysis.report.words import suite_words
from robench.suites import CLEAN
from robench.types import Results

__all__ = ["groups_section"]


def groups_section(results: Results, models: Sequence[str]) -> Section | None:
    """Return the section on groups of images; None without groups.

    Args:
        results: Rows of groups of all runs, with a column `model`.
        models: Names of all models of the page, in the order of their colours.
    """
    whole = results[(results["corruption"] == CLEAN) | results["corruption"].isna()]
    charts, between = [], []
    for suite in dict.fromkeys(whole["suite"]):
        of_suite = whole[whole["suite"] == suite]
        metric = "error_rate" if suite == CLEAN else "mean_error"
        title = "Clean images" if suite == CLEAN else f"{suite_words(suite)}, mean over cells"
        points: list[dict[str, Any]] = [
            {
                "model": row["model"],
                "name": row["subset"],
                "plot": title,
                "value": 100 * row["value"],
                "low": 100 * row["ci_low"],
                "high": 100 * row["ci_high"],
            }
            for row in of_suite[of_suite["metric"] == metric].to_dict("records")
        ]
        order = sorted(dict.fromkeys(point["name"] for point in points))
        if points:
            shown = [model for model in models if any(point["model"] == model for point in points)]
            spec = dots(points, order, "top-1 error, %", f"top-1 error by group: {title}", models=models)
            charts.append(Chart(title, spec, points, legend=model_legend(shown)))
        values = of_suite.set_index(["model", "subset", "metric"])["value"]
        for row in of_suite[of_suite["metric"] == "worst_group_error"].to_dict("records"):
            gap = values.get((row["model"], row["subset"], "group_gap"))
            cells = [row["model"], title, row["subset"], f"{100 * row['value']:.1f}"]
            between.append([*cells, "" if gap is None else f"{100 * gap:.1f}"])
    if not charts:
        return None
    columns = {"plot": "images", "model": "model", "name": "group", "value": "top-1 error, %", "low": "95 % low"}
    columns |= {"high": "95 % high"}
    table = TextTable(["model", "images", "attribute", "worst group's error, %", "gap, pp"], between, 2)
    text = (
        "Top-1 error of each group of images. Groups may overlap. The gap is the largest minus the smallest error of the groups of an "
        "attribute; with small groups, chance alone makes one."
    )
    return Section("Groups of images", text, [Group("", charts, columns, below=table)])
