"""Leaderboard of runs and files, merged into an existing file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.field import Cell, Field, find_field
from robench.analysis.field.standing import covered_cells
from robench.analysis.leaderboard.formats import CORRUPTIONS_HEADER, FORMATS
from robench.analysis.leaderboard.grids import COLUMNS, INTERVALS
from robench.analysis.leaderboard.inputs import is_leaderboard, read_board, read_pooled, read_results, read_rows
from robench.analysis.leaderboard.published import check_members, field_notes, field_rows
from robench.analysis.leaderboard.ranking import Board, model_key, rank_models
from robench.analysis.leaderboard.rows import Row, corruption_errors
from robench.errors import OptionError, unknown_name
from robench.runs.files import atomic_write, cache_folder, check_replaceable, read_start, translate_os_errors
from robench.runs.find import find_runs
from robench.runs.lock import hold_lock
from robench.suites import CLEAN

__all__ = ["leaderboard"]


def leaderboard(
    inputs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    sort_by: str | None = None,
    split: bool = False,
    suites: Sequence[str] | None = None,
    field: str | None = None,
    format: str = "csv",  # noqa: A002
    columns: str = COLUMNS[0],
    intervals: str = INTERVALS[0],
    force: bool = False,
) -> Board:
    """Rank models in one table, a row for each model.

    Args:
        inputs: Run directories, folders of them, results.csv and leaderboard.csv files, result files of timm, RobustBench's
            JSON. Runs that differ only in their seed are averaged.
        out: The file to write; None writes none. An existing leaderboard.csv is merged: rows with the same model, weights,
            input, samples and protocol are replaced, and others are kept. A leaderboard in another format is replaced.
        sort_by: A metric column, or a metric.
        split: Whether to make separate sections for rows that are not comparable.
        suites: Suites of the runs to show; None for all.
        field: Published models to rank with the runs, a key of `FIELDS`; None for none. Then `inputs` may be empty.
        format: "csv", "markdown" or "latex".
        columns: "metrics", "uncertainty" for proper scores, calibration and images out of distribution, or "corruptions" for
            the error of each corruption, as papers print it. A file of the latter is replaced, not merged.
        intervals: One of `INTERVALS`, for markdown and latex with metrics.
        force: Whether to replace a file of another kind.

    Raises:
        OptionError: The rows are not comparable, or an option is invalid.
        RunError: A run cannot be read, or `out` cannot be written.
        TableError: A file cannot be read.
    """
    if format not in FORMATS:
        raise OptionError(*unknown_name("format", format, FORMATS))
    for name, value, known in (("columns", columns, COLUMNS), ("form of intervals", intervals, INTERVALS)):
        if value not in known:
            raise OptionError(*unknown_name(name, value, known))
    if not inputs and field is None:
        raise OptionError("no run is given", "give one or more, or --field NAME for published models")
    among = None if field is None else find_field(field)
    if among is not None:
        if suites is not None:
            raise OptionError(f"--field {field} selects the suite {among.suite}", "omit --suite")
        suites = [] if among.suite == CLEAN else [among.suite]
    paths = find_runs(inputs) if inputs else []
    by_key = _read_inputs(paths, suites)
    new = {key: _single_row(same, suites) for key, same in by_key.items()}
    errors = _errors(by_key, new, suites) if columns == COLUMNS[1] else {}
    notes: tuple[str, ...] = ()
    if among is not None:
        check_members(among, list(new.values()), [path for path in paths if path.is_dir()])
        published, published_errors = field_rows(among, _common_cells(among, paths))
        new |= {model_key(row): row for row in published}
        errors |= published_errors if columns == COLUMNS[1] else {}
        notes = field_notes(among, split=split)

    def ranked(rows: Sequence[Row]) -> Board:
        if among is not None and not split:
            check_members(among, rows)
        board = rank_models(rows, sort_by, split, is_mixed=among is not None)
        return replace(board, errors=errors, notes=notes, columns=columns)

    if out is None:
        return ranked(list(new.values()))
    path, merged = Path(out), format == "csv" and not errors
    mark = CORRUPTIONS_HEADER if format == "csv" else FORMATS[format].mark
    is_ours = is_leaderboard if merged else lambda path: read_start(path).startswith(mark)
    check_replaceable(path, is_ours, "--out", force)
    # The lock is not in the directory of `out`, which is often a repository.
    lock = cache_folder() / "locks" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    with translate_os_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(lock):
        old: dict[tuple[str, ...], Row] = {}
        if merged and is_leaderboard(path):
            old = {model_key(row): row for row in read_board(path)}
        board = ranked(_deduplicate(list((old | new).values())))
        text = FORMATS[format].text(board, intervals)
        with translate_os_errors(path):
            atomic_write(path, lambda file: file.write(text.encode()))
    return board


def _common_cells(field: Field, paths: Sequence[Path]) -> frozenset[Cell] | None:
    """Return the cells that all runs evaluated; None if they differ or there is no run."""
    tables = [results for path in paths if (results := read_results(path)) is not None]
    cells = {covered_cells(field.suite, results[results["suite"] == field.suite]) for results in tables}
    return cells.pop() if len(cells) == 1 else None


def _read_inputs(paths: Sequence[Path], suites: Sequence[str] | None) -> dict[tuple[str, ...], list[tuple[Path, Row]]]:
    """Return the different rows of all inputs, with their input, by identity."""
    by_key: dict[tuple[str, ...], list[tuple[Path, Row]]] = {}
    for path in paths:
        for row in read_rows(path, suites):
            same = by_key.setdefault(model_key(row), [])
            if all(_unranked(row) != _unranked(other) for _, other in same):
                same.append((path, row))
    return by_key


def _errors(
    by_key: Mapping[tuple[str, ...], Sequence[tuple[Path, Row]]],
    rows: Mapping[tuple[str, ...], Row],
    suites: Sequence[str] | None,
) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Return the errors by corruption of each row, which must be of a run or of its results.csv; the mean over seeds."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for key, row in rows.items():
        tables = [results for path, _ in by_key[key] if (results := read_results(path)) is not None]
        errors = corruption_errors(pd.concat(tables), row, suites) if tables else None
        if errors is None:
            raise OptionError(
                f"{by_key[key][0][0]} has no errors by corruption of {row['model']}",
                "--columns corruptions takes runs, or their results.csv, with a suite such as cifar-c",
            )
        found[model_key(row)] = errors
    return found


def _single_row(rows: Sequence[tuple[Path, Row]], suites: Sequence[str] | None) -> Row:
    """Return the row of one model, pooled over the seeds of runs; OptionError for rows that contradict each other."""
    runs = [(path, row) for path, row in rows if path.is_dir()]
    if len(runs) > 1 and len({row["seed"] for _, row in runs}) == len(runs):
        pooled = read_pooled([path for path, _ in runs], suites)
        rows = [(runs[0][0], pooled), *(pair for pair in rows if pair not in runs)]
    (path, row), *others = rows
    for other, other_row in others:
        if _unranked(other_row) != _unranked(row):
            raise OptionError(
                f"{path} and {other} both have {row['model']} with the same weights, input, samples and protocol, but differ",
                "leave one out; for several seeds, name the run directories alone",
            )
    return row


def _deduplicate(rows: Sequence[Row]) -> list[Row]:
    """Leave out rows without a fingerprint of the weights, as of a results.csv, if a run has the same row and seed."""
    known = {_weightless_key(row) for row in rows if row.get("weights_sha")}
    return [row for row in rows if row.get("weights_sha") or _weightless_key(row) not in known]


def _weightless_key(row: Row) -> tuple[object, ...]:
    return *model_key(row | {"weights_sha": "", "model_input": ""}), row.get("seed")


def _unranked(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("rank", "rank_by")}
