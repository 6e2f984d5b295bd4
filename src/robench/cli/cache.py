"""`robench cache`: what the decode cache holds, and how to empty it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from robench.cli.common import names, stdout
from robench.errors import OptionError, unknown_name

__all__ = ["cache_app"]

cache_app = typer.Typer(
    help="The decoded images that are kept between runs. ROBENCH_CACHE says where (default ~/.cache/robench); "
    "ROBENCH_CACHE_SIZE how much at most, like 50GB or 800MB (default 50GB, or half of the free disk where that is less): "
    "then what was used longest ago goes.",
    no_args_is_help=True,
)


@cache_app.command("list")
def list_cache(
    format: Annotated[str, typer.Option(help="How to print it.", metavar="table|json")] = "table",  # noqa: A002
) -> None:
    """What the cache holds, the last used first, and how much room it takes."""
    from robench.datasets.byte_sizes import format_bytes
    from robench.datasets.cache.entries import as_json, list_entries, size_limit
    from robench.runs.files import cache_folder

    if format not in ("table", "json"):
        raise OptionError(unknown_name("format", format, ("table", "json")))
    entries = list_entries()
    if format == "json":
        sys.stdout.write(as_json(entries))
        return
    table = Table()
    for column, right in {
        "key": 0,
        "name": 0,
        "geometry": 0,
        "images": 1,
        "size": 1,
        "last used": 0,
        "in use": 0,
    }.items():
        table.add_column(column, overflow="fold", justify="right" if right else "left", no_wrap=column == "key")
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


@cache_app.command("clear")
def clear_cache(
    chosen: Annotated[
        list[str] | None, typer.Argument(help="Names of datasets, or keys, as `list` shows them.", metavar="[NAME…]")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(help="Only what was not used for so many days.", metavar="DAYS")
    ] = None,
) -> None:
    """Remove decoded images: all, or those named. They are made again when they are needed; what is in use stays."""
    from robench.datasets.byte_sizes import format_bytes
    from robench.datasets.cache.entries import clear

    cleared = clear(names(chosen) or (), older_than)
    for entry in cleared.removed:
        stdout().print(f"removed {entry.label}, {format_bytes(entry.bytes)}", soft_wrap=True)
    for entry, reason in cleared.kept:
        stdout().print(f"left {entry.label}, {format_bytes(entry.bytes)}: {reason}", soft_wrap=True)
    stdout().print(f"{format_bytes(cleared.bytes)} freed")
