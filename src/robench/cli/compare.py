"""`robench compare`: paired differences between runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.common import limit_blas_threads, names, print_notes, stderr, stdout, titled_table
from robench.cli.options import Force, Format
from robench.errors import OptionError, RunError

if TYPE_CHECKING:
    import pandas as pd

    from robench.analysis.comparison.compare import Difference

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories or CSV files of results, the reference first.", metavar="RUN"),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metrics. Default: errors of cells, and aggregates of suites.", metavar="NAME"),
    ] = None,
    flips: Annotated[
        Path | None, typer.Option(help="CSV file of the images with changed predictions.", metavar="FILE")
    ] = None,
    force: Force = False,
    format: Format = "table",  # noqa: A002
) -> None:
    """Compare runs of the same images with the first run: differences with paired intervals and p-values.

    Cells are tested with McNemar's exact test, aggregates with a paired bootstrap. Both tests are two-sided. The last column
    is corrected for all differences together (Holm). Lines below the tables compare the speed, from timings.csv.

    [b]robench compare runs/main runs/new --flips flips.csv[/b]
    """
    limit_blas_threads()
    from robench.analysis.comparison.compare import compare as find_differences
    from robench.analysis.comparison.compare import costs, difference_rows, disagreement, warnings, write_flips
    from robench.analysis.comparison.compare import flips as find_flips
    from robench.cli.summary import FORMATS

    differences = find_differences(runs, names(metric))
    print_notes(warnings(runs), "warning")
    try:
        flipped = find_flips(runs)
    except (RunError, OptionError) as error:
        if flips is not None:
            raise
        flipped = None
        print_notes([f"no flips are counted: {error}"])
    if any(difference.method == "intervals" for difference in differences):
        print_notes(["without records, tests use the intervals of the results and are not paired"])
    if flips is not None and flipped is not None:
        write_flips(flipped, flips, force)
        stderr().print(f"{len(flipped)} changed predictions in {flips}")
    if format != "table":
        sys.stdout.write(FORMATS[format](difference_rows(differences)))
        return
    stdout().print(_table(differences))
    if flipped is not None and len(flipped):
        stdout().print(_disagreement(disagreement(flipped)))
    elif flipped is not None:
        print_notes(["all predictions on single images are the same"])
    for cost in costs(runs):
        stdout().print(
            f"{cost.run}: {cost.base_rate / cost.run_rate:.2f}x the time of {cost.base} ({cost.run_rate:,.0f} vs. "
            f"{cost.base_rate:,.0f} images/s over {cost.conditions} conditions; measured on each run's own machine)"
        )


def _table(differences: Sequence[Difference]) -> Table:
    from robench.analysis.gate.formats import format_p_value, format_value

    several = len({difference.run for difference in differences}) > 1
    table = titled_table(f"compared with {differences[0].base}")
    if several:
        table.add_column("run")
    table.add_column("metric", overflow="fold")
    for name in ("first", "run", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval")
    for name in ("p", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for difference in differences:
        paired, unit = difference.paired, str(difference.paired.run.row["unit"])
        ends = [format_value(end, unit, signed=True) for end in (paired.ci_low, paired.ci_high)]
        table.add_row(
            *([difference.run] if several else []),
            str(paired.run),
            format_value(paired.base.value, unit),
            format_value(paired.run.value, unit),
            format_value(paired.change, unit, signed=True),
            " … ".join(ends) if ends[0] else "",
            format_p_value(difference.p),
            format_p_value(difference.p_holm),
            style="bold" if difference.p_holm is not None and difference.p_holm <= 0.05 else "",
        )
    return table


_COUNTS = {
    "resolution": "resolution",
    "all": "predictions changed",
    "negative_flip": "negative flips",
    "positive_flip": "positive flips",
    "wrong_to_wrong": "wrong→wrong",
}
"""Headings of the columns of `disagreement`."""


def _disagreement(cells: pd.DataFrame) -> Table:
    table = titled_table(
        "cells with the most changed predictions",
        caption="negative flip: only the first run is right; positive flip: only the other run is right",
    )
    for name in ("run", "cell"):
        table.add_column(name)
    for name in _COUNTS.values():
        table.add_column(name, justify="right")
    for row in cells.to_dict("records"):
        cell = f"{row['suite']} {row['corruption']} {row['severity']}" if row["severity"] else str(row["corruption"])
        table.add_row(str(row["run"]), cell, *(str(row[name]) for name in _COUNTS))
    return table
