"""`robench show`: stored results of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import Format
from robench.display.console import print_notes, stdout

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    format: Format = "table",  # noqa: A002
) -> None:
    """Print the results of a run.

    Examples:
        robench show runs/resnet50 --format csv
    """
    from robench.display.summary import FORMATS, summary
    from robench.runs.directory import RunDirectory

    directory = RunDirectory.open(run)
    results = directory.read_results()
    if format == "table":
        stdout().print(summary(results, directory.notes, directory.warnings))
    else:
        sys.stdout.write(FORMATS[format](results))
        print_notes(directory.warnings, "warning")
