"""`robench status`: progress of runs, read from their directories."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from robench.display.console import stdout
from robench.display.progress import duration, worker_line
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.runs.status import Status

__all__ = ["status"]

_PERIOD = 2.0
"""Seconds between two updates of --watch."""
_NOTES = 3
"""Notes of a run in the table, the last ones; JSON has more."""


def status(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.", metavar="RUN")],
    format: Annotated[Literal["table", "json"], typer.Option(help="Output format.")] = "table",  # noqa: A002
    watch: Annotated[bool, typer.Option("--watch", help="Update every two seconds while a run is running.")] = False,
) -> None:
    """Print the progress of running, finished and interrupted runs.

    A run may be running in another process or on another machine that shares its directory.

    Examples:
        robench status runs/
        robench status --watch runs/resnet50-imagenet-imagenet-c
    """
    from robench.runs.status import RUNNING, as_json, find_runs
    from robench.runs.status import status as read_status

    if watch and format != "table":
        raise OptionError("--watch prints a table only", "omit --format")
    statuses = [read_status(path) for path in find_runs(runs)]
    if format == "json":
        sys.stdout.write(as_json(statuses))
        return
    if not watch:
        stdout().print(_table(statuses))
        return
    try:
        with Live(_table(statuses), console=stdout(), auto_refresh=False) as live:
            while any(status.state == RUNNING for status in statuses):
                time.sleep(_PERIOD)
                statuses = [read_status(path) for path in find_runs(runs)]
                live.update(_table(statuses), refresh=True)
    except KeyboardInterrupt:
        pass  # It ends --watch, not the run.


def _table(statuses: Sequence[Status]) -> Group:
    table = Table()
    table.add_column("run", overflow="fold")
    for column in ("state", "conditions", "images", "images/s", "ETA", "workers", "last update"):
        table.add_column(column, justify="left" if column == "state" else "right", no_wrap=True)
    for status in statuses:
        table.add_row(*_cells(status))
    return Group(table, *(line for status in statuses for line in _lines(status, several=len(statuses) > 1)))


def _cells(status: Status) -> list[str]:
    return [
        str(status.path),
        f"{status.state}, {status.phase}" if status.phase else status.state,
        f"{status.conditions_done} of {status.conditions}",
        f"{100 * status.images_done // max(status.images, 1)} % of {status.images:,}",
        "" if status.images_per_second is None else f"{status.images_per_second:,.0f}",
        "" if status.seconds_left is None else duration(status.seconds_left),
        str(len(status.workers) or ""),
        "" if status.age is None else f"{duration(status.age)} ago",
    ]


def _lines(status: Status, *, several: bool) -> list[str]:
    lines = [worker_line(worker) for worker in status.workers]
    lines += [f"{note.at[:19].replace('T', ' ')} {note.text}" for note in status.notes[-_NOTES:]]
    lines += [status.next] if status.next else []
    return [f"{status.path}: {line}" if several else line for line in lines]
