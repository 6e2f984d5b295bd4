"""`robench report`: runs on one page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import found_runs
from robench.cli.options import Decisions, Force, Runs
from robench.display.console import stderr

__all__ = ["report"]


def report(
    runs: Runs,
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file of the page.", metavar="FILE")] = Path(
        "report.html"
    ),
    force: Force = False,
    data: Annotated[
        str | None, typer.Option(help="Dataset of the example images.", show_default="the run's", metavar="DATA")
    ] = None,
    examples: Annotated[
        int, typer.Option(help="Example images of each kind, run and suite; 0 needs no torch.", metavar="N")
    ] = 8,
    decisions: Decisions = None,
    field: Annotated[bool, typer.Option("--field", help="Show the published models around the runs.")] = False,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Robustness report",
) -> None:
    """Write an HTML report: where runs differ, what breaks a model.

    Each run is compared with the first one. The page opens in any browser without a network. The command needs the extra robench[report].

    Examples:
        robench report runs/resnet50-*
        robench report runs/a runs/b --out compare.html --examples 0
        robench report runs/resnet50 --field
    """
    from robench.datasets.byte_sizes import format_bytes
    from robench.evaluation.report import report as write

    path = write(
        found_runs(runs),
        out,
        data=data,
        examples=examples,
        field=field,
        title=title,
        force=force,
        decisions=decisions or (),
    )
    stderr().print(f"{path}: {format_bytes(path.stat().st_size)}")
