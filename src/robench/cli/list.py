"""`robench list`: what there is to name in the other verbs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from robench.cli.options import stdout
from robench.errors import OptionError, unknown_name

__all__ = ["list_app"]

list_app = typer.Typer(help="List suites, corruptions, models or metrics.", no_args_is_help=True)


@list_app.command()
def suites() -> None:
    """The suites: what is computed, on which images."""
    from robench.suites import SUITES

    table = _table("suite", "what it computes", "image", "JPEG", "baseline")
    for suite in SUITES.values():
        jpeg = str(suite.release_jpeg or "")
        table.add_row(
            suite.name, suite.summary, str(suite.geometry or "the model's"), jpeg, suite.baseline or "", suite.source
        )
    stdout().print(table)


@list_app.command()
def corruptions(
    suite: Annotated[str | None, typer.Option(help="Only those of one suite, with its constants.")] = None,
) -> None:
    """The corruptions, and with --suite their constants at every severity."""
    from robench.corruptions import CORRUPTIONS, find_corruption
    from robench.suites import find_suite

    if suite is None:
        table = _table("corruption", "what it does", "source")
        for corruption in CORRUPTIONS.values():
            table.add_row(corruption.name, corruption.summary, corruption.source)
        stdout().print(table)
        return
    chosen = find_suite(suite)
    table = _table("corruption", *map(str, chosen.severities))
    for name in (*chosen.corruptions, *chosen.extra):
        label = f"{name} (extra)" if name in chosen.extra else name
        levels = find_corruption(name, chosen.constants).levels[chosen.constants]
        table.add_row(label, *(", ".join(f"{key} {value:g}" for key, value in level.items()) for level in levels))
    stdout().print(table)


@list_app.command()
def models(family: Annotated[str, typer.Argument(help="zoo, torchvision or timm.")] = "zoo") -> None:
    """The architectures of a family, to be named as --arch FAMILY:NAME."""
    from robench.models import ARCHITECTURES, architecture_names

    if family not in ARCHITECTURES:
        raise OptionError(unknown_name("family of models", family, ARCHITECTURES))
    for name in architecture_names(family):
        typer.echo(f"{family}:{name}")


@list_app.command()
def metrics() -> None:
    """The metrics: name, unit, direction, definition."""
    from robench.metrics import METRICS

    table = _table("metric", "unit", "better", "definition", "source")
    for metric in METRICS.values():
        better = "higher" if metric.higher_is_better else "lower"
        table.add_row(metric.name, metric.unit, better, metric.meaning, metric.source)
    stdout().print(table)


def _table(*columns: str) -> Table:
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table
