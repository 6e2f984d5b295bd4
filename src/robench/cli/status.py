"""`robench status`: progress of runs, read from their directories."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from robench.display.console import stdout
from robench.display.progress import duration, worker_line
from robench.errors import OptionError

if TYPE_CHECKING:
    from robench.runs.status import Status

__all__ = ["status"]

_PERIOD = 2.0
"""Seconds between two updates of --watch."""


def status(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.", metavar="RUN")],
    format: Annotated[Literal["table", "json"], typer.Option(help="Output format.", metavar="table|json")] = "table",  # noqa: A002
    notes: Annotated[bool, typer.Option("--notes", help="Print the notes of the runs too.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update every two seconds while a run is running.")] = False,
) -> None:
    """Print the progress of running, finished and interrupted runs.

    A run may be running in another process or on another machine that shares its directory.

    Examples:
        robench status runs/
        robench status --watch runs/resnet50-imagenet-imagenet-c
    """
    from robench.runs.find import find_runs
    from robench.runs.status import RUNNING, as_json
    from robench.runs.status import status as read_status

    if watch and format != "table":
        raise OptionError("--watch prints a table only", "omit --format")
    statuses = [read_status(path) for path in find_runs(runs, finished=False)]
    if format == "json":
        sys.stdout.write(as_json(statuses))
        return
    if not watch:
        stdout().print(_table(statuses, notes), crop=False)
        return
    try:
        with Live(_table(statuses, notes), console=stdout(), auto_refresh=False) as live:
            while any(status.state == RUNNING for status in statuses):
                time.sleep(_PERIOD)
                statuses = [read_status(path) for path in find_runs(runs, finished=False)]
                live.update(_table(statuses, notes), refresh=True)
    except KeyboardInterrupt:
        pass  # It ends --watch, not the run.


def _table(statuses: Sequence[Status], notes: bool) -> Group:
    """Return a row for each run without empty columns, then the lines on runs that need attention."""
    table = Table(box=None, pad_edge=False)
    columns = {"run": [str(status.path) for status in statuses]}
    columns |= {name: [cell(status) for status in statuses] for name, cell in _COLUMNS.items()}
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    others = sum(max(map(len, [name, *cells])) + 2 for name, cells in filled.items() if name != "run")
    filled["run"] = [_broken(path, max(_LEAST_NAME, stdout().width - others)) for path in filled["run"]]
    for name in filled:
        if name in ("run", "state"):
            table.add_column(name, overflow="fold", min_width=_LEAST_NAME if name == "run" else None)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for cells in zip(*filled.values(), strict=True):
        table.add_row(*cells)
    several = len(statuses) > 1
    lines = [line for status in statuses for line in _lines(status, notes, several)]
    return Group(table, *([Text()] if lines else []), *(Text(line, no_wrap=True, overflow="ignore") for line in lines))


def _broken(path: str, width: int) -> str:
    """Return a path in lines of at most `width` characters that end after a separator where there is one."""
    lines = [""]
    for part in re.findall(r"[^/_\-+]*[/_\-+]*", path):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _ago(status: Status) -> str:
    """Return the age of the last update in its largest unit."""
    age = status.age
    if age is None:
        return ""
    size, unit = next(
        (size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if age >= size or size == 1
    )
    return f"{age / size:.0f} {unit} ago"


_COLUMNS: dict[str, Callable[[Status], str]] = {
    "state": lambda status: f"{status.state}, {status.phase}" if status.phase else status.state,
    "done": lambda status: f"{100 * status.images_done // max(status.images, 1)} %",
    "conditions": lambda status: f"{status.conditions_done}/{status.conditions}",
    "images/s": lambda status: "" if status.images_per_second is None else f"{status.images_per_second:,.0f}",
    "left": lambda status: "" if status.seconds_left is None else duration(status.seconds_left),
    "workers": lambda status: str(len(status.workers) or ""),
    "updated": _ago,
}
"""Columns of the table after the run, and their cells."""

_LEAST_NAME = 20
"""Least width of the column of runs."""


def _lines(status: Status, notes: bool, several: bool) -> list[str]:
    """Return the workers, the notes if they are wanted, and the next command, except for each of several finished runs."""
    lines = [worker_line(worker) for worker in status.workers]
    lines += [f"{note.at[:19].replace('T', ' ')} {note.text}" for note in status.notes if notes]
    lines += [status.next] if status.next and not (several and status.state == "finished") else []
    return [f"{status.path}: {line}" if several else line for line in lines]
