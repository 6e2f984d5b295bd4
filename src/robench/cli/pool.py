"""`robench pool`: several seeds of one evaluation as one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import stderr, stdout
from robench.errors import OptionError, unknown_name

__all__ = ["pool"]


def pool(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories of one model and dataset that differ in --seed alone.", metavar="RUN RUN…"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the results, for gate, compare and leaderboard. Default: print them.", metavar="CSV"
        ),
    ] = None,
    normalize_by: Annotated[
        str | None,
        typer.Option(
            help="What CE, mCE, FR, mFR and mT5D are divided by. Default: as the runs were made.",
            metavar="alexnet|RUN|none",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="How to print them.", metavar="table|json|csv")] = "table",  # noqa: A002
) -> None:
    """Average several seeds of one model; the intervals then hold the randomness of the corruptions too.

    [b]robench evaluate net.pth --arch … --data val --suite imagenet-c --seed 1 --out runs/net-s1[/b]   and so on, then

    [b]robench pool runs/net-s0 runs/net-s1 runs/net-s2 --out net.csv[/b]

    `robench gate` takes the run directories themselves, which tests sharper than the table.
    """
    from robench.analysis.scoring import pool as average
    from robench.cli.summary import FORMATS, summary
    from robench.runs.csv import has_header, write_csv
    from robench.runs.directory import RunDirectory
    from robench.runs.files import check_replaceable, translate_os_errors
    from robench.runs.schema import RESULTS

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    if out is not None:
        check_replaceable(out, has_header(RESULTS.names), "--out")
    results, notes = average([RunDirectory.open(one) for one in runs], normalize_by)
    if out is not None:
        with translate_os_errors(out):
            write_csv(RESULTS, results, out)
        stderr().print(f"results of {len(runs)} seeds in {out}")
    elif format != "table":
        sys.stdout.write(FORMATS[format](results))
    if out is not None or format == "table":
        stdout().print(summary(results, notes))
