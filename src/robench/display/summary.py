"""The summary of a run for a terminal: headlines, tinted tables, verdict and notes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robench.analysis.formatting import in_percent
from robench.analysis.metrics import METRICS
from robench.analysis.run_summary import Headline, clean_rows, headlines, verdict, worst
from robench.display.console import titled_table
from robench.display.progress import duration
from robench.display.tint import tint
from robench.errors import with_option_names
from robench.runs.directory import RunDirectory
from robench.suites import (
    CLEAN,
    EXTRA_CATEGORY,
    OOD,
    attack_words,
    category_of,
    display_family,
    epsilon_text,
    families,
    lookup_suite,
)
from robench.types import Results

__all__ = ["FORMATS", "headline_table", "headline_texts", "next_steps", "result_place", "run_summary", "summary"]

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

_INDENT = (0, 0, 0, 2)


def summary(
    results: Results,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    *,
    facts: Sequence[str] = (),
    verbose: bool = False,
) -> Group:
    """Return the summary of a run: headlines, a table for each suite, the verdict, the notes and the warnings.

    Args:
        results: The results of one run.
        notes: Notes for the reader.
        warnings: Messages about likely mistakes.
        facts: More parts of the title, such as the device.
        verbose: Whether to add the tables of all other metrics.
    """
    first = results.iloc[0]
    parts = [str(first["dataset"]), f"{_images(results):,} images", f"seed {first['seed']}", *facts]
    title = Text.assemble((str(first["model"]), "bold"), " on ", " · ".join(parts))
    found: list[RenderableType] = [title, headline_table(results)]
    suites = list(dict.fromkeys(results["suite"]))
    for suite in suites:
        rows = results[results["suite"] == suite]
        if display_family(suite).has_frames:
            found += _curves(suite, rows, verbose)
            if verbose:
                found += [Text(), _metrics(suite, rows)]
        elif suite not in (CLEAN, OOD) and display_family(suite).has_clean:
            found += [Text(), _cells(suite, rows, verbose)]
    if verbose:
        found += [Text(), _aggregates(results)]
    sentences = verdict(results)
    if sentences:
        found += [Text(), *(Padding(Text(sentence), _INDENT) for sentence in sentences)]
    if notes:
        found += [Text(), *(Padding(Text(f"note: {note}", "dim"), _INDENT) for note in notes)]
    if warnings:
        found += [Text(), *(Padding(Text(f"warning: {warning}", "bold yellow"), _INDENT) for warning in warnings)]
    return Group(*found)


def run_summary(
    directory: RunDirectory, results: Results, *, hidden: Collection[str] = (), verbose: bool = False
) -> Group:
    """Return the summary of a run directory, with its notes, its device and the time of its evaluation.

    Args:
        directory: The run directory.
        results: Its results.
        hidden: Notes to leave out, because the reader has seen them.
        verbose: As in `summary`.
    """
    notes = [with_option_names(note) for note in directory.notes if note not in hidden]
    warnings = [with_option_names(warning) for warning in directory.warnings]
    facts = [device] if (device := directory.manifest.get("identity", {}).get("device")) else []
    seconds = directory.read_timings()["seconds"].sum()
    facts += [duration(seconds)] if seconds else []
    return summary(results, notes, warnings, facts=facts, verbose=verbose)


def headline_table(results: Results) -> Table:
    """Return the headlines of a run, each with its interval, and the worst corruptions of each suite."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    found = headlines(results)
    last = {headline.suite: number for number, headline in enumerate(found)}
    for number, headline in enumerate(found):
        style = "bold" if headline.metric in _MAIN else ""
        label = Text(f"  {headline.suite} {headline.label}", style)
        table.add_row(label, Text(headline.text, style), _ends(headline), headline.detail)
        if last[headline.suite] == number:
            for rank, harm in enumerate(worst(results, headline.suite)):
                lead = "    worst: " if not rank else " " * 11
                table.add_row(f"{lead}{harm.label}", harm.text, _ends(harm))
    return table


def headline_texts(headline: Headline) -> tuple[str, str]:
    """Return a value with its unit, and its interval, which may be empty."""
    return headline.text, _ends(headline)


_MAIN = ("accuracy", "mce", "mean_error", "mfr", "mean_flip_rate", "accuracy_auc", "consistency", "shape_bias")


def result_place(path: Path) -> Text:
    """Return the line that names the run directory."""
    return Text.assemble("results in ", (str(path), "bold"))


def next_steps(paths: Sequence[Path]) -> Text:
    """Return the line with the commands that read one run, or several together."""
    runs = " ".join(shlex.quote(str(path)) for path in paths)
    other = " OTHER" if len(paths) == 1 else ""
    return Text(f"next: robench report {runs} · robench compare {runs}{other}", "dim")


def _images(results: Results) -> int:
    rates = results[results["metric"].isin(["error_rate", "flip_rate", "accuracy", "consistency"])]
    return int(rates["n"].max())


# Tables of corruptions.


