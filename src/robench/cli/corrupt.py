"""`robench corrupt`: the corrupted images themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import names, numbers, stderr, stdout
from robench.cli.progress import observer

__all__ = ["corrupt"]


def corrupt(
    images: Annotated[Path, typer.Argument(help="An image, or what `robench list datasets` lists.", metavar="IMAGES")],
    suite: Annotated[
        str, typer.Option(help="Whose image geometry and constants; see `robench list suites`.")
    ] = "imagenet-c",
    corruption: Annotated[
        list[str] | None, typer.Option(help="One or more, separated by commas; default: all there are.")
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(help="One or more of 1 to 5, separated by commas; default: all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write CORRUPTION/SEVERITY/CLASS/NAME.png.")] = Path("corrupted"),
    limit: Annotated[int | None, typer.Option(help="Only so many images, evenly spread.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    release: Annotated[
        bool, typer.Option("--release-jpeg", help="Add the JPEG pass that the suite's released files went through.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where to compute.", metavar="auto|cpu|cuda|cuda:N")] = "auto",
) -> None:
    """Write the corrupted images of a folder, or of one image, as PNG files.

    The pixels are those that `robench evaluate` shows to a model with the same seed.
    """
    from robench.evaluation.export import export

    with observer(stderr()) as progress:
        written = export(
            images,
            out,
            suite=suite,
            corruptions=names(corruption),
            severities=numbers(severity, "--severity", int),
            limit=limit,
            seed=seed,
            release=release,
            device=device,
            observer=progress,
        )
    stdout().print(f"{written} images in {out}")
