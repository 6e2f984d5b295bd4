"""Sections of the report: the results of the runs by suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robench.analysis.comparison import HEADLINE_METRICS
from robench.analysis.formatting import format_value
from robench.analysis.metrics.calibration import Reliability
from robench.analysis.report.charts import Rows, bars, grid_map, heat_map, lines, reliability
from robench.analysis.report.grouping import ReportedRun, comparable_groups
from robench.analysis.report.size_selection import policies, static_comparison
from robench.analysis.scoring.records import read_columns
from robench.suites import CLEAN, NETWORK, Family, display_family, families, lookup_suite

__all__ = ["Chart", "Section", "TextTable", "headlines", "sections"]


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        heading: The column headings.
        rows: The cells.
        numbers: Number of last columns that hold numbers and are aligned to the right.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: Title above the chart.
        spec: Vega-Lite specification.
        table: The data as text.
        row: Row of the page; charts with equal numbers share one.
        small: Whether a phone has room for two such charts in a row.
        wide: Whether the chart fills a row of the page.
        below: Table below the chart; None for none.
    """

    title: str
    spec: dict[str, Any]
    table: TextTable
    row: int = 0
    small: bool = False
    wide: bool = False
    below: TextTable | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()

    @property
    def rows(self) -> list[list[Chart]]:
        """The charts by row of the page."""
        return [
            [chart for chart in self.charts if chart.row == row]
            for row in dict.fromkeys(chart.row for chart in self.charts)
        ]


_HEADLINES = ("accuracy", "mean_error", "mce", "relative_mce", *HEADLINE_METRICS[2:], "ece")
_NBSP = "\N{NO-BREAK SPACE}"
_AXES = {"strength": "strength", "scale": "scale", "area": "area covered"}
"""Axes of accuracy curves, with their titles."""


def headlines(subjects: Sequence[ReportedRun]) -> TextTable:
    """Return the headline metrics: a row for each metric, a column for each model."""
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for subject in subjects:
        rows = subject.results
        selected = rows[rows["metric"].isin(_HEADLINES) & ~rows["axis"].isin(["frame", *_AXES])]
        for row in selected.to_dict("records"):
            name = row["corruption"]
            if row["suite"] == CLEAN:
                name = f"at {row['resolution']} px"
            elif pd.isna(name):
                name = ""
            elif row["metric"] != "consistency":
                continue
            if not pd.isna(row["axis"]):
                name = f"{name} {row['axis']} {row['axis_value']:g}".strip()
            divided = f" by {row['baseline']}" if isinstance(row["baseline"], str) else ""
            key = (str(row["suite"]), f"{row['metric']}{divided}", name)
            low, high = (format_value(_number(row[end]), row["unit"]) for end in ("ci_low", "ci_high"))
            # On a phone the line breaks only before the interval.
            ends = (
                f" [{low.removesuffix(' %')}, {high}]".replace(" ", _NBSP).replace(_NBSP, " ", 1)
                if low and high
                else ""
            )
            cells.setdefault(key, {})[subject.label] = format_value(float(row["value"]), row["unit"]) + ends
    heading = ("metric", *(subject.label for subject in subjects))
    suites = list(dict.fromkeys(suite for suite, _, _ in cells))
    order = sorted(cells, key=lambda key: (suites.index(key[0]), _HEADLINES.index(key[1].split(" by ")[0])))
    rows = [[_metric_name(*key), *(cells[key].get(subject.label, "") for subject in subjects)] for key in order]
    return TextTable(heading, rows, len(subjects))


def _metric_name(suite: str, metric: str, cell: str) -> str:
    return f"{suite} {metric}, {cell}" if cell else f"{suite} {metric}"


