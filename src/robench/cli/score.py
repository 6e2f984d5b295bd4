"""`robench score`: results of a run, computed again from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import RenormalizeBy
from robench.display.console import print_notes, stdout

__all__ = ["score"]


def score(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.", metavar="RUN")],
    normalize_by: RenormalizeBy = None,
) -> None:
    """Compute results.csv again from the records of a run, and print the summary.

    Images, weights and torch are not needed.

    [b]robench score runs/resnet50 --normalize-by runs/baseline[/b]
    """
    from robench.analysis.scoring import check_clean_records, nonfinite_notes, notes
    from robench.analysis.scoring import score as compute
    from robench.display.summary import run_summary
    from robench.runs.directory import RunDirectory
    from robench.runs.lock import lock_run

    directory = RunDirectory.open(run)
    with lock_run(directory.path):
        results = compute(directory, normalize_by)
        directory.write_results(results)
    print_notes([*notes(directory, normalize_by), *nonfinite_notes(results), *check_clean_records(directory)[0]])
    stdout().print(run_summary(directory, results))
