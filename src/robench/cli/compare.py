"""`robench compare`: paired differences between runs."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import found_runs, limit_blas_threads, names
from robench.cli.options import Decisions, Force, Format
from robench.display.console import is_unlimited, print_notes, stderr, stdout
from robench.errors import OptionError, RunError

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories, folders of them, or CSV files of results; the reference first.", metavar="RUN"
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metrics.", show_default="headlines, and the errors of corruptions", metavar="NAME"),
    ] = None,
    cells: Annotated[bool, typer.Option("--cells", help="Show the change of every cell.")] = False,
    flips: Annotated[
        Path | None, typer.Option(help="CSV file of the images with changed predictions.", metavar="FILE")
    ] = None,
    decisions: Decisions = None,
    force: Force = False,
    format: Format = "table",  # noqa: A002
) -> None:
    """Compare runs of the same images, with tests and intervals.

    The first run is the reference. A verdict comes first, then the corruptions by the size of the change.

    Cells are tested with McNemar's exact test, all else with a paired bootstrap; both are two-sided. Holm's correction covers
    headlines, corruptions and cells, each by themselves. JSON and CSV have the cells too, but no error consistency unless asked.

    Error consistency says whether two decision makers are right on the same images. With --decisions, one run suffices. A table
    has a column `file` and a column of class names for each decision maker, or a line for each trial of a person.

    Examples:
        robench compare runs/main runs/new --flips flips.csv
        robench compare runs/shape --decisions people.csv
    """
    limit_blas_threads()
    from robench.analysis.comparison.compare import compare_all, costs, difference_rows, warnings, write_flips
    from robench.analysis.comparison.compare import flips as find_flips
    from robench.display.comparison import comparison, consistency_tables, cost_lines, flip_lines, listing
    from robench.display.summary import FORMATS

    runs = found_runs(runs)
    differences, consistencies = compare_all(runs, names(metric), decisions or (), consistency=format == "table")
    several = len(runs) > 1
    print_notes(warnings(runs), "warning")
    flipped = None
    try:
        flipped = find_flips(runs) if several or flips is not None else None
    except (RunError, OptionError) as error:
        if flips is not None:
            raise
        print_notes([f"no flips are counted: {error}"])
    if any(difference.method == "intervals" for difference in differences):
        print_notes(["without records, tests use the intervals of the results and are not paired"])
    if flips is not None and flipped is not None:
        write_flips(flipped, flips, force)
        stderr().print(f"{len(flipped)} changed predictions in {flips}")
    if format != "table":
        sys.stdout.write(FORMATS[format](difference_rows(differences, consistencies)))
        return
    console = stdout()
    for _, group in groupby(differences, key=lambda difference: difference.run_model):
        pair = list(group)
        # The lines of a file are as long as their sentences.
        console.print(
            comparison(pair, console, cells=cells) if metric is None else listing(pair, console, cells=cells),
            crop=False,
        )
        console.print()
    for table in consistency_tables(consistencies):
        console.print(table, crop=False)
    lines = [
        *([] if flipped is None else flip_lines(differences, flipped)),
        *(cost_lines(costs(runs)) if several else ()),
    ]
    for line in lines:
        console.print(line, soft_wrap=is_unlimited(console))