def sections(subjects: Sequence[ReportedRun]) -> Iterator[Section]:
    """Yield a section for each suite of the runs, and one for calibration."""
    names = [name for subject in subjects for name in dict.fromkeys(subject.results["suite"]) if name != CLEAN]
    for suite in dict.fromkeys(names):
        groups = comparable_groups(suite, subjects)
        for group in groups:
            labels = [subject.label for subject in subjects]
            charts = list(_FAMILIES.get(display_family(suite), _curves)(suite, group, labels))
            if charts:
                known = lookup_suite(suite)
                title = suite if len(groups) == 1 else f"{suite}: {', '.join(subject.label for subject in group)}"
                yield Section(title, known.summary if known is not None else "", charts, notes=_seed_notes(group))
    if charts := list(_calibration(subjects)):
        yield Section(
            "calibration",
            "accuracy by confidence in fifteen bins of equal width; the area of a dot shows the number of predictions",
            charts,
        )


def _seed_notes(subjects: Sequence[ReportedRun]) -> list[str]:
    seeds = {subject.label: str(subject.results["seed"].iloc[0]) for subject in subjects}
    if len(set(seeds.values())) < 2:
        return []
    return [f"the seeds of the runs differ ({', '.join(f'{label}: {seed}' for label, seed in seeds.items())})"]


