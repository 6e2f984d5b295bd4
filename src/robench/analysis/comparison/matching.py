"""Rows of two sets of results that can be compared."""

from __future__ import annotations

from collections.abc import Callable

from robench.analysis.comparison.results_set import Key, ResultRow, ResultsSet
from robench.errors import OptionError
from robench.suites import lookup_suite
from robench.suites.protocol import Protocol

__all__ = ["averaged_cells", "check_comparable", "match_results"]

_PROVENANCE_COLUMNS = ("protocol", "source", "baseline")
"""Columns that must be equal in compared rows."""


def check_comparable(run: ResultsSet, base: ResultsSet, *, paired: bool) -> None:
    """Raise OptionError for different datasets; if paired, also for different samples or seeds."""
    if run.dataset != base.dataset:
        raise OptionError(
            f"{run.name} has dataset {run.dataset}, {base.name} has {base.dataset}", "evaluate both on the same dataset"
        )
    if not paired:
        return
    for name, ours, theirs in (("seed", run.seed, base.seed), ("samples", run.data_sha[:12], base.data_sha[:12])):
        if ours != theirs:
            raise OptionError(
                f"{run.name} has {name} {ours}, {base.name} has {theirs}",
                f'evaluate both with the same {name}, or gate them by rules with pairing = "unpaired"',
            )


def match_results(
    run: ResultsSet, base: ResultsSet, is_selected: Callable[[ResultRow], bool]
) -> list[tuple[ResultRow, ResultRow]]:
    """Return the selected rows that both sets have, the run's first.

    Raises:
        OptionError: Two such rows differ in protocol, source or baseline, or average different cells.
    """
    pairs = []
    for key, row in run.rows.items():
        other = base.rows.get(key)
        if other is None or not is_selected(row):
            continue
        for column in _PROVENANCE_COLUMNS:
            if row.row[column] != other.row[column]:
                raise OptionError(
                    _provenance_mismatch(column, run, row, base, other), "evaluate both with the same options"
                )
        ours, theirs = averaged_cells(run, key), averaged_cells(base, key)
        if ours != theirs or (row.row["n"] != other.row["n"] and not row.is_cell):
            unshared = sorted(ours ^ theirs)
            example = f", for example not both over {unshared[0][0]} {unshared[0][1]}" if unshared else ""
            raise OptionError(
                f"{row} averages other cells in {run.name} ({len(ours)}) than in {base.name} ({len(theirs)}){example}",
                "evaluate the same cells, or gate each cell",
            )
        pairs.append((row, other))
    return pairs


def _provenance_mismatch(column: str, run: ResultsSet, ours: ResultRow, base: ResultsSet, theirs: ResultRow) -> str:
    """Describe the difference between two rows in a provenance column."""
    values = ours.row[column], theirs.row[column]
    if column == "protocol":
        difference = Protocol.parse(values[0]).difference(Protocol.parse(values[1]))
        return f"{ours}: the protocols of {run.name} and {base.name} differ in {difference}"
    return f"{ours}: {column} is {values[0]} in {run.name} and {values[1]} in {base.name}"


def averaged_cells(results: ResultsSet, key: Key) -> set[tuple[str, int]]:
    """Return corruption and severity of the cells that a row without a corruption averages; empty for other rows."""
    if key.corruption is not None:
        return set()
    cells = {
        (other.corruption, int(other.severity))
        for other in results.rows
        if (other.suite, other.resolution) == (key.suite, key.resolution)
        and other.corruption is not None
        and other.severity is not None
    }
    suite, names = lookup_suite(key.suite), {name for name, _ in cells}
    covered = names if suite is None else suite.own_or_extra(names)
    return {cell for cell in cells if cell[0] in covered}
