"""`robench pool`: several seeds of one evaluation in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import found_runs
from robench.cli.options import Force, Format, RenormalizeBy
from robench.display.console import stderr, stdout

__all__ = ["pool"]


def pool(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories that differ only in --seed, or a folder of them.", metavar="RUN"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="CSV file for gate, compare and leaderboard.",
            show_default="standard output",
            metavar="CSV",
        ),
    ] = None,
    force: Force = False,
    normalize_by: RenormalizeBy = None,
    format: Format = "table",  # noqa: A002
) -> None:
    """Average several seeds of one model.

    The intervals then include the randomness of the corruptions. Evaluate each seed into a directory of its own, then
    pool the directories. `robench gate` also accepts the run directories themselves, and its tests on them are
    sharper than on the table.

    Examples:
        robench evaluate net.pth --arch … --data val --suite imagenet-c --seed 1 --out runs/net-s1
        robench pool runs/net-s0 runs/net-s1 runs/net-s2 --out net.csv
    """
    from robench.analysis.scoring import pool as average
    from robench.display.summary import FORMATS, summary
    from robench.runs.csv import has_header, write_csv
    from robench.runs.directory import RunDirectory
    from robench.runs.files import check_replaceable, translate_os_errors
    from robench.runs.schema import RESULTS

    if out is not None:
        check_replaceable(out, has_header(RESULTS.names), "--out", force)
    runs = found_runs(runs)
    results, notes = average([RunDirectory.open(run) for run in runs], normalize_by)
    if out is not None:
        with translate_os_errors(out):
            write_csv(RESULTS, results, out)
        stderr().print(f"results of {len(runs)} seeds in {out}")
    elif format != "table":
        sys.stdout.write(FORMATS[format](results))
    if out is not None or format == "table":
        stdout().print(summary(results, notes))
