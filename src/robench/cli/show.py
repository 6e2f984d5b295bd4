"""`robench show`: stored results of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import print_notes, stdout
from robench.cli.options import Format

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    format: Format = "table",  # noqa: A002
) -> None:
    """Print the results of a run.

    [b]robench show runs/resnet50 --format csv[/b]
    """
    from robench.cli.summary import FORMATS, summary
    from robench.runs.directory import RunDirectory

    directory = RunDirectory.open(run)
    results = directory.read_results()
    if format == "table":
        stdout().print(summary(results, directory.notes, directory.warnings))
    else:
        sys.stdout.write(FORMATS[format](results))
        print_notes(directory.warnings, "warning")
