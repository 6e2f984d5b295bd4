"""`view` and bundles of runs, from their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from robench.errors import OptionError, RobenchError
from robench.viewer.bundle import Bundle, check_bundle, write_bundle
from robench.viewer.images import SampleImages
from robench.viewer.overview import overview
from robench.viewer.query import Query, class_number, first_query, parse_query
from robench.viewer.samples import SampleTable, read_samples
from robench.viewer.serve import serve

__all__ = ["view", "write_view"]

Advance = Callable[[int, int], None]


def view(
    runs: Sequence[Path],
    filters: Mapping[str, str],
    *,
    data: str | Path | None = None,
    port: int = 0,
    opens: bool = True,
    ready: Callable[[str, Sequence[str]], None],
    advance: Advance = lambda done, total: None,
) -> None:
    """Serve the samples of runs on a local page until the process is interrupted. Nothing is written.

    Args:
        runs: Run directories of the same samples and seed.
        filters: Texts of the first query, see `parse_query`, but with names of classes; none for the query that answers first.
        data: The images; None for the dataset of the runs.
        port: Port of the server; 0 for a free one.
        opens: Whether to open the page in the user's browser.
        ready: Receives the address, and notes for the user.
        advance: Receives the numbers of records that are read, and of all records.

    Raises:
        OptionError: The runs have different samples, a filter is invalid, or the port is in use.
        RunError: A run is damaged or has no results.
    """
    table = read_samples(runs, advance)
    query = _query(filters, table)
    reason, images = "", None
    try:
        images = SampleImages(table, data)
    except RobenchError as error:
        reason = str(error)
    content = overview(table, reason)
    notes = [*table.notes, *([f"no images: {reason}"] if reason else [])]
    serve(table, content, images, query, port=port, opens=opens, ready=lambda address: ready(address, notes))


def write_view(
    runs: Sequence[Path],
    folder: Path,
    filters: Mapping[str, str],
    *,
    count: int,
    data: str | Path | None = None,
    force: bool = False,
    advance: Advance = lambda done, total: None,
) -> tuple[Bundle, Sequence[str]]:
    """Write the page as a folder of static files, and return its facts and notes for the user.

    Args:
        runs: Run directories of the same samples and seed.
        folder: The folder. An existing bundle is replaced.
        filters: Texts of the query that selects images, as for `view`; none for the query that answers first.
        count: Images of each condition, the first in the order of the query.
        data: The images; None for the dataset of the runs.
        force: Whether to write into a folder that is not a bundle; its other files stay.
        advance: Receives the numbers of records or images that are done, and of all.

    Raises:
        OptionError: As `view`; the folder is of another kind, or no image matches.
        RobenchError: The images cannot be read.
    """
    if count < 1:
        raise OptionError(f"--limit must be at least 1, not {count}", "omit it for the default")
    check_bundle(folder, force=force)
    table = read_samples(runs, advance)
    query = _query(filters, table)
    images = SampleImages(table, data)
    bundle = write_bundle(table, overview(table), images, query, folder, count=count, advance=advance)
    return bundle, table.notes


def _query(filters: Mapping[str, str], table: SampleTable) -> Query:
    """Read the query of the command line, whose classes are names or numbers."""
    if not filters:
        return first_query(table)
    classes = {name: str(class_number(filters[name], table)) for name in ("label", "predicted") if name in filters}
    return parse_query({**filters, **classes}, table)
