"""Which figures of two sides compare, and why others do not."""

from __future__ import annotations

from collections.abc import Callable

from robench.analysis.comparison.results_set import ResultRow, ResultsSet
from robench.errors import OptionError
from robench.suites import lookup_suite
from robench.suites.protocol import Protocol

__all__ = ["check_comparable", "match_results"]

PROVENANCE_COLUMNS = ("protocol", "source", "baseline")
"""How a figure was made: it must be equal, or the figures are not compared."""


def check_comparable(run: ResultsSet, base: ResultsSet, *, paired: bool) -> None:
    """Raise OptionError if the sides are of other data or, if paired, of other samples or another seed."""
    if run.dataset != base.dataset:
        raise OptionError(
            f"{run.name} is on dataset {run.dataset}, {base.name} on {base.dataset}: evaluate both on one"
        )
    if not paired:
        return
    for what, ours, theirs in (("seed", run.seed, base.seed), ("samples", run.data_sha[:12], base.data_sha[:12])):
        if ours != theirs:
            raise OptionError(
                f"{run.name} has {what} {ours}, {base.name} {theirs}: evaluate both with the same, or gate "
                'them by rules with pairing = "unpaired"'
            )


def match_results(
    run: ResultsSet, base: ResultsSet, chosen: Callable[[ResultRow], bool]
) -> list[tuple[ResultRow, ResultRow]]:
    """Return the chosen figures that both sides have, run's first; OptionError where one was made in another way."""
    pairs = []
    for key, figure in run.figures.items():
        if key not in base.figures or not chosen(figure):
            continue
        other = base.figures[key]
        for column in PROVENANCE_COLUMNS:
            if figure.row[column] != other.row[column]:
                raise OptionError(_provenance_mismatch(column, run, figure, base, other))
        ours, theirs = _averaged(run, figure), _averaged(base, figure)
        if ours != theirs or (figure.row["n"] != other.row["n"] and not figure.is_cell):
            unlike = sorted(ours ^ theirs)
            example = f", for example not both over {unlike[0][0]} {unlike[0][1]}" if unlike else ""
            raise OptionError(
                f"{figure} is over other cells in {run.name} ({len(ours)}) than in {base.name} ({len(theirs)}){example}: "
                "evaluate the same, or gate their cells"
            )
        pairs.append((figure, other))
    return pairs


def _provenance_mismatch(column: str, run: ResultsSet, ours: ResultRow, base: ResultsSet, theirs: ResultRow) -> str:
    """Say in what two values were not measured alike."""
    one, two = ours.row[column], theirs.row[column]
    if column == "protocol":
        difference = Protocol.parse(one).difference(Protocol.parse(two))
        return (
            f"{ours}: {run.name} and {base.name} have other protocols, they differ in {difference}: "
            "evaluate both with the same options"
        )
    return f"{ours}: {column} is {one} in {run.name} and {two} in {base.name}: evaluate both with the same options"


def _averaged(side: ResultsSet, figure: ResultRow) -> set[tuple[str, int]]:
    """The cells that a figure without a corruption is over, by corruption and severity: the suite's own, or else extra ones."""
    if figure.key.corruption is not None:
        return set()
    suite, resolution = figure.key.suite, figure.key.resolution
    cells = {
        (other.key.corruption, int(other.key.severity))
        for other in side.figures.values()
        if (other.key.suite, other.key.resolution) == (suite, resolution)
        and other.key.corruption is not None
        and other.key.severity is not None
    }
    whole = lookup_suite(suite)
    names = {name for name, _ in cells}
    covered = names if whole is None else whole.own_or_extra(names)
    return {cell for cell in cells if cell[0] in covered}
