"""`robench history`: headline metrics over runs."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from robench.cli.common import limit_blas_threads, names
from robench.cli.options import Format, Runs
from robench.display.console import print_notes, stdout

__all__ = ["history"]


def history(
    runs: Runs,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics.", show_default="headlines of each suite", metavar="NAME")
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Suites of the runs.", show_default="all", metavar="SUITE")
    ] = None,
    by: Annotated[
        Literal["date", "version", "given"] | None,
        typer.Option(
            help="Order of the runs: date, version (v9 before v10) or given.", show_default="date, else given"
        ),
    ] = None,
    format: Format = "table",  # noqa: A002
) -> None:
    """Draw headline metrics over runs, and test each change.

    Values share a chart only if dataset, samples, protocol and baseline are equal. A change is tested with the records if both
    runs have some, else with the intervals.

    Examples:
        robench history runs/
        robench history v1.csv v2.csv runs/new --metric mean_error
        robench history runs/ --suite cifar-c --format csv > history.csv
    """
    limit_blas_threads()
    from robench.analysis.history import history as trace
    from robench.analysis.history import history_rows
    from robench.display.history import history_charts
    from robench.display.summary import FORMATS

    found = trace(runs, names(metric), names(suite), by, on_skip=lambda note: print_notes([note]))
    for entry in found.entries:
        print_notes(entry.results.warnings, "warning")
    print_notes(found.notes)
    if format != "table":
        sys.stdout.write(FORMATS[format](history_rows(found)))
        return
    console = stdout()
    console.print(history_charts(found, console), crop=False)
