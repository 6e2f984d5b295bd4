"""`robench score`: the figures of a run, computed again from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.common import stderr, stdout

__all__ = ["score"]


def score(
    run: Annotated[Path, typer.Argument(help="A run directory, finished or not.", metavar="RUN")],
    normalize_by: Annotated[
        str | None,
        typer.Option(
            help="What CE, mCE, FR, mFR and mT5D are divided by: [b]alexnet[/b], another RUN, or none. Default: as the run was made.",
            metavar="alexnet|RUN|none",
        ),
    ] = None,
) -> None:
    """Compute results.csv again from a run's records, without the model.

    Needs neither the images nor the weights nor torch. Writes results.csv into the run and prints the summary.
    """
    from robench.analysis.scoring import check_clean_records, nonfinite_notes, notes
    from robench.analysis.scoring import score as compute
    from robench.cli.summary import summary
    from robench.runs.directory import RunDirectory
    from robench.runs.lock import lock_run

    directory = RunDirectory.open(run)
    with lock_run(directory.path):
        results = compute(directory, normalize_by)
        directory.write_results(results)
    for note in (*notes(directory, normalize_by), *nonfinite_notes(results), *check_clean_records(directory)[0]):
        stderr().print(f"note: {note}")
    stdout().print(summary(results, directory.notes))
