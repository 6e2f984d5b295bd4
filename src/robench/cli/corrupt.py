"""`robench corrupt`: corrupted images as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import names, numbers
from robench.cli.options import Corruptions, Device, Limit, ReleaseJpeg, Seed, Severities, Suite
from robench.display.console import stderr, stdout
from robench.display.progress import progress_display

__all__ = ["corrupt"]


def corrupt(
    images: Annotated[Path, typer.Argument(help="An image, or a dataset (`robench list datasets`).", metavar="IMAGES")],
    suite: Suite = "imagenet-c",
    corruption: Corruptions = None,
    severity: Severities = None,
    out: Annotated[Path, typer.Option(help="Folder of CORRUPTION/SEVERITY/CLASS/NAME.png.")] = Path("corrupted"),
    limit: Limit = None,
    seed: Seed = 0,
    release: ReleaseJpeg = False,
    device: Device = "auto",
) -> None:
    """Write the corrupted images of a dataset, or of one image, as PNG files.

    The pixels are those that `robench evaluate` gives to a model with the same seed.

    [b]robench corrupt cat.jpg --corruption fog --severity 3[/b]
    """
    from robench.evaluation.export import export

    with progress_display(stderr()) as progress:
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
