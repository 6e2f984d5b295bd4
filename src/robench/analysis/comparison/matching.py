"""Which figures of two sides compare, and why others do not."""

from __future__ import annotations

from collections.abc import Callable

from robench.analysis.comparison.changes import moved_between, protocol_difference, quoted
from robench.analysis.comparison.results_set import WAY_OUT, Figure, Side
from robench.errors import OptionError
from robench.suites import known_suite

__all__ = ["match", "refuse_unlike"]

_WAY = ("protocol", "source", "baseline")
"""How a figure was made: it must be equal, or the figures are not compared."""


def refuse_unlike(run: Side, base: Side, *, paired: bool) -> None:
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


def match(run: Side, base: Side, chosen: Callable[[Figure], bool]) -> list[tuple[Figure, Figure]]:
    """Return the chosen figures that both sides have, run's first; OptionError where one was made in another way."""
    pairs = []
    for key, figure in run.figures.items():
        if key not in base.figures or not chosen(figure):
            continue
        other = base.figures[key]
        for column in _WAY:
            if figure.row[column] != other.row[column]:
                raise OptionError(_made_otherwise(column, run, figure, base, other))
        if moved := moved_between(figure.row, other.row, "figures"):
            raise OptionError(
                f"{figure} moved between robench {other.row['robench_version']} ({base.name}) and "
                f"{figure.row['robench_version']} ({run.name}): {quoted(moved)}{WAY_OUT}"
            )
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


def _made_otherwise(column: str, run: Side, ours: Figure, base: Side, theirs: Figure) -> str:
    """One line: what of the way in which a figure was made differs, and since when, where an upgrade of robench explains it."""
    one, two = ours.row[column], theirs.row[column]
    if column != "protocol":
        return f"{ours}: {column} is {one} in {run.name} and {two} in {base.name}: evaluate both with the same options"
    difference = protocol_difference(one, two)
    what = f"{ours}: {run.name} and {base.name} have other protocols, they differ in {difference}"
    moved = [entry for entry in moved_between(ours.row, theirs.row, "protocol") if entry.part in difference]
    versions = [figure.row["robench_version"] for figure in (ours, theirs)]
    if not moved and versions[0] != versions[1]:
        return f"{what}; nothing of it moved between robench {versions[1]} and {versions[0]}: evaluate both with the same options"
    if not moved:
        return f"{what}: evaluate both with the same options"
    return f"{what}. Between robench {versions[1]} and {versions[0]}: {quoted(moved)}{WAY_OUT}"


def _averaged(side: Side, figure: Figure) -> set[tuple[str, int]]:
    """The cells that a figure without a corruption is over, by corruption and severity: the suite's own, or else extra ones."""
    if figure.key[2] is not None:
        return set()
    suite, resolution = figure.key[0], figure.key[6]
    cells = {
        (key[2], int(key[3]))
        for key in side.figures
        if (key[0], key[6]) == (suite, resolution) and key[2] is not None and key[3] is not None
    }
    whole = known_suite(suite)
    own = whole.corruptions if whole is not None else ()
    return {cell for cell in cells if cell[0] in own} or cells
