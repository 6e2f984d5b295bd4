"""Storage of the results of a run, with what their reader must know."""

from __future__ import annotations

from robench.analysis.scoring.notes import notes
from robench.analysis.scoring.sanity import clean_warnings, few_image_notes, nonfinite_warnings
from robench.analysis.scoring.score import score
from robench.runs.directory import RunDirectory
from robench.types import Results

__all__ = ["score_and_store"]


def score_and_store(run: RunDirectory, normalize_by: str | None = None) -> tuple[RunDirectory, Results]:
    """Score a run, and write results.csv. The manifest keeps the notes and the warnings for all commands that show the run.

    Args:
        run: The run, which this process has locked.
        normalize_by: As in `score`.

    Returns:
        The run with the changed manifest, and its results.

    Raises:
        RobenchError: As `score`, or the run cannot be written.
    """
    results = score(run, normalize_by)
    scored = {
        "notes": [*notes(run, normalize_by), *few_image_notes(results)],
        "warnings": [*clean_warnings(run), *nonfinite_warnings(results)],
    }
    run.write_results(results)
    return run.with_manifest_entries(scored=scored), results
