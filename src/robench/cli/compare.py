"""`robench compare`: runs beside each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.common import limit_blas_threads, names, stderr, stdout
from robench.errors import OptionError, RunError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from robench.analysis.comparison.compare import Difference

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories (or CSVs of results); each is compared with the first.", metavar="RUN RUN…"
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="One or more, separated by commas; default: errors of cells, and what suites are summed up by."
        ),
    ] = None,
    flips: Annotated[
        Path | None,
        typer.Option(help="Write the images whose predictions differ, with their paths, to a CSV.", metavar="FILE"),
    ] = None,
    format: Annotated[str, typer.Option(help="How to print.", metavar="table|json|csv")] = "table",  # noqa: A002
) -> None:
    """Compare runs of the same images: differences with paired intervals and p-values, and where predictions differ.

    Cells: McNemar's exact test. Aggregates: a paired bootstrap. Both two-sided; the last column is corrected for all
    differences together (Holm). What they cost beside each other, by timings.csv, is said below the tables.

    [b]robench compare runs/main runs/new --flips flips.csv[/b]
    """
    limit_blas_threads()
    from robench.analysis.comparison.compare import compare as differences
    from robench.analysis.comparison.compare import costs, difference_rows, disagreement, write_flips
    from robench.analysis.comparison.compare import flips as find_flips
    from robench.cli.summary import FORMATS

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    found = differences(runs, names(metric))
    try:
        flipped = find_flips(runs)
    except (RunError, OptionError) as error:
        if flips is not None:
            raise
        flipped = None
        stderr().print(f"note: no flips are counted: {error}")
    if any(one.method == "intervals" for one in found):
        stderr().print(
            "note: tests use the intervals of the results where records are missing, and are not paired there"
        )
    if flips is not None and flipped is not None:
        write_flips(flipped, flips)
        stderr().print(f"{len(flipped)} predictions that differ are in {flips}")
    if format == "table":
        stdout().print(_table(found))
        if flipped is not None and len(flipped):
            stdout().print(_disagreement(disagreement(flipped)))
        elif flipped is not None:
            stderr().print("note: all predictions on single images are the same")
        for cost in costs(runs):
            stdout().print(
                f"{cost.run} took {cost.base_rate / cost.run_rate:.2f} times as long as {cost.base} ({cost.run_rate:,.0f} images/s, not "
                f"{cost.base_rate:,.0f}, over {cost.conditions} conditions, by the clocks of their machines)"
            )
    else:
        sys.stdout.write(FORMATS[format](difference_rows(found)))


def _table(found: list[Difference]) -> Table:
    from robench.analysis.gate.formats import format_p_value, format_value

    several = len({one.run for one in found}) > 1
    table = Table(title=f"against {found[0].base}", title_justify="left", title_style="bold")
    if several:
        table.add_column("run")
    table.add_column("figure", overflow="fold")
    for name in ("first", "run", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95 % interval")
    for name in ("p", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        figure, unit = one.paired, str(one.paired.run.row["unit"])
        ends = [format_value(end, unit, signed=True) for end in (figure.ci_low, figure.ci_high)]
        table.add_row(
            *([one.run] if several else []),
            str(figure.run),
            format_value(figure.base.value, unit),
            format_value(figure.run.value, unit),
            format_value(figure.change, unit, signed=True),
            " … ".join(ends) if ends[0] else "",
            format_p_value(one.p),
            format_p_value(one.p_holm),
            style="bold" if one.p_holm is not None and one.p_holm <= 0.05 else "",
        )
    return table


def _disagreement(cells: pd.DataFrame) -> Table:
    table = Table(
        title="where predictions differ most, images",
        title_justify="left",
        title_style="bold",
        caption="lost: the first was right; gained: the run is; moved: both are wrong",
        caption_justify="left",
    )
    for name in ("run", "cell", "px", "differ", "lost", "gained", "moved"):
        table.add_column(name, justify="left" if name in ("run", "cell") else "right")
    for row in cells.to_dict("records"):
        cell = f"{row['suite']} {row['corruption']} {row['severity']}" if row["severity"] else str(row["corruption"])
        table.add_row(
            str(row["run"]), cell, *(str(row[name]) for name in ("resolution", "all", "lost", "gained", "moved"))
        )
    return table
