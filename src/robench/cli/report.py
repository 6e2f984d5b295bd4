"""`robench report`: runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import stderr

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or results CSV files, shown side by side.", metavar="RUN…")
    ],
    out: Annotated[Path, typer.Option(help="The page to write.", metavar="FILE")] = Path("report.html"),
    data: Annotated[
        str | None,
        typer.Option(help="Where the images are now, for the gallery. Default: where they were.", metavar="DATA"),
    ] = None,
    examples: Annotated[
        int, typer.Option(help="Images a run and suite in the gallery; 0 reads none, and needs no torch.", metavar="N")
    ] = 8,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Robustness report",
) -> None:
    """Write one self-contained page: headlines, heat maps, curves, calibration, and what the models confuse.

    It opens in any browser without a network. Needs the extra robench[report].

    [b]robench report runs/resnet50-*[/b]

    [b]robench report runs/a runs/b --out compare.html --examples 0[/b]
    """
    from robench.datasets.byte_sizes import format_bytes
    from robench.evaluation.report import report as write

    path = write(runs, out, data=data, examples=examples, title=title)
    stderr().print(f"{path}: {format_bytes(path.stat().st_size)}")
