"""The section on calibration: accuracy by confidence in bins of equally many predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from robench.analysis.report.charts import reliability
from robench.analysis.report.parts import Chart, Group, Section, model_legend
from robench.analysis.report.words import suite_words
from robench.suites import CLEAN
from robench.types import Results

__all__ = ["RECORDS", "calibration"]

RECORDS = ("sample", "label", "pred", "confidence")
"""Columns of the records that the section needs."""

_MOST_BINS, _LEAST_BINS, _FEW = 15, 5, 20
_HISTOGRAM = 20
"""Bins of the histogram."""


Records: TypeAlias = Iterable[tuple[str, pd.DataFrame]]
"""Names of models and their records, read one after the other because they are large."""


def calibration(suites: Iterable[tuple[str, Results, Records]], models: Sequence[str]) -> Section | None:
    """Return the section on calibration; None without records.

    Args:
        suites: Name of a suite, results of comparable runs with a column `model`, and the records of each model.
        models: Names of all models of the page, in the order of their colours.
    """
    charts = [_chart(suite, results, records, models) for suite, results, records in suites]
    charts = [chart for chart in charts if chart.rows]
    if not charts:
        return None
    columns = {
        "plot": "images",
        "model": "model",
        "position": "mean confidence, %",
        "value": "accuracy, %",
        "samples": "predictions",
        "images": "different images",
        "start": "histogram from, %",
        "end": "to, %",
        "share": "share of predictions, %",
    }
    text = (
        "Accuracy by confidence in bins of equally many predictions: a calibrated model follows the dashed diagonal. Bins of fewer "
        f"than {_FEW} images are grey. The shaded histogram shows how often the model has each confidence. The expected calibration "
        "error (ECE) has fifteen bins of equal width; that of a suite is the mean over its cells."
    )
    return Section("Calibration", text, [Group("", charts, columns)])


def _chart(suite: str, results: Results, records: Records, models: Sequence[str]) -> Chart:
    title = "Clean images" if suite == CLEAN else f"{suite_words(suite)}, all cells"
    of_suite = results[(results["suite"] == suite) & (results["metric"] == "ece")]
    ece = of_suite if suite == CLEAN else of_suite[of_suite["corruption"].isna()]
    values = ece.drop_duplicates("model").set_index("model")["value"]
    rows: list[Mapping[str, Any]] = []
    legend = dict.fromkeys(models, "")
    for model, of_model in records:
        rows += [{"plot": title, "model": model, **row} for row in (*_bins(of_model), *_histogram(of_model))]
        legend[model] = f"{model}, ECE {100 * values[model]:.1f} %" if model in values.index else model
    spec = reliability(rows, models, f"reliability: {title}")
    return Chart(title, spec, rows, legend=model_legend([*legend.values()]))


def _bins(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    ordered = records.sort_values("confidence", kind="stable")
    number = min(_MOST_BINS, max(_LEAST_BINS, len(ordered) // _FEW), len(ordered))
    for part in np.array_split(np.arange(len(ordered)), number) if number else ():
        of_bin = ordered.iloc[part]
        images = int(of_bin["sample"].nunique())
        accuracy = float((of_bin["pred"] == of_bin["label"]).mean())
        place = {"position": 100 * float(of_bin["confidence"].mean()), "value": 100 * accuracy}
        yield {**place, "samples": len(of_bin), "images": images, "few": images < _FEW}


def _histogram(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    counts, edges = np.histogram(records["confidence"].to_numpy(np.float64), _HISTOGRAM, (0, 1))
    for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            yield {"start": 100 * start, "end": 100 * end, "share": 100 * count / len(records), "zero": 0}
