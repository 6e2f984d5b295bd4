"""The report of runs with example images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path

from robench.analysis.report import EXAMPLES, TITLE, write_page
from robench.analysis.report.images import ExampleFinder
from robench.arguments import check_type, path_of, paths_of
from robench.errors import OptionError

__all__ = ["report"]


def report(
    runs: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | Path = "report.html",
    *,
    data: str | Path | None = None,
    examples: int = EXAMPLES,
    field: bool = False,
    title: str = TITLE,
    force: bool = False,
    decisions: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
) -> Path:
    """Write one self-contained page that shows runs side by side, and return its path.

    Args:
        runs: A run directory, a `Run`, or a list of them. A results CSV file has no records, so no calibration and images.
        out: The page. An existing report is replaced.
        data: The images; None for the dataset of the run.
        examples: Number of example images of each kind, run and suite; 0 reads no image and does not import torch.
        field: Whether to show the published models around the runs.
        title: Heading of the page.
        force: Whether to replace a file that is not a report.
        decisions: Tables with the decisions of people or networks on the images, for their error consistency with each run.

    Raises:
        OptionError: A library of the report is missing, or `out` is another file.
        RunError: A run has no results.
        TableError: A CSV file has other columns.
    """
    paths = paths_of("the run", runs, "the path of a run, a Run, or a list of them")
    if check_type("--examples", examples, int, "a whole number") < 0:
        raise OptionError(f"--examples must be at least 0, not {examples}", "give 0 for none")
    check_type("--field", field, bool, "True or False")
    finder: ExampleFinder | None = None
    if examples:
        from robench.evaluation.examples import find_examples  # Imports torch.

        finder = partial(find_examples, data=data)
    tables = paths_of("--decisions", decisions, "the path of a table, or a list of them") if decisions else []
    return write_page(
        paths,
        path_of("--out", out),
        examples=finder,
        count=examples,
        field=field,
        title=title,
        force=force,
        decisions=tables,
    )
