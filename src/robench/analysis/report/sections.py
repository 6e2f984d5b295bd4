"""Which figures stand in which part of the page: the results of the runs, cut by suite. Nothing is computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robench.analysis.comparison import HEADLINE_METRICS
from robench.analysis.gate.formats import format_value
from robench.analysis.metrics.calibration import Reliability
from robench.analysis.report.charts import Rows, bars, grid_map, heat_map, lines, reliability
from robench.analysis.report.grouping import ReportedRun, comparable_groups
from robench.analysis.report.size_selection import policies, static_comparison
from robench.analysis.scoring.records import read_columns
from robench.suites import CLEAN, NETWORK, Family, display_family, families, lookup_suite

__all__ = ["Chart", "Section", "TextTable", "headlines", "sections"]


@dataclass(frozen=True)
class TextTable:
    """A table of text: its heading, then its rows.  numbers: how many of the last columns hold figures, which stand to the right."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0


@dataclass(frozen=True)
class Chart:
    """A plot. title: what stands above it.  table: what is drawn, for those who do not see it.  row: plots of one row of the page.
    small: whether a telephone has room for two beside each other.  wide: whether it has a row of the page to itself.
    below: figures that are read from it."""

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
        """The plots as they stand beside each other."""
        return [
            [chart for chart in self.charts if chart.row == row] for row in dict.fromkeys(c.row for c in self.charts)
        ]


_HEADLINES = ("accuracy", "mean_error", "mce", "relative_mce", *HEADLINE_METRICS[2:], "ece")
_FIXED = "\N{NO-BREAK SPACE}"
_PLACED = {"strength": "strength", "scale": "scale", "area": "area covered"}
"""Axes along which accuracy is a curve, and how they are called."""


def headlines(subjects: Sequence[ReportedRun]) -> TextTable:
    """What every suite is summed up by: a figure a row, a model a column."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for subject in subjects:
        rows = subject.results
        wanted = rows[rows["metric"].isin(_HEADLINES) & ~rows["axis"].isin(["frame", *_PLACED])]
        for row in wanted.to_dict("records"):
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
            # On a telephone the interval stands whole below its figure.
            ends = (
                f" [{low.removesuffix(' %')}, {high}]".replace(" ", _FIXED).replace(_FIXED, " ", 1)
                if low and high
                else ""
            )
            found.setdefault(key, {})[subject.label] = format_value(float(row["value"]), row["unit"]) + ends
    heading = ("figure", *(subject.label for subject in subjects))
    suites = list(dict.fromkeys(suite for suite, _, _ in found))
    order = sorted(found, key=lambda key: (suites.index(key[0]), _HEADLINES.index(key[1].split(" by ")[0])))
    rows = [[_named(*key), *(found[key].get(one.label, "") for one in subjects)] for key in order]
    return TextTable(heading, rows, len(subjects))


def _named(suite: str, figure: str, of: str) -> str:
    return f"{suite} {figure}, {of}" if of else f"{suite} {figure}"


def sections(subjects: Sequence[ReportedRun]) -> Iterator[Section]:
    """Yield the parts of the page that the runs have figures for."""
    names = [name for subject in subjects for name in dict.fromkeys(subject.results["suite"]) if name != CLEAN]
    for suite in dict.fromkeys(names):
        groups = comparable_groups(suite, subjects)
        for group in groups:
            labels = [one.label for one in subjects]
            charts = list(_FAMILIES.get(display_family(suite), _curves)(suite, group, labels))
            if charts:
                known = lookup_suite(suite)
                title = suite if len(groups) == 1 else f"{suite}: {', '.join(one.label for one in group)}"
                yield Section(title, known.summary if known is not None else "", charts, notes=_other_seeds(group))
    if charts := list(_calibration(subjects)):
        yield Section(
            "calibration",
            "how often predictions of a confidence are right, in fifteen bins of equal width; dots are as large as their bins",
            charts,
        )


def _other_seeds(subjects: Sequence[ReportedRun]) -> list[str]:
    seeds = {one.label: str(one.results["seed"].iloc[0]) for one in subjects}
    if len(set(seeds.values())) < 2:
        return []
    return [f"the runs have other seeds ({', '.join(f'{label}: {seed}' for label, seed in seeds.items())})"]


def _corruptions(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    for subject in subjects:
        cells = _rows(subject, suite, "error_rate")
        rows = [{"name": row["corruption"], "place": int(row["severity"]), **_percent(row)} for row in cells]
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
                "place": int(row["severity"]),
                "label": f"severity {row['severity']}",
                **_percent(row),
            }
            for subject in subjects
            for row in [*_clean(subject, suite), *_rows(subject, suite, "error_rate")]
            if row["corruption"] in (CLEAN, name)
        ]
        if len({row["place"] for row in rows}) > 1:
            spec = lines(rows, models, "severity", "error, %", f"top-1 error by severity: {name}")
            yield Chart(name, spec, _table(rows, "", "severity"), row=1, small=True)


def _clean(subject: ReportedRun, suite: str) -> list[dict[str, Any]]:
    """The error of the unperturbed images that a suite's are made of, severity 0; none where that is not known."""
    if subject.run is None:
        return []
    names = {one.clean for one in subject.run.conditions if one.suite == suite}
    protocols = [one.protocol for one in subject.run.conditions if one.name in names]
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
                "predictions that flip from frame to frame" if metric == "flip_rate" else "flip rate by the baseline's"
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
        places = [row for row in _rows(subject, suite, "accuracy") if not pd.isna(row["dx"])]
        rows = [{"down": row["dy"], "right": row["dx"], **_percent(row)} for row in places]
        if rows:
            title = f"accuracy by the place of the crop, %: {subject.label}"
            yield Chart(title, grid_map(rows, title), _table(rows, "", "down", "right"))
    yield from _curves(suite, subjects, models)


