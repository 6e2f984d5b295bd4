"""`robench verify`: robench's pixels and errors against the published package's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robench.cli.common import names, numbers, stderr, stdout
from robench.cli.progress import observer
from robench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from robench.evaluation.verify import Agreement

__all__ = ["verify"]


def verify(
    model: Annotated[
        str | None,
        typer.Argument(help="As for evaluate: also compare this model's errors.", metavar="[MODEL]"),
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a weights file.", metavar="ARCH")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What `robench list datasets` lists; demo is the default for the model demo.", metavar="DATA"
        ),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(help="Class names in the model's order, one a line.", metavar="FILE")
    ] = None,
    suite: Annotated[
        str, typer.Option(help="imagecorruptions; or imagenet-c, parts of which the package computes in its own way.")
    ] = "imagecorruptions",
    corruption: Annotated[
        list[str] | None, typer.Option(help="One or more, separated by commas; default: all there are.")
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(help="One or more of 1 to 5, separated by commas; default: all.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Only N images, evenly spread.", metavar="N")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Annotated[str, typer.Option(help="Where the model runs.", metavar="auto|cpu|cuda|cuda:N")] = "auto",
    format: Annotated[str, typer.Option(help="How to print.", metavar="table|json|csv")] = "table",  # noqa: A002
) -> None:
    """Check robench's corruptions against the imagecorruptions package, on your own images.

    Both corrupt the same images; the table shows, per corruption and severity, how far the pixels lie apart, how strongly
    each side changes the image, and with a model the errors of both. Corruptions with draws have draws of their own on each
    side: what must agree there is the distribution. Exits with 1 if a cell does not agree.

    Needs the package: pip install 'robench\\[reference]'. About 6 s an image at 224 pixels, most of it in glass_blur.

    [b]robench verify demo[/b]

    [b]robench verify --data imagenet/val --limit 20 --corruption fog,snow[/b]

    [b]robench verify resnet50.pth --arch torchvision:resnet50 --data imagenet/val --limit 100[/b]
    """
    from robench.cli.summary import FORMATS
    from robench.datasets import open_dataset
    from robench.evaluation.verify import verify as compare
    from robench.models import load_classifier

    if format not in ("table", *FORMATS):
        raise OptionError(unknown_name("format", format, ("table", *FORMATS)))
    if data is None and model != "demo":
        raise OptionError(
            "no images were named: give --data, a folder of class folders or another of `robench list datasets`"
        )
    if arch is not None and model is None:
        raise OptionError("--arch belongs to a MODEL: name the weights file as well")
    images = open_dataset("demo" if data is None else data, class_map)
    classifier = load_classifier(model, arch, device) if model is not None else None
    with observer(stderr()) as progress:
        found = list(
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
        stdout().print(_table(found, f"{images.name}, {min(limit, len(images))} images, suite {suite}, seed {seed}"))
    else:
        import pandas as pd

        sys.stdout.write(FORMATS[format](pd.DataFrame([asdict(one) for one in found])))
    apart = [f"{one.corruption} {one.severity}" for one in found if one.agrees is False]
    agree, unknown = ([one.agrees for one in found].count(state) for state in (True, None))
    stderr().print(
        f"{agree} of {len(found)} cells agree"
        + (f"; {unknown} cannot be told from so few images" if unknown else "")
        + (f"; not: {', '.join(apart)}" if apart else "")
    )
    if apart:
        raise typer.Exit(1)


def _table(found: Sequence[Agreement], title: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        min_width=len(title),
        caption="grey levels, 0..255; in brackets the package's; * draws of its own on each side",
        caption_justify="left",
    )
    errors = found[0].error is not None
    table.add_column("corruption", no_wrap=True)
    for name in ("sev", "apart", "> 1", "change", "bias", *(["error, %"] if errors else []), "agrees"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        cells = [
            f"{one.corruption}{' *' if one.random else ''}",
            str(one.severity),
            f"{one.difference:.3f}",
            f"{100 * one.over_one:.2f} %",
            f"{one.change:.2f} ({one.reference_change:.2f})",
            f"{one.bias:.2f} ({one.reference_bias:.2f})",
        ]
        if one.error is not None and one.reference_error is not None:
            cells.append(f"{100 * one.error:.1f} ({100 * one.reference_error:.1f})")
        table.add_row(*cells, {True: "yes", False: "NO", None: "?"}[one.agrees])
    return table
