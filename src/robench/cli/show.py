"""`robench show`: stored results of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import Format, Quiet, Verbose
from robench.display.console import print_notes, stderr, stdout

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    format: Format = "table",  # noqa: A002
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print the results of a run.

    Examples:
        robench show runs/resnet50 --format csv
    """
    from robench.display.summary import FORMATS, headline_table, next_steps, result_place, run_summary
    from robench.runs.directory import RunDirectory

    directory = RunDirectory.open(run)
    results = directory.read_results()
    if format == "table":
        stdout().print(headline_table(results) if quiet else run_summary(directory, results, verbose=verbose))
        stderr().print(result_place(run))
        if not quiet:
            stderr().print(next_steps([run]))
    else:
        sys.stdout.write(FORMATS[format](results))
        print_notes(directory.warnings, "warning")
