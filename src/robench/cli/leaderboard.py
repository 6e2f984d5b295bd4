"""`robench leaderboard`: results of many models in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from robench.cli.common import names
from robench.cli.options import Force
from robench.display.console import print_notes, stderr

__all__ = ["leaderboard"]


def leaderboard(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories, results.csv, leaderboard.csv, timm's result files, RobustBench's JSON.",
            metavar="RUN|CSV",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; an existing leaderboard.csv is merged.", show_default="standard output", metavar="FILE"
        ),
    ] = None,
    force: Force = False,
    format: Annotated[  # noqa: A002
        Literal["csv", "markdown", "latex"], typer.Option(help="Output format; only csv has every column.")
    ] = "csv",
    sort_by: Annotated[
        str | None,
        typer.Option(help="Column or metric of the ranks.", show_default="mce, mean_error or top1", metavar="METRIC"),
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Suites of the runs.", show_default="all", metavar="SUITE")
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="Separate sections for rows that are not comparable.")] = False,
) -> None:
    """Rank models in one table: accuracy, mCE, flip rates and consistency, with intervals.

    Rows are comparable if dataset, samples, source and protocols are equal. A rank is one more than the number of models whose
    whole interval is better. Runs that differ only in --seed become one row.

    Examples:
        robench leaderboard runs/* --out leaderboard.csv
    """
    from robench.analysis.leaderboard import FORMATS
    from robench.analysis.leaderboard.leaderboard import leaderboard as build

    board = build(inputs, out, sort_by=sort_by, split=split, suites=names(suite), format=format, force=force)
    print_notes([f"{row['model']}: {row['warnings']}" for row in board.rows if "warnings" in row], "warning")
    if out is None:
        sys.stdout.write(FORMATS[format].text(board))
    else:
        stderr().print(f"{len(board.rows)} row{'s' if len(board.rows) > 1 else ''} in {out}")
