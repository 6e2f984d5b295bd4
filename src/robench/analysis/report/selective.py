"""The section on selective prediction: risk by coverage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.metrics.selective import RiskCoverage
from robench.analysis.report.charts import lines
from robench.analysis.report.parts import Chart, Group, Section, model_legend
from robench.analysis.report.words import suite_words
from robench.suites import CLEAN
from robench.types import Results

__all__ = ["selective_prediction"]

_POINTS = 25
"""Coverages of a curve."""


def selective_prediction(
    suites: Iterable[tuple[str, Results, Iterable[tuple[str, pd.DataFrame]]]], models: Sequence[str]
) -> Section | None:
    """Return the section on selective prediction; None without records.

    Args:
        suites: Name of a suite, results of comparable runs with a column `model`, and the records of each model.
        models: Names of all models of the page, in the order of their colours.
    """
    charts = []
    for suite, results, records in suites:
        title = "Clean images" if suite == CLEAN else f"{suite_words(suite)}, all cells"
        of_suite = results[(results["suite"] == suite) & (results["metric"] == "aurc")]
        aurc = of_suite if suite == CLEAN else of_suite[of_suite["corruption"].isna()]
        values = aurc.drop_duplicates("model").set_index("model")["value"]
        rows: list[Mapping[str, Any]] = []
        legend = dict.fromkeys(models, "")
        for model, of_model in records:
            rows += [{"plot": title, "model": model, **row} for row in _curve(of_model)]
            legend[model] = f"{model}, AURC {100 * values[model]:.1f} %" if model in values.index else model
        if rows:
            top = max(float(row["value"]) for row in rows)
            spec = lines(rows, models, "coverage, %", "error, %", f"risk by coverage: {title}", domain=(0, max(top, 1)))
            charts.append(Chart(title, spec, rows, legend=model_legend([*legend.values()])))
    if not charts:
        return None
    text = (
        "Error of the most confident predictions by their share of all, the coverage: a useful confidence keeps the error low where the "
        "coverage is. The area under the curve (AURC) of a suite is the mean over its cells."
    )
    columns = {"plot": "images", "model": "model", "position": "coverage, %", "value": "error, %"}
    return Section("Selective prediction", text, [Group("", charts, columns)])


def _curve(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    correct = (records["pred"] == records["label"]).to_numpy()
    coverage, risk = RiskCoverage.of(records["confidence"].to_numpy(), correct).curve()
    wanted = np.linspace(1 / _POINTS, 1, _POINTS)
    for place in dict.fromkeys(np.minimum(np.searchsorted(coverage, wanted - 1e-9), len(coverage) - 1).tolist()):
        value = 100 * float(risk[place])
        position = 100 * float(coverage[place])
        yield {"position": position, "value": value, "low": value, "high": value, "label": f"coverage {position:.0f} %"}
