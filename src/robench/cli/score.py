"""`robench score`: results of a run, computed again from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import Groups, RenormalizeBy
from robench.display.console import stdout

__all__ = ["score"]


def score(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.", metavar="RUN")],
    normalize_by: RenormalizeBy = None,
    groups: Groups = None,
) -> None:
    """Recompute the results of a run from its records.

    The command writes results.csv and prints the summary. Images, weights and torch are not needed.

    Examples:
        robench score runs/resnet50 --normalize-by runs/baseline
        robench score runs/resnet50 --groups patients.csv:sex,hospital
    """
    from robench.analysis.scoring import score_and_store
    from robench.display.summary import run_summary
    from robench.runs.directory import RunDirectory
    from robench.runs.lock import lock_run

    directory = RunDirectory.open(run)
    with lock_run(directory.path):
        directory, results = score_and_store(directory, normalize_by, groups)
    stdout().print(run_summary(directory, results))
