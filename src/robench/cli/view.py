"""`robench view`: a local page of the samples of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from robench.cli.common import found_runs
from robench.display.console import print_notes, stderr, stdout

__all__ = ["view"]

_FILTERS, _BUNDLE = "Samples", "Bundle"


def _filter(text: str, metavar: str, *names: str, default: str = "any") -> Any:
    """Return an option that selects samples."""
    return typer.Option(*names, help=text, metavar=metavar, show_default=default, rich_help_panel=_FILTERS)


def view(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.", metavar="RUN")],
    suite: Annotated[str | None, _filter("Suite.", "NAME", "--suite", "-s")] = None,
    corruption: Annotated[str | None, _filter("Corruption or perturbation.", "NAME")] = None,
    severity: Annotated[str | None, _filter("Severity.", "N")] = None,
    outcome: Annotated[
        str | None, _filter("Outcome of each run in order: right, wrong, broken, flip or any.", "OUTCOME,...")
    ] = None,
    agreement: Annotated[
        Literal["differ", "agree"] | None, _filter("Relation of the predictions of all runs.", "differ|agree")
    ] = None,
    label: Annotated[str | None, _filter("True class, name or number.", "CLASS", "--class")] = None,
    predicted: Annotated[str | None, _filter("Class that a run predicts.", "CLASS")] = None,
    confidence: Annotated[str | None, _filter("Confidence of the first run, such as 0.9-1.", "FROM-TO")] = None,
    order: Annotated[
        Literal["disagreement", "confidence", "doubt", "flips", "sample"] | None,
        _filter("Order of the samples.", "ORDER", default="disagreement or confidence"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Dataset of the images.", show_default="the runs'", metavar="DATA"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the local server; 0 for a free one.", min=0, max=65535)] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write static files instead of serving the page.", metavar="DIR", rich_help_panel=_BUNDLE),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="Images of each condition.", metavar="N", rich_help_panel=_BUNDLE)
    ] = 12,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder of another kind.", rich_help_panel=_BUNDLE)
    ] = False,
) -> None:
    """Browse samples: right or wrong, by corruption, severity, class.

    The page shows first where runs disagree, or what broke one run. It is served to this machine alone, read-only, until Ctrl-C.
    The address is on the first line. The command needs the extra robench[view].

    Examples:
        robench view runs/resnet20
        robench view runs/resnet20 runs/resnet56 --outcome wrong,right --corruption fog
        robench view runs/resnet20 runs/resnet56 --bundle disagreements -n 24
    """
    from robench.errors import OptionError

    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise OptionError(f"the page needs {error.name}", "pip install 'robench[view]'") from error
    from robench.datasets.byte_sizes import format_bytes
    from robench.viewer.view import view as serve
    from robench.viewer.view import write_view

    low, _, high = (confidence or "").partition("-")
    filters = {
        "suite": suite,
        "corruption": corruption,
        "severity": severity,
        "outcome": outcome,
        "runs": agreement,
        "label": label,
        "predicted": predicted,
        "low": low,
        "high": high,
        "order": order,
    }
    chosen = {name: text for name, text in filters.items() if text}
    paths = found_runs(runs)
    with stderr().status("reading records") as status:

        def advance(done: int, total: int) -> None:
            status.update(f"{done:,} of {total:,}")

        if bundle is not None:
            written, notes = write_view(paths, bundle, chosen, count=limit, data=data, force=force, advance=advance)
        else:

            def ready(address: str, notes: Sequence[str]) -> None:
                status.stop()
                stdout().print(address, soft_wrap=True)
                print_notes(notes)
                stderr().print("The page is open to this machine alone. Ctrl-C ends it.")

            serve(paths, chosen, data=data, port=port, opens=not no_open, ready=ready, advance=advance)
            stderr().print("The page has ended.")
            return
    print_notes(notes)
    samples = f"{written.samples:,} sample{'s' if written.samples > 1 else ''}"
    stdout().print(
        f"{bundle}: {written.images:,} images of {samples}, {format_bytes(written.bytes)}; "
        f"open {bundle / 'index.html'}",
        soft_wrap=True,
    )
