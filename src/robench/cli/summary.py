"""Results as a person reads them: the corruption x severity table and the aggregates with their intervals. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.analysis.metrics import METRICS
from robench.suites import CLEAN, display_family, lookup_suite
from robench.types import Results

__all__ = ["FORMATS", "summary"]

_AGGREGATES = (
    "error_rate",
    "accuracy",
    "mean_error",
    "mce",
    "relative_mce",
    "top5_error",
    "worst_class_error",
    "ece",
    "rms_calibration_error",
)

FORMATS: dict[str, Callable[[Results], str]] = {
    "csv": lambda results: results.to_csv(index=False, lineterminator="\n"),
    "json": lambda results: results.to_json(orient="records", indent=2, double_precision=15) + "\n",
}
"""Machine-readable forms of the results, by name; `table` is the human one."""


def summary(results: Results, notes: Sequence[str] = ()) -> Group:
    """Tables for a terminal: one per suite with the errors in percent, then the aggregates, then the run's notes."""
    parts: list[Table | Text] = []
    first = results.iloc[0]
    parts.append(
        Text.assemble(
            (first["model"], "bold"), f" on {first['dataset']}, {_images(results)} images, seed {first['seed']}"
        )
    )
    for suite in dict.fromkeys(results["suite"]):
        rows = results[results["suite"] == suite]
        if not _of_images(suite):
            parts += [*_curves(suite, rows), _figures(suite, rows)]
        elif suite != CLEAN:
            parts.append(_cells(suite, rows))
    parts.append(_aggregates(results))
    parts += [Text(f"note: {note}") for note in notes]
    return Group(*parts)


def _titled(title: str) -> Table:
    """A table at least as wide as its title, which would be folded otherwise."""
    return Table(title=title, title_justify="left", title_style="bold", min_width=len(title))


def _images(results: Results) -> int:
    rates = results[results["metric"].isin(["error_rate", "flip_rate", "accuracy", "consistency"])]
    return int(rates["n"].max())


_MOST = 11
"""Places of a curve that are shown; results.csv has all."""


