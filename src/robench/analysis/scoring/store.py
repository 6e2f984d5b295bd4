"""Storage of the results of a run, with what their reader must know."""

from __future__ import annotations

from robench.analysis.scoring.group_table import read_groups
from robench.analysis.scoring.notes import notes
from robench.analysis.scoring.sanity import clean_warnings, few_image_notes, nonfinite_warnings
from robench.analysis.scoring.score import score
from robench.runs.csv import without_groups
from robench.runs.directory import RunDirectory
from robench.runs.parquet import write_parquet
from robench.runs.schema import GROUPS
from robench.types import Results

__all__ = ["score_and_store"]


def score_and_store(
    run: RunDirectory, normalize_by: str | None = None, groups: str | None = None
) -> tuple[RunDirectory, Results]:
    """Score a run, and write results.csv. The manifest keeps the notes and the warnings for all commands that show the run.

    Args:
        run: The run, which this process has locked.
        normalize_by: As in `score`.
        groups: Groups of images, as `read_groups` takes them; "none" removes those of the run, None keeps them.

    Returns:
        The run with the changed manifest, and its results without those of groups.

    Raises:
        RobenchError: As `score`, or the run cannot be written.
    """
    if groups == "none":
        run.groups_path.unlink(missing_ok=True)
    elif groups is not None:
        write_parquet(GROUPS, read_groups(run.read_samples(), groups, run.data_path), run.groups_path)
    results = score(run, normalize_by)
    whole = without_groups(results)
    scored = {
        "notes": [*notes(run, normalize_by), *few_image_notes(whole)],
        "warnings": [*clean_warnings(run), *nonfinite_warnings(whole)],
    }
    run.write_results(results)
    return run.with_manifest_entries(scored=scored), whole
