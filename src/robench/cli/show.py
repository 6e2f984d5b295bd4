"""`robench show`: the results of a run, as they are on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import stdout
from robench.errors import OptionError, unknown_name

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    format: Annotated[str, typer.Option(help="How to print them.", metavar="table|json|csv")] = "table",  # noqa: A002
) -> None:
    """Print the results of a run."""
    from robench.cli.summary import FORMATS, summary
    from robench.runs.directory import RunDirectory

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    directory = RunDirectory.open(run)
    results = directory.read_results()
    if format == "table":
        stdout().print(summary(results, directory.notes))
    else:
        sys.stdout.write(FORMATS[format](results))
