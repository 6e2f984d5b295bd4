"""`robench preview`: what a suite does to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import names, numbers, stdout

__all__ = ["preview"]


def preview(
    image: Annotated[Path, typer.Argument(help="An image file of any size.", metavar="IMAGE")],
    suite: Annotated[
        str, typer.Option(help="Whose image geometry and constants; see `robench list suites`.")
    ] = "imagenet-c",
    corruption: Annotated[
        list[str] | None, typer.Option(help="One or more, separated by commas; default: the suite's own.")
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(help="One or more of 1 to 5, separated by commas; default: all.")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(help="Side of the model's input, px, for suites that take any. Default: 224.", metavar="PX"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write the grid; one that exists is replaced.")] = Path("grid.png"),
    seed: Annotated[int, typer.Option(help="Seed of all draws.", min=0)] = 0,
) -> None:
    """Draw the grid of corruptions and severities of one picture; of suites of frames, some frames of each.

    [b]robench preview cat.jpg --suite imagenet-c --out grid.png[/b]
    """
    from robench.evaluation.preview import preview as draw

    width, height = draw(
        image,
        out,
        suite=suite,
        corruptions=names(corruption),
        severities=numbers(severity, "--severity", int),
        crop=crop,
        seed=seed,
    )
    stdout().print(f"{out}: {width} x {height} pixels")
