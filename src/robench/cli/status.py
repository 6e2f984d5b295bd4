"""`robench status`: where runs stand, from their directories alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from robench.cli.common import stdout
from robench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from robench.runs.status import Status

__all__ = ["status"]

_EVERY = 2.0
"""Seconds between two looks."""
_NOTES = 3
"""Notes shown of a run, the last ones; JSON has more."""


def status(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or folders of them.", metavar="RUN…", show_default=False)
    ],
    format: Annotated[str, typer.Option(help="How to print it.", metavar="table|json")] = "table",  # noqa: A002
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until none is running.")
    ] = False,
) -> None:
    """Say where runs stand: of those that go on elsewhere, on this machine or another, that ended, or that were killed.

    [b]robench status runs/[/b]

    [b]robench status --watch runs/resnet50-imagenet-imagenet-c[/b]
    """
    from robench.runs.status import RUNNING, as_json, find_runs
    from robench.runs.status import status as look

    if format not in ("table", "json"):
        raise OptionError(unknown_name("format", format, ("table", "json")))
    if watch and format != "table":
        raise OptionError("--watch shows a table: leave --format out")
    found = [look(path) for path in find_runs(runs)]
    if format == "json":
        sys.stdout.write(as_json(found))
        return
    if not watch:
        stdout().print(_shown(found))
        return
    from rich.live import Live

    try:
        with Live(_shown(found), console=stdout(), auto_refresh=False) as live:
            while any(one.state == RUNNING for one in found):
                time.sleep(_EVERY)
                found = [look(path) for path in find_runs(runs)]
                live.update(_shown(found), refresh=True)
    except KeyboardInterrupt:
        pass  # Of the looking alone: what is looked at goes on.


def _shown(found: Sequence[Status]) -> Group:
    table = Table()
    table.add_column("run", overflow="fold")
    for column in ("state", "conditions", "images", "images/s", "left", "workers", "heard"):
        table.add_column(column, justify="left" if column == "state" else "right", no_wrap=True)
    for one in found:
        table.add_row(*_cells(one))
    return Group(table, *(line for one in found for line in _lines(one, several=len(found) > 1)))


def _cells(one: Status) -> list[str]:
    from robench.cli.progress import duration

    return [
        str(one.path),
        f"{one.state}, {one.phase}" if one.phase else one.state,
        f"{one.conditions_done} of {one.conditions}",
        f"{100 * one.images_done // max(one.images, 1)} % of {one.images:,}",
        "" if one.images_per_second is None else f"{one.images_per_second:,.0f}",
        "" if one.seconds_left is None else duration(one.seconds_left),
        str(len(one.workers) or ""),
        "" if one.age is None else f"{duration(one.age)} ago",
    ]


def _lines(one: Status, *, several: bool) -> list[str]:
    from robench.cli.progress import worker_line

    lines = [worker_line(worker) for worker in one.workers]
    lines += [f"{note.at[:19].replace('T', ' ')} {note.text}" for note in one.notes[-_NOTES:]]
    lines += [one.next] if one.next else []
    return [f"{one.path}: {line}" if several else line for line in lines]
