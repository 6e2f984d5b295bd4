"""`robench preview`: a grid of one image under a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import names, numbers
from robench.cli.options import Corruptions, Force, Seed, Severities, Side, Suite
from robench.display.console import print_notes, stdout

__all__ = ["preview"]


def preview(
    image: Annotated[Path, typer.Argument(help="Image file of any size.", metavar="IMAGE")],
    suite: Suite = "imagenet-c",
    corruption: Corruptions = None,
    severity: Severities = None,
    crop: Side = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; .gif and .webp animate frames.", metavar="FILE")
    ] = Path("grid.png"),
    force: Force = False,
    seed: Seed = 0,
) -> None:
    """Draw the corruptions of a suite on one image, as a grid.

    Perturbations have some of their frames in a .png, and all of them in a .gif or .webp.
    --crop applies to suites without a size of their own (default 224).

    Examples:
        robench preview cat.jpg --suite imagenet-c --out grid.png
        robench preview cat.jpg --suite imagenet-p --out frames.webp
    """
    from robench.datasets.byte_sizes import format_bytes
    from robench.evaluation.preview import preview as draw

    drawn = draw(
        image,
        out,
        suite=suite,
        corruptions=names(corruption),
        severities=numbers(severity, "--severity", int),
        crop=crop,
        seed=seed,
        force=force,
    )
    frames = f", {drawn.frames} frames" if drawn.frames > 1 else ""
    stdout().print(f"{out}: {drawn.width} x {drawn.height} pixels{frames}, {format_bytes(drawn.bytes)}")
    if drawn.reduction:
        print_notes([f"for a file below 1 MB: {drawn.reduction}"])
