"""`robench card`: results as a section of a model card, and as a badge."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import found_runs, limit_blas_threads
from robench.cli.options import Force
from robench.display.console import print_notes, stderr
from robench.errors import OptionError

__all__ = ["card"]


def card(
    run: Annotated[
        list[Path],
        typer.Argument(help="Run directory or results.csv; several seeds of a model are averaged.", metavar="RUN"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Model card to create, or to update and else keep.",
            show_default="standard output",
            metavar="README.md",
        ),
    ] = None,
    badge: Annotated[
        Path | None, typer.Option(help="SVG badge of the headline, which the card shows.", metavar="FILE.svg")
    ] = None,
    force: Force = False,
) -> None:
    """Write results as a section of a Hugging Face model card.

    The section has the headlines with intervals, the errors by corruption, the protocol and the command. The metadata
    (model-index) has the headlines too. In an existing card, only the section and these results of the metadata change.

    Examples:
        robench card runs/resnet50 --out README.md
        robench card runs/resnet50 --out README.md --badge robustness.svg
    """
    limit_blas_threads()
    from robench.analysis.badge import badge as draw
    from robench.analysis.badge import is_badge
    from robench.analysis.card import read_card
    from robench.runs.files import atomic_write, check_replaceable, translate_os_errors

    contents = read_card(found_runs(run))
    image = ""
    if badge is not None:
        check_replaceable(badge, is_badge, "--badge", force)
        image = os.path.relpath(badge, out.parent if out is not None else ".").replace(os.sep, "/")
    if out is not None:
        check_replaceable(out, lambda path: path.suffix.lower() in (".md", ".markdown"), "--out", force)
    if out is None or not out.exists() or out.suffix.lower() not in (".md", ".markdown"):
        text = contents.new(image)
    else:
        try:
            text = contents.into(out.read_bytes().decode(), image, name=str(out))
        except UnicodeDecodeError:
            raise OptionError(f"{out} is not UTF-8 text", "save it in UTF-8") from None
    for path, content in (
        (badge, draw(contents.main.name, contents.main.text)),
        (out, text),
    ):
        if path is not None:
            with translate_os_errors(path):
                atomic_write(path, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
            stderr().print(f"{contents.results.name} in {path}")
    print_notes(contents.results.warnings, "warning")
    if out is None:
        sys.stdout.write(text)
