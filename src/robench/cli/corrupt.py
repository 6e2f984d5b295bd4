"""`robench corrupt`: corrupted images as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from robench.cli.common import names, numbers
from robench.cli.options import Corruptions, Device, Difficulties, Limit, ReleaseJpeg, Seed, Severities, Side, Suite
from robench.display.console import stderr, stdout
from robench.display.progress import progress_display

__all__ = ["corrupt"]


def corrupt(
    images: Annotated[Path, typer.Argument(help="An image, or a dataset (`robench list datasets`).", metavar="IMAGES")],
    suite: Suite = "imagenet-c",
    corruption: Corruptions = None,
    severity: Severities = None,
    difficulty: Difficulties = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", metavar="DIR")] = Path("corrupted"),
    layout: Annotated[
        Literal["files", "npy"],
        typer.Option(
            help="PNG files, or the arrays of CIFAR-10-C and -P, which --released reads.", metavar="files|npy"
        ),
    ] = "files",
    crop: Side = None,
    limit: Limit = None,
    seed: Seed = 0,
    release: ReleaseJpeg = False,
    device: Device = "auto",
) -> None:
    """Write the corrupted images of a dataset, or of one image.

    The command writes PNG files, or arrays as CIFAR-10-C has them. The pixels are those that `robench evaluate` gives to a
    model with the same seed. Suites of perturbations give their frames.

    Examples:
        robench corrupt cat.jpg --corruption fog --severity 3
        robench corrupt cifar10/test --suite cifar-c --layout npy --out cifar10-c
        robench corrupt cifar10/test --suite cifar-p --corruption tilt
    """
    from robench.evaluation.export import export

    with progress_display(stderr()) as progress:
        written = export(
            images,
            out,
            suite=suite,
            corruptions=names(corruption),
            severities=numbers(severity, "--severity", int),
            difficulties=numbers(difficulty, "--difficulty", int),
            layout=layout,
            crop=crop,
            limit=limit,
            seed=seed,
            release=release,
            device=device,
            observer=progress,
        )
    stdout().print(f"{written:,} image{'' if written == 1 else 's'} in {out}")
