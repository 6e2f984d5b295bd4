"""`robench cache`: the decoded images on disk."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer
from rich.table import Table

from robench.cli.common import names
from robench.cli.help import Command, Group
from robench.display.console import stdout

__all__ = ["cache_app"]

cache_app = typer.Typer(
    cls=Group,
    help="""Show or clear decoded images, which runs share.

    ROBENCH_CACHE is their directory (default ~/.cache/robench). ROBENCH_CACHE_SIZE is their largest size, such as 50GB or 800MB
    (default 50GB, or half of the free disk if that is less). The least recently used images are removed first.""",
    rich_markup_mode=None,
)


@cache_app.command("list", cls=Command)
def list_cache(
    format: Annotated[Literal["table", "json"], typer.Option(help="Output format.", metavar="table|json")] = "table",  # noqa: A002
) -> None:
    """List the entries and their sizes, the last used first."""
    from robench.datasets.byte_sizes import format_bytes
    from robench.datasets.cache.entries import as_json, list_entries, size_limit
    from robench.runs.files import cache_folder

    entries = list_entries()
    if format == "json":
        sys.stdout.write(as_json(entries))
        return
    table = Table()
    for column in ("key", "name", "geometry", "images", "size", "last used", "in use"):
        justify: Literal["left", "right"] = "right" if column in ("images", "size") else "left"
        table.add_column(column, overflow="fold", justify=justify, no_wrap=column == "key")
    for entry in entries:
        images = "" if entry.images is None else f"{entry.images:,}"
        used = entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
        name = entry.name or "(another version's)"
        in_use = "yes" if entry.in_use else ""
        table.add_row(entry.key, name, entry.geometry, images, format_bytes(entry.bytes), used, in_use)
    if entries:
        stdout().print(table)
    total, limit = format_bytes(sum(entry.bytes for entry in entries)), format_bytes(size_limit())
    stdout().print(f"{total} of at most {limit} in {cache_folder()}", soft_wrap=True)


@cache_app.command("clear", cls=Command)
def clear_cache(
    entries: Annotated[
        list[str] | None,
        typer.Argument(help="Names of datasets, or keys of entries.", show_default="all", metavar="NAME"),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(help="Least number of days since the last use.", metavar="DAYS")
    ] = None,
) -> None:
    """Remove decoded images, all or some.

    Entries in use stay. The next run decodes removed images again.
    """
    from robench.datasets.byte_sizes import format_bytes
    from robench.datasets.cache.entries import clear

    cleared = clear(names(entries) or (), older_than)
    for entry in cleared.removed:
        stdout().print(f"removed {entry.label}, {format_bytes(entry.bytes)}", soft_wrap=True)
    for entry, reason in cleared.kept:
        stdout().print(f"kept {entry.label}, {format_bytes(entry.bytes)}: {reason}", soft_wrap=True)
    stdout().print(f"{format_bytes(cleared.bytes)} freed")