def _curves(suite: str, subjects: Sequence[ReportedRun], models: Sequence[str]) -> Iterator[Chart]:
    """Accuracy along an axis, a plot for each perturbation."""
    for name in _names(subjects, suite, "accuracy"):
        for axis, called in _PLACED.items():
            rows = [
                {
                    "model": subject.label,
                    "place": row["axis_value"],
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
                    lines(rows, models, called, "accuracy, %", f"accuracy by {called}: {name}"),
                    _table(rows, "", called),
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
                one, told = {"model": subject.label, **_percent(row)}, f"{row['resolution']} px"
                sizes.append({**one, "label": told, "place": int(row["resolution"])})
                if (paid := cost.get(row["resolution"])) is not None:
                    costs.append({**one, "label": f"{told}, {paid:.3g} GFLOPs", "place": paid})
    if sizes:
        title = "accuracy of the network run at other sizes"
        yield Chart(title, lines(sizes, models, "px", "accuracy, %", title, size=220), _table(sizes, "", "px"))
    if costs:
        title = "accuracy by cost"
        spec = lines(costs, models, "GFLOPs an image", "accuracy, %", title, size=220)
        yield Chart(title, spec, _table(costs, "", "GFLOPs"))
    for subject in subjects:
        yield from _choices(suite, subject, len(models) > 1)
    rows = [
        {"model": subject.label, "place": row["axis_value"], "label": f"{row['axis_value']:g} px", **_percent(row)}
        for subject in subjects
        for row in _rows(subject, suite, "accuracy")
        if row["axis"] == "information"
    ]
    if rows:
        title = "accuracy with the information of smaller images"
        yield Chart(title, lines(rows, models, "px", "accuracy, %", title, size=220), _table(rows, "", "px"))


def _choices(suite: str, subject: ReportedRun, several: bool) -> Iterator[Chart]:
    """A plot of a model: what choosing the size of every image could reach, and what one size does."""
    of_suite = subject.results[subject.results["suite"] == suite].to_dict("records")
    rows = [
        {"model": way, "label": f"{told}, {cost:.3g} GFLOPs", "place": cost, **_percent(row)}
        for way, told, cost, row in policies(of_suite)
    ]
    names = list(dict.fromkeys(str(row["model"]) for row in rows))
    if len(names) < 2:
        return
    title = f"accuracy by cost, a size chosen for every image{f': {subject.label}' if several else ''}"
    told = static_comparison(of_suite)
    heading = ("sizes", "chosen by", "accuracy at the cost of the model's own input, %", "GFLOPs for its accuracy")
    yield Chart(
        title,
        lines(rows, names, "GFLOPs an image (2 are 1 GMAC), logarithmic", "accuracy, %", title, size=300, ways=True),
        _table(rows, "", "GFLOPs"),
        row=1,
        wide=True,
        below=TextTable(heading, told, 2) if told else None,
    )


_FAMILIES: dict[Family, Callable[[str, Sequence[ReportedRun], Sequence[str]], Iterator[Chart]]] = {
    families.CORRUPTIONS: _corruptions,
    families.SEQUENCES: _sequences,
    families.SHIFT: _shift,
    families.RESOLUTION: _resolution,
}
"""What the suites of a family are drawn by; others are curves along their axis."""


def _calibration(subjects: Sequence[ReportedRun]) -> Iterator[Chart]:
    """The reliability of clean and of corrupted images, from the records; a plot for runs that compare."""
    models = [subject.label for subject in subjects]
    finished = [one for subject in subjects if subject.run is not None for one in subject.run.finished()]
    suites = dict.fromkeys(one.suite for one in finished if not display_family(one.suite).has_frames)
    for suite in suites:
        groups = comparable_groups(suite, subjects)
        for group in groups:
            rows = [row for subject in group for row in _bins(subject, suite)]
            if not rows:
                continue
            title = "clean images" if suite == CLEAN else f"{suite}, all cells"
            title += f": {', '.join(one.label for one in group)}" if len(groups) > 1 else ""
            told = [
                [str(row["model"]), f"{row['place']:.1f}", f"{row['value']:.1f}", f"{row['samples']:,}"] for row in rows
            ]
            table = TextTable(("model", "confidence, %", "accuracy, %", "predictions"), told, 3)
            yield Chart(title, reliability(rows, models, f"reliability: {title}"), table)


def _bins(subject: ReportedRun, suite: str) -> Iterator[dict[str, Any]]:
    run = subject.run
    conditions = [] if run is None else [one for one in run.finished() if one.suite == suite]
    if run is None or not conditions:
        return
    records = pd.concat([read_columns(run, one, ("label", "pred", "confidence")) for one in conditions])
    for size, confidence, accuracy in Reliability.of(records["confidence"], records["pred"] == records["label"]).bins():
        if size:
            yield {"model": subject.label, "place": 100 * confidence, "value": 100 * accuracy, "samples": size}


def _rows(subject: ReportedRun, suite: str, metric: str) -> list[dict[str, Any]]:
    """Rows of the results that are of a corruption or perturbation."""
    rows = subject.results
    found: list[dict[str, Any]] = rows[
        (rows["suite"] == suite) & (rows["metric"] == metric) & rows["corruption"].notna()
    ].to_dict("records")
    return found


def _names(subjects: Sequence[ReportedRun], suite: str, metric: str) -> list[str]:
    return list(dict.fromkeys(str(row["corruption"]) for one in subjects for row in _rows(one, suite, metric)))


def _at(row: dict[str, Any]) -> str:
    """A perturbation, with its difficulty where that is not the first."""
    return (
        str(row["corruption"])
        if row["axis_value"] in (1, None)
        else f"{row['corruption']}, difficulty {row['axis_value']:g}"
    )


def _percent(row: Mapping[str, Any]) -> dict[str, float | None]:
    """value, low and high in percent; None where an end is not known."""
    factor = 100 if row["unit"] == "fraction" else 1
    ends = {
        name: None if pd.isna(row[column]) else factor * float(row[column])
        for name, column in (("low", "ci_low"), ("high", "ci_high"))
    }
    return {"value": factor * float(row["value"]), **ends}


def _number(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _table(rows: Rows, name: str, *places: str) -> TextTable:
    """What a plot shows, as text: the model where there are several, what it is of, and the figure with its interval."""
    keys = [key for key in ("model", "name") if key in rows[0]]
    keys += [key for key in ("place", "down", "right") if key in rows[0]]
    heading = [key if key == "model" else name if key == "name" else "" for key in keys]
    for at, place in zip([n for n, key in enumerate(keys) if key in ("place", "down", "right")], places, strict=False):
        heading[at] = place
    told = []
    for row in rows:
        ends = "" if row.get("low") is None else f"{row['low']:.2f} to {row['high']:.2f}"
        told.append([*(_told(row[key]) for key in keys), f"{row['value']:.2f}", ends])
    return TextTable(
        [*heading, "%", "95 % interval"], told, 2 + len([key for key in keys if key not in ("model", "name")])
    )


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