def _corruptions(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    for subject in subjects:
        cells = _rows(subject, suite, "error_rate")
        rows = [{"name": row["corruption"], "position": int(row["severity"]), **_percent(row)} for row in cells]
        if rows:
            title = f"top-1 error by corruption and severity, %: {subject.label}"
            yield Chart(title, heat_map(rows, "severity", title), _table(rows, "corruption", "severity"))
    several = [row for subject in subjects for row in _rows(subject, suite, "ce")]
    if several:
        rows = [
            {"model": subject.label, "name": row["corruption"], **_percent(row)}
            for subject in subjects
            for row in _rows(subject, suite, "ce")
        ]
        baselines = " and ".join(dict.fromkeys(str(row["baseline"]) for row in several))
        title = f"corruption error, % of {baselines}"
        spec = bars(rows, models, f"CE, % of {baselines} (dashed: equal)", title, rule=100)
        yield Chart(title, spec, _table(rows, "corruption"))
    for name in _names(subjects, suite, "error_rate"):
        rows = [
            {
                "model": subject.label,
                "position": int(row["severity"]),
                "label": f"severity {row['severity']}",
                **_percent(row),
            }
            for subject in subjects
            for row in [*_clean(subject, suite), *_rows(subject, suite, "error_rate")]
            if row["corruption"] in (CLEAN, name)
        ]
        if len({row["position"] for row in rows}) > 1:
            spec = lines(rows, models, "severity", "error, %", f"top-1 error by severity: {name}")
            yield Chart(name, spec, _table(rows, "", "severity"), row=1, small=True)


def _clean(subject: ReportedRun, suite: str) -> list[dict[str, Any]]:
    """Return the error of the clean images of a suite as severity 0; nothing if it is unknown."""
    if subject.run is None:
        return []
    names = {condition.clean for condition in subject.run.conditions if condition.suite == suite}
    protocols = [condition.protocol for condition in subject.run.conditions if condition.name in names]
    return [row for row in _rows(subject, CLEAN, "error_rate") if row["protocol"] in protocols][:1]


def _sequences(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    for metric, x in (("flip_rate", "flip rate, %"), ("fr", "FR, % of the baseline (dashed: equal)")):
        rows = [
            {"model": subject.label, "name": _at(row), **_percent(row)}
            for subject in subjects
            for row in _rows(subject, suite, metric)
        ]
        if rows:
            title = (
                "predictions that flip from frame to frame"
                if metric == "flip_rate"
                else "flip rate divided by the baseline's"
            )
            yield Chart(
                title, bars(rows, models, x, title, rule=100 if metric == "fr" else None), _table(rows, "perturbation")
            )


def _shift(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    rows = [
        {"model": subject.label, "name": row["corruption"], **_percent(row)}
        for subject in subjects
        for row in _rows(subject, suite, "consistency")
        if pd.isna(row["axis"])
    ]
    if rows:
        title = "pairs of shifted images with the same prediction"
        yield Chart(title, bars(rows, models, "consistency, %", title), _table(rows, "shift"))
    for subject in subjects:
        cells = [row for row in _rows(subject, suite, "accuracy") if not pd.isna(row["dx"])]
        rows = [{"down": row["dy"], "right": row["dx"], **_percent(row)} for row in cells]
        if rows:
            title = f"accuracy by offset of the crop, %: {subject.label}"
            yield Chart(title, grid_map(rows, title), _table(rows, "", "down", "right"))
    yield from _curves(suite, subjects, models)


def _curves(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    """Yield accuracy along an axis, a chart for each perturbation."""
    for name in _names(subjects, suite, "accuracy"):
        for axis, axis_title in _AXES.items():
            rows = [
                {
                    "model": subject.label,
                    "position": row["axis_value"],
                    "label": f"{axis} {row['axis_value']:g}",
                    **_percent(row),
                }
                for subject in subjects
                for row in _rows(subject, suite, "accuracy")
                if row["corruption"] == name and row["axis"] == axis
            ]
            if rows:
                yield Chart(
                    name,
                    lines(rows, models, axis_title, "accuracy, %", f"accuracy by {axis_title}: {name}"),
                    _table(rows, "", axis_title),
                    row=1,
                    small=True,
                )


def _resolution(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    sizes: list[dict[str, Any]] = []
    costs: list[dict[str, Any]] = []
    for subject in subjects:
        cost = {row["resolution"]: row["value"] for row in _rows(subject, suite, "gflops")}
        for row in _rows(subject, suite, "accuracy"):
            if row["corruption"] == NETWORK:
                point, label = {"model": subject.label, **_percent(row)}, f"{row['resolution']} px"
                sizes.append({**point, "label": label, "position": int(row["resolution"])})
                if (gflops := cost.get(row["resolution"])) is not None:
                    costs.append({**point, "label": f"{label}, {gflops:.3g} GFLOPs", "position": gflops})
    if sizes:
        title = "accuracy of the network at other input sizes"
        yield Chart(title, lines(sizes, models, "px", "accuracy, %", title, size=220), _table(sizes, "", "px"))
    if costs:
        title = "accuracy by cost"
        spec = lines(costs, models, "GFLOPs per image", "accuracy, %", title, size=220)
        yield Chart(title, spec, _table(costs, "", "GFLOPs"))
    for subject in subjects:
        yield from _size_selection(suite, subject, len(models) > 1)
    rows = [
        {"model": subject.label, "position": row["axis_value"], "label": f"{row['axis_value']:g} px", **_percent(row)}
        for subject in subjects
        for row in _rows(subject, suite, "accuracy")
        if row["axis"] == "information"
    ]
    if rows:
        title = "accuracy with the information of smaller images"
        yield Chart(title, lines(rows, models, "px", "accuracy, %", title, size=220), _table(rows, "", "px"))


def _size_selection(suite: str, subject: ReportedRun, several: bool) -> Iterator[Chart]:
    """Yield the accuracy of policies that choose an input size for each image, and of a fixed size."""
    of_suite = subject.results[subject.results["suite"] == suite].to_dict("records")
    rows = [
        {"model": policy, "label": f"{label}, {cost:.3g} GFLOPs", "position": cost, **_percent(row)}
        for policy, label, cost, row in policies(of_suite)
    ]
    names = list(dict.fromkeys(str(row["model"]) for row in rows))
    if len(names) < 2:
        return
    title = f"accuracy by cost, an input size for each image{f': {subject.label}' if several else ''}"
    comparison = static_comparison(of_suite)
    heading = ("sizes", "policy", "accuracy at the cost of the model's own input size, %", "GFLOPs for its accuracy")
    yield Chart(
        title,
        lines(
            rows, names, "GFLOPs per image (2 are 1 GMAC), logarithmic", "accuracy, %", title, size=300, policies=True
        ),
        _table(rows, "", "GFLOPs"),
        row=1,
        wide=True,
        below=TextTable(heading, comparison, 2) if comparison else None,
    )


_FAMILIES: dict[Family, Callable[[str, Sequence[ReportedRun], Sequence[str]], Iterator[Chart]]] = {
    families.CORRUPTIONS: _corruptions,
    families.OWN: _corruptions,
    families.SEQUENCES: _sequences,
    families.SHIFT: _shift,
    families.RESOLUTION: _resolution,
}
"""Functions that draw the suites of a family; other families are curves along their axis."""


def _calibration(subjects: Sequence[ReportedRun]) -> Iterator[Chart]:
    """Yield the reliability of clean and of corrupted images, a chart for each group of comparable runs."""
    models = [subject.label for subject in subjects]
    finished = [condition for subject in subjects if subject.run for condition in subject.run.finished()]
    suites = dict.fromkeys(condition.suite for condition in finished if not display_family(condition.suite).has_frames)
    for suite in suites:
        groups = comparable_groups(suite, subjects)
        for group in groups:
            rows = [row for subject in group for row in _bins(subject, suite)]
            if not rows:
                continue
            title = "clean images" if suite == CLEAN else f"{suite}, all cells"
            title += f": {', '.join(subject.label for subject in group)}" if len(groups) > 1 else ""
            cells = [
                [str(row["model"]), f"{row['position']:.1f}", f"{row['value']:.1f}", f"{row['samples']:,}"]
                for row in rows
            ]
            table = TextTable(("model", "confidence, %", "accuracy, %", "predictions"), cells, 3)
            yield Chart(title, reliability(rows, models, f"reliability: {title}"), table)


def _bins(subject: ReportedRun, suite: str) -> Iterator[dict[str, Any]]:
    run = subject.run
    conditions = [] if run is None else [condition for condition in run.finished() if condition.suite == suite]
    if run is None or not conditions:
        return
    records = pd.concat([read_columns(run, condition, ("label", "pred", "confidence")) for condition in conditions])
    for size, confidence, accuracy in Reliability.of(records["confidence"], records["pred"] == records["label"]).bins():
        if size:
            yield {"model": subject.label, "position": 100 * confidence, "value": 100 * accuracy, "samples": size}


def _rows(subject: ReportedRun, suite: str, metric: str) -> list[dict[str, Any]]:
    """Return the rows of a metric that belong to a corruption or perturbation."""
    rows = subject.results
    selected: list[dict[str, Any]] = rows[
        (rows["suite"] == suite) & (rows["metric"] == metric) & rows["corruption"].notna()
    ].to_dict("records")
    return selected


def _names(subjects: Sequence[ReportedRun], suite: str, metric: str) -> list[str]:
    return list(dict.fromkeys(str(row["corruption"]) for subject in subjects for row in _rows(subject, suite, metric)))


def _at(row: dict[str, Any]) -> str:
    """Return the name of a perturbation, with its difficulty unless that is 1."""
    return (
        str(row["corruption"])
        if row["axis_value"] in (1, None)
        else f"{row['corruption']}, difficulty {row['axis_value']:g}"
    )


def _percent(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return value, low and high in percent; None for a missing end."""
    factor = 100 if row["unit"] == "fraction" else 1
    ends = {
        name: None if pd.isna(row[column]) else factor * float(row[column])
        for name, column in (("low", "ci_low"), ("high", "ci_high"))
    }
    return {"value": factor * float(row["value"]), **ends}


def _number(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _table(rows: Rows, name: str, *axes: str) -> TextTable:
    """Return the data of a chart as text: model, name, positions on the axes, value and interval."""
    keys = [key for key in ("model", "name") if key in rows[0]]
    keys += [key for key in ("position", "down", "right") if key in rows[0]]
    heading = [key if key == "model" else name if key == "name" else "" for key in keys]
    positions = [index for index, key in enumerate(keys) if key in ("position", "down", "right")]
    for index, axis in zip(positions, axes, strict=False):
        heading[index] = axis
    cells = []
    for row in rows:
        ends = "" if row.get("low") is None else f"{row['low']:.2f} to {row['high']:.2f}"
        cells.append([*(_text(row[key]) for key in keys), f"{row['value']:.2f}", ends])
    return TextTable(
        [*heading, "%", "95 % interval"], cells, 2 + len([key for key in keys if key not in ("model", "name")])
    )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
