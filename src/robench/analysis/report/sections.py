"""Sections of the report by suite: functions of the results of comparable runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pandas as pd

from robench.analysis.comparison.compare import CELL
from robench.analysis.report.charts import Rows, dots, heat_map, lines
from robench.analysis.report.exits import exit_groups
from robench.analysis.report.ood import ood_groups
from robench.analysis.report.orders import orders
from robench.analysis.report.parts import Chart, Group, LegendEntry, Section, TextTable, model_legend
from robench.analysis.report.shape_bias import shape_bias_groups
from robench.analysis.report.size_selection import policies, static_comparison
from robench.analysis.report.words import suite_words, words
from robench.suites import (
    CLEAN,
    NETWORK,
    WORST,
    Family,
    attack_words,
    display_family,
    epsilon_text,
    families,
    lookup_suite,
)
from robench.types import Results

__all__ = ["suite_section"]

_AXES = {"strength": "strength", "scale": "scale", "area": "area covered"}
"""Axes of accuracy curves, with their titles."""
_LABEL_GAP = 0.14
"""Least distance of the labels of two curves, as a share of the vertical axis."""

GroupsOf: TypeAlias = Callable[[str, Results, pd.DataFrame, Sequence[str]], Iterator[Group]]


def suite_section(suite: str, results: Results, differences: pd.DataFrame, models: Sequence[str]) -> Section | None:
    """Return the section of a suite; None if it has nothing to show.

    Args:
        suite: Name of the suite.
        results: Results of comparable runs, with their clean images, as `suite_frame` returns them.
        differences: Tested differences of the runs, as `difference_rows` returns them; may be empty.
        models: Names of all models of the page, in the order of their colours.
    """
    shown = list(dict.fromkeys(results["model"]))
    groups = list(_FAMILIES.get(display_family(suite), _curves)(suite, results, differences, models))
    if not groups:
        return None
    seeds = results.groupby("model", sort=False)["seed"].first()
    notes = (
        [f"the seeds of the runs differ ({', '.join(f'{model}: {seed}' for model, seed in seeds.items())})"]
        if seeds.nunique() > 1
        else []
    )
    title = suite_words(suite) if set(shown) == set(models) else f"{suite_words(suite)}: {', '.join(shown)}"
    return Section(title, _contents(suite, results), groups, notes)


def _contents(suite: str, results: Results) -> str:
    """Return what the runs evaluated of a suite."""
    known = lookup_suite(suite)
    cells = results[(results["suite"] == suite) & (results["metric"] == "error_rate")]
    severities = sorted(cells["severity"].dropna().unique())
    if display_family(suite).has_frames or not severities:
        return "" if known is None else f"{known.summary[0].upper()}{known.summary[1:]}."
    first, last = int(severities[0]), int(severities[-1])
    is_range = len(severities) > 1 and len(severities) == last - first + 1
    levels = f"severities {first} to {last}" if is_range else f"severity {', '.join(map(str, severities))}"
    number, images = cells["corruption"].nunique(), int(cells["n"].max())
    return f"{_count(number, 'corruption')} at {levels}, {_count(images, 'image')}."


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _corruptions(suite: str, results: Results, differences: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    cells = _rows(results, suite, "error_rate")
    if cells:
        yield _error_maps(suite, cells, differences)
    ce = _rows(results, suite, "ce")
    if ce:
        baselines = " and ".join(dict.fromkeys(str(row["baseline"]) for row in ce))
        title = f"Corruption error (CE), % of {baselines}"
        yield _dots(title, suite, ce, models, f"CE, % of {baselines} (dashed: equal)", 100)
    curves = {
        words(name): [
            {**_point(row), "position": int(row["severity"]), "label": f"severity {row['severity']}"}
            for row in [*_rows(results, CLEAN, "error_rate"), *cells]
            if row["corruption"] in (CLEAN, name)
        ]
        for name in dict.fromkeys(row["corruption"] for row in cells)
    }
    yield from _multiples("Top-1 error by severity; severity 0 is clean", curves, models, "severity", "error, %")


def _error_maps(suite: str, cells: Sequence[Mapping[str, Any]], differences: pd.DataFrame) -> Group:
    """Return a heat map of each run, and one of the difference of each pair, all with the same rows."""
    shown = list(dict.fromkeys(row["model"] for row in cells))
    mean = (
        pd.DataFrame(cells)
        .groupby("corruption", sort=False)["value"]
        .mean()
        .sort_values(ascending=False, kind="stable")
    )
    order = orders(suite, {words(name): name for name in mean.index})
    names = next(iter(order.values()))
    charts = []
    for model in shown:
        rows = [
            {**_point(row), **_cell(row), "text": f"{100 * row['value']:.0f}"} for row in cells if row["model"] == model
        ]
        about = f"top-1 error by corruption and severity, %: {model}"
        charts.append(Chart(model, heat_map(rows, "severity", "top-1 error, %", about, order=names), rows, order))
    if len(differences):
        tested = differences[(differences["suite"] == suite) & (differences["level"] == CELL)]
        limit = max(5.0, 100 * float(tested["change"].abs().max())) if len(tested) else 0
        for (run, base), pair in tested.groupby(["run_model", "base_model"], sort=False):
            if {run, base} <= set(shown):
                title = f"{run} minus {base}"
                rows = [{**_change(row), **_cell(row), "model": title} for row in pair.to_dict("records")]
                about = f"change of the top-1 error by corruption and severity, pp: {title}"
                spec = heat_map(
                    rows, "severity", "change, pp", about, order=names, domain=(-limit, limit), is_change=True
                )
                charts.append(Chart(title, spec, rows, order))
    columns = {
        "model": "model",
        "name": "corruption",
        "position": "severity",
        "value": "top-1 error, % (change, pp)",
        "low": "95 % low",
        "high": "95 % high",
        "p": "p after Holm's correction",
    }
    text = "All error maps have the same scale." + (
        " In the map of changes, green is better and * is significant: p ≤ .05 after Holm's correction over the cells of a pair."
        if len(charts) > len(shown)
        else ""
    )
    return Group("Top-1 error by corruption and severity", charts, columns, text)


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": words(row["corruption"]), "position": int(row["severity"])}


def _change(row: Mapping[str, Any]) -> dict[str, Any]:
    is_significant = row["p_holm"] is not None and row["p_holm"] <= 0.05
    rounded = round(100 * row["change"]) + 0
    text = (f"{rounded:+d}".replace("-", "−") if rounded else "0") + "*" * is_significant
    ends = {name: None if pd.isna(row[f"ci_{name}"]) else 100 * row[f"ci_{name}"] for name in ("low", "high")}
    p = None if pd.isna(row["p_holm"]) else round(float(row["p_holm"]), 4)
    return {"value": 100 * row["change"], **ends, "text": text, "p": p}


def _dots(
    title: str, suite: str, rows: Sequence[Mapping[str, Any]], models: Sequence[str], x: str, rule: float | None = None
) -> Group:
    """Return a chart with a dot of each model for each corruption or perturbation."""
    points = [{**_point(row), "name": _at(row)} for row in rows]
    corruptions = {_at(row): str(row["corruption"]) for row in rows}
    mean = pd.DataFrame(points).groupby("name", sort=False)["value"].mean().sort_values(ascending=False, kind="stable")
    order = orders(suite, {name: corruptions[name] for name in mean.index})
    shown = [model for model in models if any(point["model"] == model for point in points)]
    spec = dots(points, next(iter(order.values())), x, f"{title}: {', '.join(shown)}", models=models, rule=rule)
    columns = {"model": "model", "name": "of", "value": x, "low": "95 % low", "high": "95 % high"}
    return Group(title, [Chart("", spec, points, order)], columns, "", _legend(models, points), "large")


def _multiples(
    title: str, curves: Mapping[str, list[dict[str, Any]]], models: Sequence[str], x: str, y: str, text: str = ""
) -> Iterator[Group]:
    """Yield a group of small charts with one vertical axis, if they have more than one position."""
    curves = {name: rows for name, rows in curves.items() if len({row["position"] for row in rows}) > 1}
    if not curves:
        return
    values = [row.get("high") or row["value"] for rows in curves.values() for row in rows]
    top = min(100, max(10, 10 * math.ceil(max(values) / 10)))
    charts = []
    for name, rows in curves.items():
        _label_ends(rows, models, top)
        spec = lines(rows, models, x, y, f"{title}: {name}", domain=(0, top))
        charts.append(Chart(name, spec, [{**row, "name": name} for row in rows]))
    legend = _legend(models, [row for rows in curves.values() for row in rows])
    columns = {"name": "of", "model": "model", "position": x, "value": y, "low": "95 % low", "high": "95 % high"}
    yield Group(title, charts, columns, text, legend, "small")


def _label_ends(rows: list[dict[str, Any]], models: Sequence[str], top: float) -> None:
    """Give the last row of each model its short name, at a height where no two names overlap; not to one or many models."""
    last = {row["model"]: row for row in sorted(rows, key=lambda row: row["position"])}
    if not 2 <= len(last) <= 1 / _LABEL_GAP:
        return
    short = dict(zip(models, _short_names(models), strict=True))
    gap, height = _LABEL_GAP * top, -math.inf
    ends = sorted(last.values(), key=lambda row: float(row["value"]))
    for row in ends:
        height = max(row["value"], height + gap)
        row.update(end=short[row["model"]], end_y=height)
    height = top + gap
    for row in reversed(ends):
        height = row["end_y"] = min(row["end_y"], height - gap)


def _short_names(models: Sequence[str]) -> list[str]:
    """Return the names without their common beginning, up to a separator, and at most 12 characters."""
    shared = 0
    for index, characters in enumerate(zip(*models, strict=False)):
        if len(set(characters)) > 1:
            break
        if characters[0] in "_- /":
            shared = index + 1
    return [name if len(name) <= 12 else f"{name[:11]}…" for name in (model[shared:] for model in models)]


def _sequences(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    if flips := _rows(results, suite, "flip_rate"):
        yield _dots("Predictions that flip from frame to frame", suite, flips, models, "flip rate, %")
    if divided := _rows(results, suite, "fr"):
        title = "Flip rate divided by the baseline's (FR)"
        yield _dots(title, suite, divided, models, "FR, % of the baseline (dashed: equal)", 100)


def _shift(suite: str, results: Results, differences: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    if pairs := [row for row in _rows(results, suite, "consistency") if pd.isna(row["axis"])]:
        yield _dots("Pairs of shifted images with the same prediction", suite, pairs, models, "consistency, %")
    charts = []
    cells = [row for row in _rows(results, suite, "accuracy") if not pd.isna(row["dx"])]
    domain = (100 * min(row["value"] for row in cells), 100 * max(row["value"] for row in cells)) if cells else (0, 0)
    for model in dict.fromkeys(row["model"] for row in cells):
        rows = [{**_point(row), "name": row["dy"], "position": row["dx"]} for row in cells if row["model"] == model]
        about = f"accuracy by offset of the crop, %: {model}"
        ends = (domain[0], domain[1] + 0.1 * (domain[0] == domain[1]))
        spec = heat_map(rows, "px to the right", "accuracy, %", about, y="px down", domain=ends)
        charts.append(Chart(model, spec, rows))
    if charts:
        columns = {"model": "model", "name": "px down", "position": "px to the right", "value": "accuracy, %"}
        columns |= {"low": "95 % low", "high": "95 % high"}
        yield Group("Accuracy by offset of the crop", charts, columns, "All maps have the same scale.")
    yield from _curves(suite, results, differences, models)


def _curves(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    """Yield accuracy along each axis, a chart for each perturbation."""
    cells = _rows(results, suite, "accuracy")
    for axis, title in _AXES.items():
        along = [row for row in cells if row["axis"] == axis]
        curves: dict[str, list[dict[str, Any]]] = {}
        for row in along:
            point = {**_point(row), "position": row["axis_value"], "label": f"{axis} {row['axis_value']:g}"}
            curves.setdefault(words(row["corruption"]), []).append(point)
        yield from _multiples(f"Accuracy by {title}", curves, models, title, "accuracy, %")


def _resolution(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    cost = {(row["model"], row["resolution"]): row["value"] for row in _rows(results, suite, "gflops")}
    sizes, costs = [], []
    for row in _rows(results, suite, "accuracy"):
        if row["corruption"] == NETWORK:
            point, label = _point(row), f"{row['resolution']} px"
            sizes.append({**point, "label": label, "position": int(row["resolution"])})
            if (gflops := cost.get((row["model"], row["resolution"]))) is not None:
                costs.append({**point, "label": f"{label}, {gflops:.3g} GFLOPs", "position": gflops})
    information = [
        {**_point(row), "position": row["axis_value"], "label": f"{row['axis_value']:g} px"}
        for row in _rows(results, suite, "accuracy")
        if row["axis"] == "information"
    ]
    for title, rows, x in (
        ("Accuracy of the network at other input sizes", sizes, "px"),
        ("Accuracy by cost", costs, "GFLOPs per image"),
        ("Accuracy with the information of smaller images", information, "px"),
    ):
        if rows:
            yield _one(title, lines(rows, models, x, "accuracy, %", title, height=240), rows, x, _legend(models, rows))
    shown = list(dict.fromkeys(results["model"]))
    for model in shown:
        group = _size_selection(suite, results[results["model"] == model], model if len(shown) > 1 else "")
        if group is not None:
            yield group


def _size_selection(suite: str, results: Results, model: str) -> Group | None:
    """Return the accuracy of policies that choose an input size for each image, and of a fixed size."""
    of_suite = results[results["suite"] == suite].to_dict("records")
    rows = [
        {**_point(row), "model": policy, "label": f"{label}, {cost:.3g} GFLOPs", "position": cost}
        for policy, label, cost, row in policies(of_suite)
    ]
    names = list(dict.fromkeys(str(row["model"]) for row in rows))
    if len(names) < 2:
        return None
    title = f"Accuracy by cost, an input size for each image{f': {model}' if model else ''}"
    x = "GFLOPs per image (2 are 1 GMAC), logarithmic"
    spec = lines(rows, names, x, "accuracy, %", title, height=300, domain=None, is_log=True)
    heading = ("Sizes", "Policy", "Accuracy at the cost of the model's own input size, %", "GFLOPs for its accuracy")
    comparison = static_comparison(of_suite)
    below = TextTable(heading, comparison, 2) if comparison else None
    return _one(title, spec, rows, "GFLOPs", model_legend(names), below)


def _adversarial(suite: str, results: Results, _: pd.DataFrame, models: Sequence[str]) -> Iterator[Group]:
    """Yield the accuracy by radius after all attacks, with a table of the accuracy after each, for each norm."""
    cells = [row for row in _rows(results, suite, "accuracy") if row["axis"] == "epsilon"]
    clean = [row for row in _rows(results, CLEAN, "accuracy") if pd.isna(row["axis"])]
    for norm in dict.fromkeys(row["corruption"] for row in cells):
        of_norm = [row for row in cells if row["corruption"] == norm]
        unit = 255 if norm == "linf" else 1
        points = [{**_point(row), "label": "clean", "position": 0.0} for row in clean]
        points += [
            {**_point(row), "label": epsilon_text(row["axis_value"]), "position": unit * row["axis_value"]}
            for row in of_norm
            if row["method"] == WORST and row["axis_value"]
        ]
        title, x = f"Accuracy under attack, {norm}", "radius, 1/255" if unit > 1 else "radius"
        radii = list(dict.fromkeys(row["axis_value"] for row in of_norm))
        shares = {(row["model"], row["method"], row["axis_value"]): f"{100 * row['value']:.1f}" for row in of_norm}
        table = TextTable(
            ["model", "after", *(f"{epsilon_text(radius)}, %" for radius in radii)],
            [
                [str(model), str(method), *(shares.get((model, method, radius), "") for radius in radii)]
                for model, method in dict.fromkeys((row["model"], row["method"]) for row in of_norm)
            ],
            len(radii),
        )
        spec = lines(points, models, x, "accuracy, %", title, height=240)
        group = _one(title, spec, points, x, _legend(models, points), table)
        yield replace(
            group,
            text=f"Upper bounds on robust accuracy ({attack_words(of_norm[0]['protocol'])}): other attacks may break more images. "
            "A row of an attack counts those before it too; the last one also counts smaller radii.",
        )


def _one(
    title: str,
    spec: dict[str, Any],
    rows: Rows,
    x: str,
    legend: Sequence[LegendEntry],
    below: TextTable | None = None,
) -> Group:
    columns = {
        "model": "model",
        "label": "at",
        "position": x,
        "value": "accuracy, %",
        "low": "95 % low",
        "high": "95 % high",
    }
    return Group(title, [Chart("", spec, rows)], columns, "", legend, "large", below)


_FAMILIES: dict[Family, GroupsOf] = {
    families.CORRUPTIONS: _corruptions,
    families.OWN: _corruptions,
    families.OOD: ood_groups,
    families.ADVERSARIAL: _adversarial,
    families.CUE_CONFLICT: shape_bias_groups,
    families.SEQUENCES: _sequences,
    families.SHIFT: _shift,
    families.RESOLUTION: _resolution,
    families.EXITS: exit_groups,
}
"""Functions that draw the suites of a family; other families are curves along their axis."""


def _legend(models: Sequence[str], rows: Rows) -> list[LegendEntry]:
    shown = {row["model"] for row in rows}
    return model_legend([model if model in shown else "" for model in models])


def _rows(results: Results, suite: str, metric: str) -> list[dict[str, Any]]:
    """Return the rows of a metric that belong to a corruption or perturbation."""
    of_metric = (results["suite"] == suite) & (results["metric"] == metric) & results["corruption"].notna()
    selected: list[dict[str, Any]] = results[of_metric].to_dict("records")
    return selected


def _at(row: Mapping[str, Any]) -> str:
    """Return the name of a perturbation, with its difficulty unless that is 1."""
    name = words(str(row["corruption"]))
    return name if pd.isna(row["axis_value"]) or row["axis_value"] == 1 else f"{name}, difficulty {row['axis_value']:g}"


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model of a row, and its value and interval in percent."""
    factor = 100 if row["unit"] == "fraction" else 1
    ends = {
        name: None if pd.isna(row[column]) else factor * float(row[column])
        for name, column in (("low", "ci_low"), ("high", "ci_high"))
    }
    return {"model": row["model"], "value": factor * float(row["value"]), **ends}
