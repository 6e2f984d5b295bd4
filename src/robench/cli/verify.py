"""`robench verify`: robench's pixels and errors compared with the published package's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robench.cli.common import names, numbers
from robench.cli.options import Arch, ClassMap, Corruptions, Data, Device, Format, Model, Seed, Severities
from robench.display.console import stderr, stdout
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
        str,
        typer.Option(
            "--suite",
            "-s",
            help="imagecorruptions, or imagenet-c (the package differs in parts of it).",
            metavar="NAME",
        ),
    ] = "imagecorruptions",
    corruption: Corruptions = None,
    severity: Severities = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Number of images, evenly spread.", metavar="N")] = 20,
    seed: Seed = 0,
    device: Device = "auto",
    format: Format = "table",  # noqa: A002
) -> None:
    """Check robench's pixels against the imagecorruptions package.

    Both implementations corrupt the same images. Without draws, their pixels are compared. Random corruptions draw different
    values in each implementation, so only their distributions are compared. Each table states its tolerance. With a model,
    both top-1 errors are shown. The exit code is 1 if a cell differs.

    The package is installed with pip install 'robench[reference]'. It takes about 6 s for an image at 224 px, most of it for
    glass_blur.

    Examples:
        robench verify demo
        robench verify --data imagenet/val --limit 20 --corruption fog,snow
        robench verify resnet50.pth --arch torchvision:resnet50 --data imagenet/val --limit 100
    """
    from robench.datasets import open_dataset
    from robench.display.summary import FORMATS
    from robench.evaluation.input_size import default_class_names, default_input_size
    from robench.evaluation.verify import verify as compare
    from robench.models import load_classifier

    if data is None and model != "demo":
        raise OptionError("no images are given", "give --data (see `robench list datasets`)")
    if arch is not None and model is None:
        raise OptionError("--arch has no effect without a MODEL", "name the weights file")
    images = open_dataset("demo" if data is None else data, class_map)
    size = default_input_size([suite], images)
    names_here = default_class_names(images)
    classifier = (
        load_classifier(model, arch, device, default_crop=size, default_class_names=names_here)
        if model is not None
        else None
    )
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
        title = f"{images.name}, {min(limit, len(images)):,} images, suite {suite}, seed {seed}"
        stdout().print(_tables(cells, title))
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


def _tables(cells: Sequence[Agreement], title: str) -> Group:
    """Return a table of the corruptions without draws and one of those with draws, each with its criterion."""
    from robench.evaluation.verify import MAX_DIFFERENCE, MAX_OVER_ONE

    parts: list[RenderableType] = [Text(title, "bold")]
    fixed, random = ([cell for cell in cells if cell.random is drawn] for drawn in (False, True))
    if fixed:
        rule = (
            f"without draws: the pixels agree. The mean difference is at most {MAX_DIFFERENCE:g} grey levels of 255, and at most "
            f"{100 * MAX_OVER_ONE:g} % of the values differ by more than 1."
        )
        columns = {
            "mean diff": lambda cell: f"{cell.difference:.3f}",
            "share > 1": lambda cell: f"{100 * cell.over_one:.2f} %",
        }
        parts += ["", Text(rule), _table(fixed, columns)]
    if random:
        rule = (
            "with draws: the pixels differ, and their distributions agree. The mean absolute change of the images (in % of "
            "the package's) and their mean change (in grey levels) differ by at most the limit, which chance explains with "
            "this number of images. Errors differ by chance too."
        )
        columns = {
            "change, % (limit)": lambda cell: _difference(
                cell.change, cell.reference_change, cell.change_tolerance, 100 / (cell.reference_change or 1)
            ),
            "bias (limit)": lambda cell: _difference(cell.bias, cell.reference_bias, cell.bias_tolerance),
        }
        parts += ["", Text(rule), _table(random, columns)]
    return Group(*parts)


def _difference(ours: float, theirs: float, tolerance: float | None, scale: float = 1.0) -> str:
    """Return a difference with its tolerance, which is unknown for a single image."""
    return f"{scale * (ours - theirs):+.2f} ({'?' if tolerance is None else f'{scale * tolerance:.2f}'})"


def _table(cells: Sequence[Agreement], columns: Mapping[str, Callable[[Agreement], str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("corruption", no_wrap=True)
    texts: dict[str, Callable[[Agreement], str]] = {
        "severity": lambda cell: str(cell.severity),
        **columns,
        "error, % (package's)": lambda cell: (
            "" if cell.error is None else f"{100 * cell.error:.1f} ({100 * (cell.reference_error or 0):.1f})"
        ),
        "match": lambda cell: {True: "yes", False: "NO", None: "?"}[cell.agrees],
    }
    shown = {name: text for name, text in texts.items() if any(map(text, cells))}
    for name in shown:
        table.add_column(name, justify="right", min_width=len(name.split()[0]))
    for cell in cells:
        table.add_row(cell.corruption, *(text(cell) for text in shown.values()))
    return table
