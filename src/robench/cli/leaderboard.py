"""`robench leaderboard`: results of many models as one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import names, stderr

__all__ = ["leaderboard"]


def leaderboard(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories, results.csv or leaderboard.csv files, result files of timm, RobustBench's JSON.",
            metavar="RUN|CSV…",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write it; a leaderboard.csv that exists is merged with. Default: print it.", metavar="FILE"
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        str, typer.Option(help="csv has every column; the others are for readers.", metavar="csv|markdown|latex")
    ] = "csv",
    sort_by: Annotated[
        str | None,
        typer.Option(
            help="What to rank by, a column or a metric. Default: the first of mce, mean_error, top1 that all have.",
            metavar="METRIC",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Only these suites, where runs have several of a kind.", metavar="SUITE")
    ] = None,
    split: Annotated[
        bool,
        typer.Option("--split", help="Give rows that do not compare sections of their own, instead of refusing them."),
    ] = False,
) -> None:
    """Rank models in one table: accuracy, mCE, flip rates, consistency, with intervals.

    Rows compare where dataset, samples, source and protocols are equal. A rank is one more than the
    number of models whose whole interval is better. Runs that differ in --seed alone are one row.

    [b]robench leaderboard runs/* --out leaderboard.csv[/b]
    """
    from robench.analysis.leaderboard import FORMATS
    from robench.analysis.leaderboard import leaderboard as build

    board = build(inputs, out, sort_by=sort_by, split=split, suites=names(suite), format=format)
    if out is None:
        sys.stdout.write(FORMATS[format].text(board))
    else:
        stderr().print(f"{len(board.rows)} row{'s' if len(board.rows) > 1 else ''} in {out}")
