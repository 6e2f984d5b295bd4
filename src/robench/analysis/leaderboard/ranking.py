"""Identity, comparability and ranks of the rows of a leaderboard."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robench.analysis.leaderboard.columns import ENDS, higher_is_better, sort_column
from robench.analysis.leaderboard.rows import Row
from robench.analysis.leaderboard.schema import leaderboard_of
from robench.errors import OptionError
from robench.runs.schema import rows_to_frame
from robench.suites.protocol import SuiteProtocol
from robench.types import Results

__all__ = ["Board", "model_key", "rank_models", "ranks"]

_DEFAULT = ("mce", "mean_error", "c_bar_mce", "c_bar_mean_error", "3dcc_2d_mce", "3dcc_2d_mean_error", "top1")
"""Default columns to rank by; the first that all rows of a section have is used."""

_SAME_DATA = ("dataset", "data_sha", "source")

_SPLIT_HINT = "give --split for separate sections, or leave one out"


@dataclass(frozen=True)
class Board:
    """Sections of comparable rows, each ranked; a single section without `--split`.

    Attributes:
        sections: The rows of each section in order.
        errors: By the `model_key` of a row, if the corruptions are to be shown: `suite`, and in percent the `error` and the
            `ce` of each corruption by name.
        notes: Reservations about the rows, for readers.
        columns: Metrics in tables for people: "metrics", "uncertainty" or "corruptions".
    """

    sections: tuple[tuple[Row, ...], ...]
    errors: Mapping[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: str = "metrics"

    @property
    def rows(self) -> list[Row]:
        """All rows in order."""
        return [row for section in self.sections for row in section]

    @property
    def frame(self) -> Results:
        """The rows as a table with the columns of `leaderboard_of`."""
        names = [name for row in self.rows for name in row if row[name] is not None]
        return rows_to_frame(leaderboard_of(names), self.rows)


def model_key(row: Row) -> tuple[str, ...]:
    """Return the identity of a row: model, weights, input, samples and protocol, but not the finished part of a suite.

    A row of timm has neither weights nor a protocol with a geometry, so that its own geometry tells it apart.
    """
    names = ("model", "treatment", "weights_sha", "model_input", *_SAME_DATA)
    protocols = (str(replace(protocol, subset="")) for protocol in SuiteProtocol.parse_all(row["protocol"]))
    own = [str(row.get(name, "")) for name in ("img_size", "crop_pct")] if row["source"] == "timm" else ["", ""]
    return (*(row.get(name, "") for name in names), "; ".join(protocols), *own)


def rank_models(rows: Sequence[Row], sort_by: str | None, split: bool, *, is_mixed: bool = False) -> Board:
    """Sort and rank the rows.

    Args:
        rows: The rows.
        sort_by: A metric column, or a metric; None for the first default column.
        split: Whether to make a section for each dataset and source and, if they differ, for each protocol.
        is_mixed: Whether published rows of any source and protocol share the section of the others.

    Raises:
        OptionError: The rows are not comparable, and `split` is false.
    """
    column = None if sort_by is None else sort_column(sort_by, [name for row in rows for name in row])
    if is_mixed and not split:
        _sections([row for row in rows if "data_sha" in row], split)  # The runs themselves must be comparable.
        return Board((tuple(_ranked(rows, column)),))
    return Board(tuple(tuple(_ranked(section, column)) for section in _sections(rows, split)))


def ranks(intervals: Sequence[tuple[float, float]], higher: bool) -> list[int]:
    """Return the ranks, 1 for the best.

    A rank is one more than the number of models whose whole interval is better. Intervals of models with equal ranks overlap or
    touch. Overlapping models can have different ranks, because otherwise a chain of overlaps could join all models.

    Args:
        intervals: Low and high end of each model, in any order.
        higher: Whether higher values are better.
    """
    signed = [(-high, -low) for low, high in intervals] if higher else list(intervals)
    ends = sorted(high for _, high in signed)
    return [1 + bisect_left(ends, low) for low, _ in signed]


def _ranked(rows: Sequence[Row], column: str | None) -> list[Row]:
    chosen = column or next((name for name in _DEFAULT if all(name in row for row in rows)), _DEFAULT[-1])
    higher = higher_is_better(chosen)
    valued = [row for row in rows if chosen in row]
    # A published value has no interval. It ties only with equal values, and with intervals that contain it.
    ends = [[row[name] if (name := chosen + end) in row else row[chosen] for end in ENDS] for row in valued]
    intervals = [(low, high) for low, high in ends]
    ranked = [row | {"rank": rank} for row, rank in zip(valued, ranks(intervals, higher), strict=True)]
    ranked.sort(key=lambda row: (-row[chosen] if higher else row[chosen], model_key(row)))
    rest = sorted((row for row in rows if chosen not in row), key=model_key)
    return [row | {"rank_by": chosen} for row in (*ranked, *({**row, "rank": None} for row in rest))]


def _sections(rows: Sequence[Row], split: bool) -> list[list[Row]]:
    by_data = _grouped(rows, _SAME_DATA)
    if len(by_data) > 1 and not split:
        first, second = (group[0] for group in by_data[:2])
        name = next(name for name in _SAME_DATA if first.get(name) != second.get(name))
        raise OptionError(
            f"{first['model']} and {second['model']} are not comparable, {_data_difference(name, first, second)}",
            _SPLIT_HINT,
        )
    sections = []
    for group in by_data:
        problem = _protocol_difference(group)
        if problem is not None and not split:
            raise OptionError(problem, _SPLIT_HINT)
        sections += [group] if problem is None else _grouped(group, ("protocol", "baseline"))
    return sections


def _grouped(rows: Iterable[Row], names: Sequence[str]) -> list[list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, "") for name in names), []).append(row)
    return [groups[key] for key in sorted(groups)]


def _protocol_difference(rows: Sequence[Row]) -> str | None:
    """Name two rows of the same samples that differ in the protocol of a suite, or in the baseline."""
    seen: dict[str, tuple[str, Row]] = {}
    for row in sorted(rows, key=model_key):
        parts = {protocol.suite: protocol.comparable for protocol in SuiteProtocol.parse_all(row["protocol"])}
        if "baseline" in row:
            parts["baseline"] = row["baseline"]
        for name, part in parts.items():
            other, first = seen.setdefault(name, (part, row))
            if other != part:
                difference = "are normalised by" if name == "baseline" else f"differ in the protocol of {name},"
                return f"{first['model']} and {row['model']} are not comparable, they {difference} {other} and {part}"
    return None


def _data_difference(name: str, first: Row, second: Row) -> str:
    subject = {"dataset": "their datasets are", "data_sha": "their samples are", "source": "their sources are"}[name]
    ours, theirs = (str(row.get(name, "not known")) for row in (first, second))
    return f"{subject} {ours[:12]} and {theirs[:12]}" if name == "data_sha" else f"{subject} {ours} and {theirs}"
