"""`robench verify`: robench's pixels and errors compared with the published package's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.common import names, numbers
from robench.cli.options import Arch, ClassMap, Corruptions, Data, Device, Format, Model, Seed, Severities
from robench.display.console import stderr, stdout, titled_table
from robench.display.progress import progress_display
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.evaluation.verify import Agreement

__all__ = ["verify"]


def verify(
    model: Model = None,
    arch: Arch = None,
    data: Data = None,
    class_map: ClassMap = None,
    suite: Annotated[
        str, typer.Option(help="imagecorruptions, or imagenet-c (the package differs in parts of it).")
    ] = "imagecorruptions",
    corruption: Corruptions = None,
    severity: Severities = None,
    limit: Annotated[int, typer.Option(help="Number of images, evenly spread.", metavar="N")] = 20,
    seed: Seed = 0,
    device: Device = "auto",
    format: Format = "table",  # noqa: A002
) -> None:
    r"""Compare robench's corruptions with the imagecorruptions package on your images.

    Both implementations corrupt the same images. For each corruption and severity, the table shows the difference of the pixels
    and the change of the image by each implementation. With a model, it also shows both top-1 errors. Random corruptions draw
    different values in each implementation, so only their distributions are compared. The exit code is 1 if a cell differs.

    The package is installed with pip install 'robench\[reference]'. It takes about 6 s for an image at 224 px, most of it for
    glass_blur.

    [b]robench verify demo[/b]

    [b]robench verify --data imagenet/val --limit 20 --corruption fog,snow[/b]

    [b]robench verify resnet50.pth --arch torchvision:resnet50 --data imagenet/val --limit 100[/b]
    """
    from robench.datasets import open_dataset
    from robench.display.summary import FORMATS
    from robench.evaluation.verify import verify as compare
    from robench.models import load_classifier

    if data is None and model != "demo":
        raise OptionError("no images are given", "give --data (see `robench list datasets`)")
    if arch is not None and model is None:
        raise OptionError("--arch has no effect without a MODEL", "name the weights file")
    images = open_dataset("demo" if data is None else data, class_map)
    classifier = load_classifier(model, arch, device) if model is not None else None
    with progress_display(stderr()) as progress:
        cells = list(
            compare(
                images,
                suite,
                classifier=classifier,
                corruptions=names(corruption),
                severities=numbers(severity, "--severity", int),
                limit=limit,
                seed=seed,
                observer=progress,
            )
        )
    if format == "table":
        stdout().print(_table(cells, f"{images.name}, {min(limit, len(images))} images, suite {suite}, seed {seed}"))
    else:
        import pandas as pd

        sys.stdout.write(FORMATS[format](pd.DataFrame([asdict(cell) for cell in cells])))
    mismatches = [f"{cell.corruption} {cell.severity}" for cell in cells if cell.agrees is False]
    matches, undecided = ([cell.agrees for cell in cells].count(state) for state in (True, None))
    stderr().print(
        f"{matches} of {len(cells)} cells match"
        + (f"; {undecided} undecided with so few images" if undecided else "")
        + (f"; mismatches: {', '.join(mismatches)}" if mismatches else "")
    )
    if mismatches:
        raise typer.Exit(1)


def _table(cells: Sequence[Agreement], title: str) -> Table:
    table = titled_table(
        title,
        caption="grey levels, 0..255; in brackets: the package's; * different random draws in each implementation",
    )
    errors = cells[0].error is not None
    table.box, table.padding = None, (0, 1, 0, 0)  # A table of 80 characters has no room for lines.
    table.add_column("corruption", no_wrap=True)
    for name in (
        "severity",
        "mean abs diff",
        "share > 1",
        "change",
        "bias",
        *(["error, %"] if errors else []),
        "match",
    ):
        table.add_column(name, justify="right", min_width=6 if name in ("mean abs diff", "share > 1") else None)
    for cell in cells:
        texts = [
            f"{cell.corruption}{' *' if cell.random else ''}",
            str(cell.severity),
            f"{cell.difference:.3f}",
            f"{100 * cell.over_one:.2f} %",
            f"{cell.change:.2f} ({cell.reference_change:.2f})",
            f"{cell.bias:.2f} ({cell.reference_bias:.2f})",
        ]
        if cell.error is not None and cell.reference_error is not None:
            texts.append(f"{100 * cell.error:.1f} ({100 * cell.reference_error:.1f})")
        table.add_row(*texts, {True: "yes", False: "NO", None: "?"}[cell.agrees])
    return table
