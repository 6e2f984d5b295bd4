"""`robench leaderboard`: results of many models in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from robench.cli import completion
from robench.cli.common import found_runs, names
from robench.cli.options import Force
from robench.display.console import print_notes, stderr, stdout
from robench.errors import OptionError

__all__ = ["leaderboard"]


def leaderboard(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories, folders of them, results.csv, leaderboard.csv, timm's or RobustBench's files.",
            metavar="RUN|CSV",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write; an existing leaderboard.csv is merged.",
            show_default="standard output",
            metavar="FILE",
        ),
    ] = None,
    force: Force = False,
    format: Annotated[  # noqa: A002
        Literal["table", "csv", "markdown", "latex"] | None,
        typer.Option(
            help="Output format; only csv has every column.",
            show_default="table on a terminal, else csv",
            metavar="table|csv|markdown|latex",
        ),
    ] = None,
    columns: Annotated[
        Literal["metrics", "uncertainty", "corruptions"],
        typer.Option(
            help="Headline metrics, those of uncertainty, or the error of each corruption.",
            metavar="metrics|uncertainty|corruptions",
        ),
    ] = "metrics",
    intervals: Annotated[
        Literal["brackets", "pm", "none"],
        typer.Option(
            help="Form of the 95 % intervals, except in csv; pm is half the width.", metavar="brackets|pm|none"
        ),
    ] = "brackets",
    sort_by: Annotated[
        str | None,
        typer.Option(help="Column or metric of the ranks.", show_default="mce, mean_error or top1", metavar="METRIC"),
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", help="Suites of the runs.", show_default="all", metavar="NAME")
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(
            help="Published models to rank with the runs, see `robench list fields`.",
            show_default="none",
            metavar="NAME",
            autocompletion=completion.fields,
        ),
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="Separate sections for rows that are not comparable.")] = False,
) -> None:
    """Rank models in one table, with intervals.

    Rows are comparable if dataset, samples, source and protocols are equal. A rank is one more than the number of models whose
    whole interval is better. Runs that differ only in
    --seed become one row; runs of other --mean, --std or --channels are rows of their own.

    Examples:
        robench leaderboard runs/* --out leaderboard.csv
        robench leaderboard runs/* --field imagenet-c
    """
    from robench.analysis.leaderboard import FORMATS
    from robench.analysis.leaderboard.leaderboard import leaderboard as build

    if format == "table" and out is not None:
        raise OptionError("a table is printed, not written", "give --format csv, markdown or latex, or omit --out")
    kind = format or ("table" if out is None and sys.stdout.isatty() else "csv")
    board = build(
        found_runs(inputs) if inputs else [],
        out,
        sort_by=sort_by,
        split=split,
        suites=names(suite),
        field=field,
        format="csv" if kind == "table" else kind,
        columns=columns,
        intervals=intervals,
        force=force,
    )
    if kind != "table":  # The table repeats them.
        print_notes([f"{row['model']}: {row['warnings']}" for row in board.rows if "warnings" in row], "warning")
    if kind == "csv":  # Other formats have them.
        print_notes(board.notes)
    if out is not None:
        stderr().print(f"{len(board.rows)} row{'s' if len(board.rows) > 1 else ''} in {out}")
    elif kind == "table":
        from robench.display.leaderboard import board_tables

        console = stdout()
        console.print(board_tables(board, console, intervals))
    else:
        sys.stdout.write(FORMATS[kind].text(board, intervals))
