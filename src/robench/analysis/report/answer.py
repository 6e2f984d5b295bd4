"""The first section: the verdict, where two runs differ, and what breaks one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robench.analysis.comparison.compare import CORRUPTION, HEADLINE, Difference
from robench.analysis.formatting import format_change, format_value
from robench.analysis.metrics import METRICS
from robench.analysis.report.charts import dots
from robench.analysis.report.orders import BY_EFFECT, orders
from robench.analysis.report.parts import Chart, Group, LegendEntry, TextTable
from robench.analysis.report.words import HEADINGS, WORDS, metric_words, suite_words, words
from robench.analysis.run_summary import breaking_severities, harms_of, headlines, verdict
from robench.analysis.verdict import pair_verdict, place
from robench.suites import CLEAN, display_family
from robench.types import Results

__all__ = ["Answer", "headline_table", "of_pair", "of_pairs", "of_run"]

_VERDICTS = ("better", "worse", "not significant")
_PAIR_LEGEND = (
    LegendEntry("better", "●", "better"),
    LegendEntry("worse", "●", "worse"),
    LegendEntry("grey", "○", "not significant"),
)
_RUN_VERDICTS = ("broken", "not broken")
_RUN_LEGEND = (
    LegendEntry("worse", "●", "accuracy falls below half of the clean accuracy"),
    LegendEntry("grey", "○", "it does not"),
)
_OVERALL = ("mean_error", "mean_flip_rate", "accuracy_auc")
"""Headline metrics by which several runs are ranked."""

_NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Answer:
    """The verdict on a pair of runs, or on one run.

    Attributes:
        title: Names of the runs.
        sentences: The verdict, the most important sentence first.
        groups: Charts that show it.
    """

    title: str
    sentences: Sequence[str]
    groups: Sequence[Group]


def of_pair(differences: Sequence[Difference]) -> Answer:
    """Return the verdict of a comparison, in the words of `robench compare`, with a chart for each suite."""
    first = differences[0]
    tests: dict[str, dict[str, list[Difference]]] = {}
    for one in differences:  # Headlines come first, and with them the order of the suites.
        of_suite = tests.setdefault(one.paired.run.key.suite, {})
        if one.level == CORRUPTION:
            of_suite.setdefault(one.paired.run.key.metric, []).append(one)
    groups = [
        _by_corruption(suite, metric, found)
        for suite, of_suite in tests.items()
        for metric, found in of_suite.items()
        if len(found) > 1
    ]
    return Answer(f"{first.run_model} minus {first.base_model}", _unbroken(pair_verdict(differences, WORDS)), groups)


def of_pairs(differences: Sequence[Difference]) -> list[Group]:
    """Return charts of the headline differences of several runs from the first one; none for one pair."""
    found: dict[tuple[str, str], dict[str, Difference]] = {}
    for one in differences:
        key = one.paired.run.key
        if one.level == HEADLINE and key.metric in _OVERALL:
            found.setdefault((key.suite, key.metric), {}).setdefault(one.run_model, one)
    groups = []
    for (suite, metric), runs in found.items():
        if len(runs) > 1:
            ranked = dict(sorted(runs.items(), key=lambda item: -item[1].gain))
            title = (
                f"{metric_words(metric).capitalize()} on {suite_words(suite)}: change from {differences[0].base_model}"
            )
            text = "Filled dots are significant: p ≤ .05 after Holm's correction over the headlines of a pair."
            groups.append(_differences(title, "", ranked, {BY_EFFECT: list(ranked)}, text))
    return groups


def of_run(results: Results, model: str) -> Answer:
    """Return the verdict on a run, with a chart of the corruptions of each suite."""
    suites = [suite for suite in dict.fromkeys(results["suite"]) if suite != CLEAN]
    return Answer(
        model, _unbroken(verdict(results, WORDS)), [group for suite in suites for group in _harms(suite, results)]
    )


def headline_table(runs: Sequence[tuple[str, Results]]) -> TextTable:
    """Return the headline metrics: a row for each metric, a column for each model."""
    cells: dict[str, dict[str, str]] = {}
    for model, results in runs:
        for one in headlines(results):
            name = f"{suite_words(one.suite)} {one.label}{f', {one.detail}' if one.detail else ''}"
            unit = METRICS[one.metric].unit
            low, high = (format_value(end, unit, digits=1) for end in (one.low, one.high))
            # On a phone the line breaks only before the interval.
            ends = f" [{low.removesuffix(' %')},{_NBSP}{high}]".replace(" %]", f"{_NBSP}%]") if low and high else ""
            value = format_value(one.value, unit, digits=1).replace(" ", _NBSP)
            cells.setdefault(name, {})[model] = value + ends
    rows = [[name, *(of.get(model, "") for model, _ in runs)] for name, of in cells.items()]
    return TextTable(("Metric", *(model for model, _ in runs)), rows, len(runs))


def _unbroken(sentences: Sequence[str]) -> list[str]:
    """Return the sentences without line breaks next to an equals sign or before a unit."""
    return [re.sub(r" (?=[=%]|pp\b)|(?<==) ", _NBSP, sentence) for sentence in sentences]


def _by_corruption(suite: str, metric: str, tests: Sequence[Difference]) -> Group:
    rows, corruptions = {}, {}
    for one in sorted(tests, key=lambda one: -one.gain):
        name = place(one, HEADINGS)
        rows[name], corruptions[name] = one, one.paired.run.key.corruption or ""
    title = f"Change of the {metric_words(metric)} on {suite_words(suite)}"
    text = "Filled dots are significant: p ≤ .05 after Holm's correction over all of them."
    return _differences(
        title, f"{tests[0].run_model} minus {tests[0].base_model}", rows, orders(suite, corruptions), text
    )


def _differences(
    title: str, pair: str, tests: Mapping[str, Difference], order: Mapping[str, Sequence[str]], text: str
) -> Group:
    """Return a chart of differences by name; they are of one metric."""
    paired = next(iter(tests.values())).paired
    unit = str(paired.run.row["unit"])
    factor, pp = (100, "pp") if unit == "fraction" else (1, "pp" if unit == "percent" else unit)
    rows: list[dict[str, Any]] = []
    for name, one in tests.items():
        is_known = math.isfinite(one.paired.ci_low)
        note = format_change(one.paired.change, unit, digits=1).removesuffix(" pp").replace("-", "−")
        rows.append(
            {
                "name": name,
                "value": factor * one.paired.change,
                "low": factor * one.paired.ci_low if is_known else None,
                "high": factor * one.paired.ci_high if is_known else None,
                "verdict": _VERDICTS[2] if not one.is_significant else _VERDICTS[0 if one.gain > 0 else 1],
                "note": note if one.paired.change else "0",
                "p": None if one.p_holm is None else round(one.p_holm, 4),
            }
        )
    sides = ("← better", "worse →") if paired.sign > 0 else ("← worse", "better →")
    spec = dots(
        rows,
        next(iter(order.values())),
        f"{sides[0]} · change, {pp} · {sides[1]}",
        f"{title}, in {pp}{f', {pair}' if pair else ''}, with 95 % intervals",
        verdicts=_VERDICTS,
        rule=0,
    )
    columns = {
        "name": "of",
        "value": f"change, {pp}",
        "low": "95 % low",
        "high": "95 % high",
        "p": "p after Holm's correction",
        "verdict": "verdict",
    }
    text = f"Differences with 95 % intervals. {text}"
    return Group(title, [Chart(pair, spec, rows, order)], columns, text, _PAIR_LEGEND, "large")


def _harms(suite: str, results: Results) -> Iterator[Group]:
    """Yield a chart of the corruptions of a suite, the most harmful first."""
    rows_of_suite = results[results["suite"] == suite]
    found = harms_of(suite, rows_of_suite)
    if len(found) < 2:
        return
    metric = str(found["metric"].iloc[0])
    has_frames = display_family(suite).has_frames
    clean = results[(results["suite"] == CLEAN) & (results["metric"] == "error_rate") & results["axis"].isna()]
    broken, reference = {}, None
    if not has_frames and len(clean):
        reference = float(clean["value"].iloc[0])
        broken = breaking_severities(rows_of_suite[rows_of_suite["metric"] == "error_rate"], reference).to_dict()
    ordered = found.sort_values("value", ascending=metric == "accuracy_auc", kind="stable").to_dict("records")
    rows = [
        {
            "name": words(row["corruption"]),
            "value": 100 * row["value"],
            "low": None if pd.isna(row["ci_low"]) else 100 * row["ci_low"],
            "high": None if pd.isna(row["ci_high"]) else 100 * row["ci_high"],
            "verdict": _RUN_VERDICTS[0 if row["corruption"] in broken else 1],
            "note": f"from severity {broken[row['corruption']]}" if row["corruption"] in broken else "",
        }
        for row in ordered
    ]
    kind = {"accuracy_auc": "Area under accuracy", "flip_rate": "Flip rate"}.get(metric, "Mean error")
    title = f"{kind} on {suite_words(suite)}"
    order = orders(suite, {words(row["corruption"]): row["corruption"] for row in ordered})
    line = "" if reference is None else " (dashed: clean images)"
    spec = dots(
        rows,
        next(iter(order.values())),
        f"{kind.lower()}, %{line}",
        f"{title} by corruption, with 95 % intervals",
        verdicts=_RUN_VERDICTS,
        rule=None if reference is None else 100 * reference,
    )
    columns = {
        "name": "of",
        "value": f"{kind.lower()}, %",
        "low": "95 % low",
        "high": "95 % high",
        "note": "accuracy below half of the clean accuracy",
    }
    text = (
        "Dots with 95 % intervals; filled dots break the model, from the severity on the right."
        if reference is not None
        else "Dots with 95 % intervals."
    )
    yield Group(
        title, [Chart("", spec, rows, order)], columns, text, _RUN_LEGEND if reference is not None else (), "large"
    )
