"""Inputs -> a leaderboard, merged into the file that it is written to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from robench.analysis.leaderboard.formats import FORMATS
from robench.analysis.leaderboard.inputs import is_leaderboard, read_board, read_pooled, read_rows
from robench.analysis.leaderboard.ranking import Board, model_key, rank_models
from robench.analysis.leaderboard.rows import Row
from robench.errors import OptionError, unknown_name
from robench.runs.files import atomic_write, check_replaceable, read_start, translate_os_errors

__all__ = ["leaderboard"]


def leaderboard(
    inputs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    sort_by: str | None = None,
    split: bool = False,
    suites: Sequence[str] | None = None,
    format: str = "csv",  # noqa: A002
    force: bool = False,
) -> Board:
    """Make one table of runs and files, a row a model; write it to `out`, if that is given.

    inputs: run directories, results.csv and leaderboard.csv files, result files of timm, RobustBench's JSON. Of runs that differ
    in their seed alone the mean is a row.
    out: a CSV that exists is merged with: its rows of the same model, weights, samples and protocol are replaced, others kept.
    sort_by: a column with a figure, or a metric.  split: sections for rows that do not compare, which is refused otherwise.
    suites: those of the runs that count, None for all.  format: "csv", "markdown" or "latex".
    Raises OptionError for rows that do not compare, TableError and RunError for files that cannot be used.
    """
    if format not in FORMATS:
        raise OptionError(unknown_name("format", format, FORMATS))
    path = None if out is None else Path(out)
    new = _merge_inputs([Path(one) for one in inputs], suites)
    if path is None:
        return rank_models(list(new.values()), sort_by, split)
    mark = FORMATS[format].mark
    is_ours = is_leaderboard if format == "csv" else lambda path: read_start(path).startswith(mark)
    check_replaceable(path, is_ours, "--out", force)
    with _exclusive_lock(path.parent):
        old: dict[tuple[str, ...], Row] = {}
        if format == "csv" and is_leaderboard(path):
            old = {model_key(row): row for row in read_board(path)}
        board = rank_models(_deduplicate(list((old | new).values())), sort_by, split)
        text = FORMATS[format].text(board)
        with translate_os_errors(path):
            atomic_write(path, lambda file: file.write(text.encode()))
    return board


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, so that of two merges into one file the second sees what the first has written."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _merge_inputs(paths: Sequence[Path], suites: Sequence[str] | None) -> dict[tuple[str, ...], Row]:
    """All rows by identity."""
    found: dict[tuple[str, ...], list[tuple[Path, Row]]] = {}
    for path in paths:
        for row in read_rows(path, suites):
            same = found.setdefault(model_key(row), [])
            if all(_figures(row) != _figures(other) for _, other in same):
                same.append((path, row))
    return {key: _one(same, suites) for key, same in found.items()}


def _one(found: Sequence[tuple[Path, Row]], suites: Sequence[str] | None) -> Row:
    """The row of one model: of runs with several seeds the pooled one; OptionError where which one is meant cannot be told."""
    runs = [(path, row) for path, row in found if path.is_dir()]
    if len(runs) > 1 and len({row["seed"] for _, row in runs}) == len(runs):
        pooled = read_pooled([path for path, _ in runs], suites)
        found = [(runs[0][0], pooled), *(one for one in found if one not in runs)]
    (path, row), *others = found
    for other, theirs in others:
        if _figures(theirs) != _figures(row):
            raise OptionError(
                f"{path} and {other} both have {row['model']} with the same weights, samples and protocol, and differ: leave one "
                "out; of several seeds, name the run directories alone"
            )
    return row


def _deduplicate(rows: Sequence[Row]) -> list[Row]:
    """Leave out rows that do not know their weights, as of a results.csv, where a run's own row of the same seed stands beside them."""
    known = {(model_key(row | {"weights_sha": ""}), row.get("seed")) for row in rows if row.get("weights_sha")}
    return [
        row
        for row in rows
        if row.get("weights_sha") or (model_key(row | {"weights_sha": ""}), row.get("seed")) not in known
    ]


def _figures(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("rank", "rank_by")}