def _curves(suite: str, rows: Results) -> list[Table | Text]:
    """A table for every axis: accuracy by perturbation and place."""
    tables: list[Table | Text] = []
    curves = rows[(rows["metric"] == "accuracy") & rows["axis"].notna()]
    grid = curves["dx"].notna()
    if grid.any():
        tables.append(_grid(suite, curves[grid]))
        curves = curves[~grid]
    if display_family(suite).has_resolutions:
        network = rows[(rows["metric"] == "accuracy") & rows["axis"].isna()]
        curves = pd.concat([network.assign(axis="network", axis_value=network["resolution"].astype(float)), curves])
    for axis, of_axis in curves.groupby("axis", sort=False):
        for places, group in _alike(of_axis):
            shown = (
                [places[k * (len(places) - 1) // (_MOST - 1)] for k in range(_MOST)] if len(places) > _MOST else places
            )
            table = _titled(f"{suite}: accuracy by {axis}, %")
            table.add_column("")
            for place in shown:
                table.add_column(f"{place:.3g}", justify="right")
            for name, one in group.groupby("corruption", sort=False):
                by_place = one.set_index("axis_value")["value"]
                table.add_row(str(name), *(f"{100 * by_place[place]:.1f}" for place in shown))
            tables.append(table)
    return tables


def _grid(suite: str, rows: Results) -> Table:
    """The map of accuracy by offset, a row by offset down."""
    table = _titled(f"{suite}: accuracy, % (px down, px right)")
    table.add_column("px", justify="right")
    accuracy = {(dy, dx): value for dy, dx, value in zip(rows["dy"], rows["dx"], rows["value"], strict=True)}
    downs, rights = (dict.fromkeys(offset[axis] for offset in accuracy) for axis in (0, 1))
    for right in rights:
        table.add_column(str(right), justify="right")
    for down in downs:
        table.add_row(str(down), *(f"{100 * accuracy[down, right]:.1f}" for right in rights))
    return table


def _alike(rows: Results) -> list[tuple[list[float], Results]]:
    """Perturbations with the same places together, with those places."""
    found: dict[tuple[float, ...], list[Results]] = {}
    for _, one in rows.groupby("corruption", sort=False):
        found.setdefault(tuple(one["axis_value"].tolist()), []).append(one)
    return [(list(places), pd.concat(group)) for places, group in found.items()]


def _figures(suite: str, rows: Results) -> Table:
    """What is measured over all frames of a perturbation, and over the suite."""
    table = _titled(suite)
    for name in ("perturbation", "metric", "at", "value", "95 % interval"):
        table.add_column(name, justify="right" if name == "value" else "left")
    single = rows["axis"].isna() | rows["axis"].isin(["difficulty", "direction", "copies"])
    for row in rows[single].to_dict("records"):
        at = "" if pd.isna(row["axis"]) else f"{row['axis']} {row['axis_value']:g}"
        if display_family(suite).has_resolutions and not at:
            at = f"{row['resolution']} px"
        name = "all" if pd.isna(row["corruption"]) else str(row["corruption"])
        table.add_row(name, _label(row), at, _figure(row["value"], row), _interval(row))
    return table


def _cells(suite: str, rows: Results) -> Table:
    cells = rows[rows["metric"] == "error_rate"]
    ce = rows[rows["metric"] == "ce"].set_index("corruption")["value"]
    severities = sorted(int(severity) for severity in cells["severity"].dropna().unique())
    table = _titled(f"{suite}: top-1 error, %")
    table.add_column("corruption")
    for severity in severities:
        table.add_column(str(severity), justify="right")
    table.add_column("mean", justify="right")
    if len(ce):
        table.add_column("CE", justify="right")
    whole = lookup_suite(suite)
    extra = set(whole.extra) if whole is not None else set()
    for corruption, group in cells.groupby("corruption", sort=False):
        by_severity = group.set_index("severity")["value"]
        values = [f"{100 * by_severity[s]:.1f}" if s in by_severity.index else "" for s in severities]
        row = [
            f"{corruption} (extra)" if corruption in extra else str(corruption),
            *values,
            f"{100 * group['value'].mean():.1f}",
        ]
        if len(ce):
            row.append(f"{ce[corruption]:.1f}" if corruption in ce.index else "")
        table.add_row(*row)
    return table


def _aggregates(results: Results) -> Table:
    table = _titled("aggregates")
    for name, justify in (
        ("suite", "left"),
        ("metric", "left"),
        ("value", "right"),
        ("95 % interval", "left"),
        ("over", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    overall = results[results["axis"].isna() & (results["corruption"].isna() | (results["corruption"] == CLEAN))]
    of_images = [name for name in dict.fromkeys(overall["suite"]) if _of_images(name)]
    for suite in of_images:
        rows = overall[overall["suite"] == suite]
        for metric in _AGGREGATES:
            for row in rows[rows["metric"] == metric].to_dict("records"):
                table.add_row(suite, _label(row), _figure(row["value"], row), _interval(row), _over(row))
    return table


def _of_images(suite: str) -> bool:
    return not display_family(suite).has_frames


def _label(row: dict[str, object]) -> str:
    baseline = row["baseline"]
    return f"{row['metric']} (baseline {baseline})" if isinstance(baseline, str) and baseline else str(row["metric"])


def _figure(value: object, row: dict[str, object]) -> str:
    """A fraction is shown in percent; what a paper defines in percent is one already; others are as they are."""
    assert isinstance(value, float)
    unit = METRICS[str(row["metric"])].unit
    if unit in ("fraction", "percent"):
        return f"{value * (100 if unit == 'fraction' else 1):.2f} %"
    return f"{value:.3g}" + (f" {unit}" if unit != "strength" else "")


def _interval(row: dict[str, object]) -> str:
    ends = ["" if pd.isna(row[end]) else _figure(row[end], row) for end in ("ci_low", "ci_high")]
    return f"{ends[0]} … {ends[1]}" if any(ends) else ""


def _over(row: dict[str, object]) -> str:
    if row["suite"] == CLEAN:
        return f"{row['n']} images"
    suite = lookup_suite(str(row["suite"]))
    whole = suite.n_cells if suite is not None else row["n"]
    return f"{row['n']} of {whole} cells" if row["n"] != whole else f"{row['n']} cells"