def _cells(suite: str, rows: Results, verbose: bool) -> Table:
    """Return the error by corruption and severity, grouped by category, with the means of severities and corruptions."""
    cells = rows[rows["metric"] == "error_rate"]
    means = rows[rows["metric"] == "corruption_error"].set_index("corruption")
    ce = rows[rows["metric"] == "ce"].set_index("corruption")["value"]
    severities = sorted(int(severity) for severity in cells["severity"].dropna().unique())
    whole = lookup_suite(suite)
    extra = whole.extra if whole is not None else ()
    table = Table.grid(padding=(0, 0, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=17)
    for _ in severities:
        table.add_column(justify="right", min_width=6, no_wrap=True)
    table.add_column(justify="right", min_width=7, no_wrap=True)
    header: list[RenderableType] = [
        "",
        Text(f"{suite}, error in %", "bold"),
        *(Text(f"{severity}", "dim") for severity in severities),
    ]
    header += [Text(text, "dim") for text in ("mean", "CE" if len(ce) else "", "interval" if verbose else "")]
    shown = len(severities) > 1
    table.add_column(justify="right", min_width=8, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(*header)
    previous = ""
    for corruption, group in cells.groupby("corruption", sort=False):
        category = category_of(str(corruption), extra)
        by_severity = group.set_index("severity")["value"]
        values = [_tinted("error_rate", by_severity[s]) if s in by_severity.index else Text("") for s in severities]
        mean = group["value"].mean()
        interval = ""
        if verbose and corruption in means.index:
            interval = "  {:.1f} to {:.1f}".format(
                *(in_percent(means.loc[corruption, end]) for end in ("ci_low", "ci_high"))
            )
        table.add_row(
            Text(f"  {category if category != previous else '':<8}", "dim"),
            str(corruption),
            *values,
            _tinted("error_rate", mean) if shown else "",
            f"{ce[corruption]:.1f}" if corruption in ce.index else "",
            Text(interval, "dim"),
        )
        previous = category
    own = cells[[category_of(str(name), extra) != EXTRA_CATEGORY for name in cells["corruption"]]]
    if own["corruption"].nunique() > 1:
        by_severity = own.groupby("severity")["value"].mean()
        values = [_tinted("error_rate", by_severity[s]) if s in by_severity.index else Text("") for s in severities]
        mce = rows[(rows["metric"] == "mce")]["value"]
        table.add_row(
            "",
            Text("mean", "bold"),
            *values,
            _tinted("error_rate", own.groupby("corruption")["value"].mean().mean()) if shown else "",
            f"{mce.iloc[0]:.1f}" if len(mce) else "",
        )
    return table


def _tinted(metric: str, value: float) -> Text:
    """Return a value in percent on its colour, with a space before it."""
    return Text.assemble(" ", (f"{in_percent(value):5.1f}", tint(metric, value)))


# Tables of frames.

_MAX_POSITIONS = 8
"""Positions of a curve in its table; results.csv has all."""


def _curves(suite: str, rows: Results, verbose: bool) -> list[RenderableType]:
    """Return a table of accuracy by perturbation and position for each axis, and of the flip rates of sequences."""
    tables: list[RenderableType] = []
    curves = rows[(rows["metric"] == "accuracy") & rows["axis"].notna()]
    if display_family(suite) == families.ADVERSARIAL:
        for norm, of_norm in curves.groupby("corruption", sort=False):
            title = f"{suite}, accuracy in % by {norm} radius: {attack_words(str(of_norm['protocol'].iloc[0]))}"
            tables += [Text(), _positions(title, of_norm.assign(corruption=of_norm["method"]), epsilon_text)]
        return tables
    flips = rows[(rows["metric"] == "flip_rate") & (rows["axis"] == "difficulty")]
    if len(flips):
        tables += [Text(), _positions(f"{suite}, flip rate in %, by difficulty", flips)]
    grid = curves["dx"].notna()
    if grid.any():
        if verbose:
            tables += [Text(), _grid(suite, curves[grid])]
        curves = curves[~grid]
    if display_family(suite).has_resolutions:
        network = rows[(rows["metric"] == "accuracy") & rows["axis"].isna()]
        curves = pd.concat([network.assign(axis="network", axis_value=network["resolution"].astype(float)), curves])
    if not verbose:
        curves = curves[curves["axis"] != "copy"]  # Interchangeable copies, whose values differ by chance.
    for axis, of_axis in curves.groupby("axis", sort=False):
        for group in _with_equal_positions(of_axis):
            tables += [Text(), _positions(f"{suite}, accuracy in %, by {axis}", group)]
    return tables


def _positions(title: str, rows: Results, text: Callable[[float], str] = lambda position: f"{position:.3g}") -> Table:
    """Return a metric by perturbation and position."""
    positions = list(dict.fromkeys(rows["axis_value"]))
    last = len(positions) - 1
    if last >= _MAX_POSITIONS:
        positions = [positions[k * last // (_MAX_POSITIONS - 1)] for k in range(_MAX_POSITIONS)]
    table = Table.grid()
    table.add_column(min_width=18, no_wrap=True)
    for _ in positions:
        table.add_column(justify="right", min_width=6, no_wrap=True)
    table.add_row("", *(Text(f" {text(position)}", "dim") for position in positions))
    for name, curve in rows.groupby("corruption", sort=False):
        values = curve.set_index("axis_value")["value"]
        metric = str(curve["metric"].iloc[0])
        cells = [_tinted(metric, values[position]) if position in values.index else "" for position in positions]
        table.add_row(f"  {name}", *cells)
    outer = Table.grid()
    outer.add_row(Text(f"  {title}", "bold"))
    outer.add_row(table)
    return outer


def _grid(suite: str, rows: Results) -> Table:
    """Return the map of accuracy by offset, with a row for each offset down."""
    table = titled_table(f"{suite}: accuracy, % (px down, px right)")
    table.add_column("px", justify="right")
    accuracy = {(dy, dx): value for dy, dx, value in zip(rows["dy"], rows["dx"], rows["value"], strict=True)}
    downs, rights = (dict.fromkeys(offset[axis] for offset in accuracy) for axis in (0, 1))
    for right in rights:
        table.add_column(str(right), justify="right")
    for down in downs:
        table.add_row(str(down), *(f"{in_percent(accuracy[down, right]):.1f}" for right in rights))
    return table


def _with_equal_positions(rows: Results) -> list[Results]:
    """Group the perturbations by their positions."""
    groups: dict[tuple[float, ...], list[Results]] = {}
    for _, curve in rows.groupby("corruption", sort=False):
        groups.setdefault(tuple(curve["axis_value"].tolist()), []).append(curve)
    return [pd.concat(group) for group in groups.values()]


# Tables of all metrics.


def _plain_table(title: str) -> Table:
    table = titled_table(title)
    table.box, table.padding = None, (0, 2, 0, 0)
    return table


def _metrics(suite: str, rows: Results) -> Table:
    """Return the values over all frames of a perturbation, and over the suite."""
    table = _plain_table(f"{suite}, all metrics")
    for name in ("perturbation", "metric", "at", "value", "95 % interval"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    single = rows["axis"].isna() | rows["axis"].isin(["difficulty", "direction", "copies"])
    for row in rows[single].to_dict("records"):
        at = "" if pd.isna(row["axis"]) else f"{row['axis']} {row['axis_value']:g}"
        if display_family(suite).has_resolutions and not at:
            at = f"{row['resolution']} px"
        name = "all" if pd.isna(row["corruption"]) else str(row["corruption"])
        table.add_row(name, _label(row), at, _value(row["value"], row), _interval(row))
    return table


def _aggregates(results: Results) -> Table:
    """Return all metrics over the cells of a suite."""
    table = _plain_table("all metrics")
    for name in ("suite", "metric", "value", "95 % interval", "over"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    rest = results[results["suite"] != CLEAN]
    overall = pd.concat([clean_rows(results), rest[rest["corruption"].isna()]])
    overall = overall[overall["axis"].isna()]
    geometries = overall[overall["suite"] == CLEAN]["protocol"].nunique()
    for suite in dict.fromkeys(overall["suite"]):
        if display_family(suite).has_frames:
            continue
        rows = overall[overall["suite"] == suite]
        for metric in _AGGREGATES:
            for row in rows[rows["metric"] == metric].to_dict("records"):
                geometry = str(row["protocol"]).partition("+")[0]
                over = f"{_over(row)}, {geometry}" if suite == CLEAN and geometries > 1 else _over(row)
                table.add_row(suite, _label(row), _value(row["value"], row), _interval(row), over)
    return table


def _label(row: dict[str, object]) -> str:
    baseline = row["baseline"]
    return f"{row['metric']} (baseline {baseline})" if isinstance(baseline, str) and baseline else str(row["metric"])


def _ends(headline: Headline) -> str:
    return "" if headline.ends is None else f"[{headline.ends[0]}, {headline.ends[1]}]"


def _value(value: object, row: dict[str, object]) -> str:
    """Format a value: fractions and percentages in percent, others with their unit."""
    assert isinstance(value, float)
    unit = METRICS[str(row["metric"])].unit
    if unit in ("fraction", "percent"):
        return f"{in_percent(value, unit):.2f} %"
    return f"{value:.3g}" + (f" {unit}" if unit != "strength" else "")


def _interval(row: dict[str, object]) -> str:
    if pd.isna(row["ci_low"]):
        return ""
    scale, digits = (100, ".2f") if METRICS[str(row["metric"])].unit == "fraction" else (1, ".3g")
    low, high = (format(scale * float(str(row[end])), digits) for end in ("ci_low", "ci_high"))
    return f"[{low}, {high}]"


def _over(row: dict[str, object]) -> str:
    if row["suite"] == CLEAN:
        return f"{row['n']} images"
    suite = lookup_suite(str(row["suite"]))
    whole = suite.n_cells if suite is not None and suite.n_cells else row["n"]
    return f"{row['n']} of {whole} cells" if row["n"] != whole else f"{row['n']} cells"
