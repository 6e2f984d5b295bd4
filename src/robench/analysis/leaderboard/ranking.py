"""Rows together: which replace which, which may stand in one table, and in which order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from robench.analysis.leaderboard.columns import ENDS, higher_is_better, sides_of, sort_column
from robench.analysis.leaderboard.rows import Row
from robench.analysis.leaderboard.schema import leaderboard_of
from robench.errors import OptionError
from robench.runs.schema import rows_to_frame
from robench.suites.protocol import SuiteProtocol
from robench.types import Results

__all__ = ["Board", "model_key", "rank_models", "ranks"]

_DEFAULT = ("mce", "mean_error", "top1")
"""What rows are ranked by: the first that all of a section have."""

_SAME_DATA = ("dataset", "data_sha", "source")


@dataclass(frozen=True)
class Board:
    """Sections of comparable rows, each ranked; one section where nothing was to be split."""

    sections: tuple[tuple[Row, ...], ...]

    @property
    def rows(self) -> list[Row]:
        """All rows in order."""
        return [row for section in self.sections for row in section]

    @property
    def frame(self) -> Results:
        """The rows as a table of `tables.leaderboard_of` the input sizes that they have."""
        return rows_to_frame(leaderboard_of(_sides(self.rows)), self.rows)


def model_key(row: Row) -> tuple[str, ...]:
    """What a row replaces another one by: model, weights, samples and protocol, whatever part of a suite was finished."""
    names = ("model", "treatment", "weights_sha", *_SAME_DATA)
    protocols = (str(replace(one, subset="")) for one in SuiteProtocol.parse_all(row["protocol"]))
    return (*(row.get(name, "") for name in names), "; ".join(protocols))


def rank_models(rows: Sequence[Row], sort_by: str | None, split: bool) -> Board:
    """Sort and rank the rows; OptionError where they do not compare and are not to be split.

    sort_by: a column with a figure, or its metric.  split: a section for each dataset, source and, where they differ, protocol.
    """
    column = None if sort_by is None else sort_column(sort_by, [name for row in rows for name in row])
    return Board(tuple(tuple(_ranked(section, column)) for section in _sections(rows, split)))


def ranks(intervals: Sequence[tuple[float, float]], higher: bool) -> list[int]:
    """Places, 1 for the best; (low, high) of each, in any order.

    A place is one more than the number of models whose whole interval is better. So models of one place overlap or touch, and
    models that only others join do not share one: over many models the chain of overlaps would be all of them.
    """
    sides = [(-high, -low) for low, high in intervals] if higher else list(intervals)
    ends = sorted(high for _, high in sides)
    return [1 + bisect_left(ends, low) for low, _ in sides]


def _ranked(rows: Sequence[Row], column: str | None) -> list[Row]:
    chosen = column or next((name for name in _DEFAULT if all(name in row for row in rows)), _DEFAULT[-1])
    higher = higher_is_better(chosen)
    valued = [row for row in rows if chosen in row]
    # A published figure has no interval: it ties only with its equals, and with intervals that it lies in.
    ends = [[row[name] if (name := chosen + end) in row else row[chosen] for end in ENDS] for row in valued]
    intervals = [(low, high) for low, high in ends]
    places = ranks(intervals, higher)
    given = [row | {"rank": place} for row, place in zip(valued, places, strict=True)]
    given.sort(key=lambda row: (-row[chosen] if higher else row[chosen], model_key(row)))
    rest = sorted((row for row in rows if chosen not in row), key=model_key)
    return [row | {"rank_by": chosen} for row in (*given, *({**row, "rank": None} for row in rest))]


def _sections(rows: Sequence[Row], split: bool) -> list[list[Row]]:
    by_data = _grouped(rows, _SAME_DATA)
    if len(by_data) > 1 and not split:
        first, second = (group[0] for group in by_data[:2])
        name = next(name for name in _SAME_DATA if first.get(name) != second.get(name))
        raise OptionError(
            f"{first['model']} and {second['model']} do not compare, {_duplicate_rows(name, first, second)}: give --split for a section "
            "each, or leave one out"
        )
    sections = []
    for group in by_data:
        problem = _check_comparable(group)
        if problem is not None and not split:
            raise OptionError(f"{problem}: give --split for a section each, or leave one out")
        sections += [group] if problem is None else _grouped(group, ("protocol", "baseline"))
    return sections


def _grouped(rows: Iterable[Row], names: Sequence[str]) -> list[list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, "") for name in names), []).append(row)
    return [groups[key] for key in sorted(groups)]


def _check_comparable(rows: Sequence[Row]) -> str | None:
    """Say which two rows of the same samples have a figure in common that was made in different ways."""
    seen: dict[str, tuple[str, Row]] = {}
    for row in sorted(rows, key=model_key):
        parts = {one.suite: one.comparable for one in SuiteProtocol.parse_all(row["protocol"])}
        if "baseline" in row:
            parts["baseline"] = row["baseline"]
        for name, way in parts.items():
            other, first = seen.setdefault(name, (way, row))
            if other != way:
                what = "are normalised by" if name == "baseline" else f"differ in the protocol of {name},"
                return f"{first['model']} and {row['model']} do not compare, they {what} {other} and {way}"
    return None


def _duplicate_rows(name: str, first: Row, second: Row) -> str:
    what = {"dataset": "their datasets are", "data_sha": "their samples are", "source": "their sources are"}[name]
    ours, theirs = (str(row.get(name, "not known")) for row in (first, second))
    # Fingerprints by their beginning, as in the other messages.
    return f"{what} {ours[:12]} and {theirs[:12]}" if name == "data_sha" else f"{what} {ours} and {theirs}"


def _sides(rows: Iterable[Row]) -> list[int]:
    return sides_of([name for row in rows for name in row if row[name] is not None])
