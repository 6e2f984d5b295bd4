"""Tables of results for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from robench.analysis.metrics import METRICS
from robench.display.console import titled_table
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
"""Functions that write a table in a format for machines."""


def summary(results: Results, notes: Sequence[str] = (), warnings: Sequence[str] = ()) -> Group:
    """Return the tables of a run: one or more for each suite, the aggregates, the notes and the warnings."""
    first = results.iloc[0]
    title = f" on {first['dataset']}, {_images(results)} images, seed {first['seed']}"
    parts: list[Table | Text] = [Text.assemble((first["model"], "bold"), title)]
    for suite in dict.fromkeys(results["suite"]):
        rows = results[results["suite"] == suite]
        if display_family(suite).has_frames:
            parts += [*_curves(suite, rows), _metrics(suite, rows)]
        elif suite != CLEAN:
            parts.append(_cells(suite, rows))
    parts.append(_aggregates(results))
    parts += [Text(f"note: {note}") for note in notes]
    parts += [Text(f"warning: {warning}", "bold") for warning in warnings]
    return Group(*parts)


def _images(results: Results) -> int:
    rates = results[results["metric"].isin(["error_rate", "flip_rate", "accuracy", "consistency"])]
    return int(rates["n"].max())


_MAX_POSITIONS = 11
"""Positions of a curve in its table; results.csv has all."""


def _curves(suite: str, rows: Results) -> list[Table]:
    """Return a table of accuracy by perturbation and position for each axis."""
    tables: list[Table] = []
    curves = rows[(rows["metric"] == "accuracy") & rows["axis"].notna()]
    grid = curves["dx"].notna()
    if grid.any():
        tables.append(_grid(suite, curves[grid]))
        curves = curves[~grid]
    if display_family(suite).has_resolutions:
        network = rows[(rows["metric"] == "accuracy") & rows["axis"].isna()]
        curves = pd.concat([network.assign(axis="network", axis_value=network["resolution"].astype(float)), curves])
    for axis, of_axis in curves.groupby("axis", sort=False):
        for positions, group in _with_equal_positions(of_axis):
            last = len(positions) - 1
            if last >= _MAX_POSITIONS:
                positions = [positions[k * last // (_MAX_POSITIONS - 1)] for k in range(_MAX_POSITIONS)]
            table = titled_table(f"{suite}: accuracy by {axis}, %")
            table.add_column("")
            for position in positions:
                table.add_column(f"{position:.3g}", justify="right")
            for name, curve in group.groupby("corruption", sort=False):
                accuracy = curve.set_index("axis_value")["value"]
                table.add_row(str(name), *(f"{100 * accuracy[position]:.1f}" for position in positions))
            tables.append(table)
    return tables


def _grid(suite: str, rows: Results) -> Table:
    """Return the map of accuracy by offset, with a row for each offset down."""
    table = titled_table(f"{suite}: accuracy, % (px down, px right)")
    table.add_column("px", justify="right")
    accuracy = {(dy, dx): value for dy, dx, value in zip(rows["dy"], rows["dx"], rows["value"], strict=True)}
    downs, rights = (dict.fromkeys(offset[axis] for offset in accuracy) for axis in (0, 1))
    for right in rights:
        table.add_column(str(right), justify="right")
    for down in downs:
        table.add_row(str(down), *(f"{100 * accuracy[down, right]:.1f}" for right in rights))
    return table


def _with_equal_positions(rows: Results) -> list[tuple[list[float], Results]]:
    """Group the perturbations by their positions."""
    groups: dict[tuple[float, ...], list[Results]] = {}
    for _, curve in rows.groupby("corruption", sort=False):
        groups.setdefault(tuple(curve["axis_value"].tolist()), []).append(curve)
    return [(list(positions), pd.concat(group)) for positions, group in groups.items()]


def _metrics(suite: str, rows: Results) -> Table:
    """Return the values over all frames of a perturbation, and over the suite."""
    table = titled_table(suite)
    for name in ("perturbation", "metric", "at", "value", "95 % interval"):
        table.add_column(name, justify="right" if name == "value" else "left")
    single = rows["axis"].isna() | rows["axis"].isin(["difficulty", "direction", "copies"])
    for row in rows[single].to_dict("records"):
        at = "" if pd.isna(row["axis"]) else f"{row['axis']} {row['axis_value']:g}"
        if display_family(suite).has_resolutions and not at:
            at = f"{row['resolution']} px"
        name = "all" if pd.isna(row["corruption"]) else str(row["corruption"])
        table.add_row(name, _label(row), at, _value(row["value"], row), _interval(row))
    return table


def _cells(suite: str, rows: Results) -> Table:
    cells = rows[rows["metric"] == "error_rate"]
    ce = rows[rows["metric"] == "ce"].set_index("corruption")["value"]
    severities = sorted(int(severity) for severity in cells["severity"].dropna().unique())
    table = titled_table(f"{suite}: top-1 error, %")
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
    table = titled_table("aggregates")
    for name in ("suite", "metric", "value", "95 % interval", "over"):
        table.add_column(name, justify="right" if name == "value" else "left")
    overall = results[results["axis"].isna() & (results["corruption"].isna() | (results["corruption"] == CLEAN))]
    for suite in dict.fromkeys(overall["suite"]):
        if display_family(suite).has_frames:
            continue
        rows = overall[overall["suite"] == suite]
        for metric in _AGGREGATES:
            for row in rows[rows["metric"] == metric].to_dict("records"):
                table.add_row(suite, _label(row), _value(row["value"], row), _interval(row), _over(row))
    return table


def _label(row: dict[str, object]) -> str:
    baseline = row["baseline"]
    return f"{row['metric']} (baseline {baseline})" if isinstance(baseline, str) and baseline else str(row["metric"])


def _value(value: object, row: dict[str, object]) -> str:
    """Format a value: fractions and percentages in percent, others with their unit."""
    assert isinstance(value, float)
    unit = METRICS[str(row["metric"])].unit
    if unit in ("fraction", "percent"):
        return f"{value * (100 if unit == 'fraction' else 1):.2f} %"
    return f"{value:.3g}" + (f" {unit}" if unit != "strength" else "")


def _interval(row: dict[str, object]) -> str:
    ends = ["" if pd.isna(row[end]) else _value(row[end], row) for end in ("ci_low", "ci_high")]
    return f"{ends[0]} … {ends[1]}" if any(ends) else ""


def _over(row: dict[str, object]) -> str:
    if row["suite"] == CLEAN:
        return f"{row['n']} images"
    suite = lookup_suite(str(row["suite"]))
    whole = suite.n_cells if suite is not None and suite.n_cells else row["n"]
    return f"{row['n']} of {whole} cells" if row["n"] != whole else f"{row['n']} cells"
