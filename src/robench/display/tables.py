"""Python's functions over finished runs. Their values have a table, and print it.

A run is a path, a `Run` or a results CSV. Wherever several runs are possible, one run or a list of runs is accepted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from rich.console import Console, RenderableType

from robench.analysis.comparison import compare as comparing
from robench.analysis.comparison.consistency import Consistency
from robench.analysis.gate import Rule, Verdict, read_rules, rules_from
from robench.analysis.gate import gate as gating
from robench.analysis.gate.formats import outcome
from robench.analysis.leaderboard import leaderboard as ranking
from robench.analysis.leaderboard.ranking import Board
from robench.analysis.scoring import read_groups
from robench.analysis.scoring import score as compute
from robench.arguments import ArgumentError, check_type, one_or_more, path_of, paths_of
from robench.display.comparison import comparison, consistency_tables, listing
from robench.display.console import as_text
from robench.display.leaderboard import board_tables
from robench.runs.directory import RunDirectory
from robench.runs.schema import GROUPS
from robench.types import Results

__all__ = ["Differences", "Gate", "Ranking", "compare", "gate", "leaderboard", "score"]

Path_: TypeAlias = "str | os.PathLike[str]"
Runs: TypeAlias = "Path_ | Sequence[Path_]"

_RUNS = "the path of a run, a Run, or a list of them"


class _Table:
    """A value that prints its table, which a notebook draws."""

    @property
    def frame(self) -> pd.DataFrame:
        """The table."""
        raise NotImplementedError

    def __str__(self) -> str:
        return _text(self.frame)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(self.frame.dropna(axis="columns", how="all").to_html(index=False, border=0))


@dataclass(frozen=True, repr=False)
class Differences(_Table):
    """The differences of runs from the first run.

    Attributes:
        differences: One for each compared value.
        consistencies: The error consistency of each pair of decision makers and suite.
    """

    differences: tuple[comparing.Difference, ...]
    consistencies: tuple[Consistency, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each difference: both values, the change, its interval and p-values. Error consistencies follow."""
        return comparing.difference_rows(self.differences, self.consistencies)

    def __str__(self) -> str:
        """Return the verdict and the tables of `robench compare`; chosen metrics have tables alone."""

        def draw(console: Console) -> Iterator[RenderableType]:
            for _, group in groupby(self.differences, key=lambda one: one.run_model):
                pair = list(group)
                is_whole = any(one.level == comparing.CORRUPTION for one in pair)
                yield comparison(pair, console) if is_whole else listing(pair, console)
            yield from consistency_tables(self.consistencies)

        return as_text(draw)

    def __iter__(self) -> Iterator[comparing.Difference]:
        return iter(self.differences)

    def __len__(self) -> int:
        return len(self.differences)


@dataclass(frozen=True, repr=False)
class Gate(_Table, Verdict):
    """The verdict of the gate; see `Verdict` for its attributes."""

    @property
    def passed(self) -> bool:
        """Whether no comparison failed."""
        return not self.failed

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each comparison, with its rule as a text."""
        rows = [{field.name: getattr(one, field.name) for field in fields(one)} for one in self.comparisons]
        return pd.DataFrame([{**row, "rule": str(row["rule"])} for row in rows])

    def __str__(self) -> str:
        shown = self.frame[["metric", "cell", "base", "run", "change", "ci_low", "ci_high", "limit", "failed"]]
        remarks = [f"warning: {warning}" for warning in self.warnings] + [f"note: {note}" for note in self.notes]
        return "\n".join([outcome(self), _text(shown), *remarks])


@dataclass(frozen=True, repr=False)
class Ranking(_Table, Board):
    """A leaderboard; see `Board`."""

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each model; see docs/schema.md."""
        return Board.frame.__get__(self)

    def __str__(self) -> str:
        """Return the tables of `robench leaderboard`."""
        return as_text(lambda console: [board_tables(self, console)])


def compare(*runs: Runs, metric: str | Sequence[str] | None = None, decisions: Runs | None = None) -> Differences:
    """Compare runs with the first one; torch is not needed.

    Args:
        *runs: Two or more runs of the same samples and seed, or a list of them. One suffices with decisions.
        metric: The metrics to compare; None for errors of cells and aggregates of suites.
        decisions: Tables with the decisions of people or networks, for the error consistency of each run with them.

    Returns:
        One difference for each value; `frame` is a table of them.

    Raises:
        ArgumentError: An argument has a wrong type.
        OptionError: The runs are not comparable or share no value, a metric is unknown, or there is only one run.
    """
    paths = _paths(runs)
    metrics = None if metric is None else one_or_more("metric", metric, str, "a name or a list of names")
    tables = [] if decisions is None else paths_of("the decisions", decisions, "the path of a table, or a list of them")
    differences, consistencies = comparing.compare_all(paths, metrics, tables)
    return Differences(tuple(differences), tuple(consistencies))


def gate(run: Runs, baseline: Runs, rules: Path_ | Sequence[Rule] | Sequence[Mapping[str, Any]] | None = None) -> Gate:
    """Judge a run against its baseline; torch is not needed.

    Args:
        run: The run; several runs are seeds of one model.
        baseline: The baseline, in the same forms; also a CSV file of results.
        rules: A TOML file, tables as in such a file, or rules; None for those of ./pyproject.toml, or the built-in ones.

    Returns:
        The verdict, with `passed`, the comparisons and those that `failed`.

    Raises:
        ArgumentError: An argument has a wrong type.
        OptionError: A rule compares nothing, or run and baseline are not comparable.
    """
    verdict = gating.gate(paths_of("the run", run, _RUNS), paths_of("the baseline", baseline, _RUNS), _rules(rules))
    return Gate(**{field.name: getattr(verdict, field.name) for field in fields(Verdict)})


def _rules(rules: object) -> tuple[Rule, ...]:
    if rules is None or isinstance(rules, str | os.PathLike):
        return read_rules(None if rules is None else Path(rules))
    if isinstance(rules, list | tuple) and all(isinstance(rule, Rule) for rule in rules) and rules:
        return tuple(rules)
    if isinstance(rules, list | tuple) and all(isinstance(rule, Mapping) for rule in rules):
        return rules_from(rules)
    raise ArgumentError(
        f"rules must be a TOML file or a list of tables, not a {type(rules).__name__}",
        'such as [{"metric": "mean_error", "allowed": 0.01}]',
    )


def leaderboard(
    *runs: Runs,
    out: Path_ | None = None,
    sort_by: str | None = None,
    split: bool = False,
    suite: str | Sequence[str] | None = None,
    field: str | None = None,
    format: str = "csv",  # noqa: A002
    columns: str = "metrics",
    force: bool = False,
) -> Ranking:
    """Rank models in one table, a row for each model; torch is not needed.

    Args:
        *runs: Runs, results.csv and leaderboard.csv files, result files of timm, RobustBench's JSON; or a list of them.
            Runs that differ only in their seed are averaged.
        out: The file to write; None writes none. An existing leaderboard.csv is merged.
        sort_by: A metric column, or a metric.
        split: Whether to make separate sections for rows that are not comparable.
        suite: Suites of the runs to show; None for all.
        field: Published models to rank with the runs, such as "imagenet-c"; None for none.
        format: "csv", "markdown" or "latex".
        columns: "metrics", "uncertainty" or "corruptions": the values in tables for people.
        force: Whether to replace a file of another kind.

    Returns:
        The ranked rows; `frame` is a table of them.

    Raises:
        ArgumentError: An argument has a wrong type.
        OptionError: The rows are not comparable, or an option is invalid.
    """
    paths = _paths(runs) if runs or field is None else []
    board = ranking.leaderboard(
        paths,
        None if out is None else path_of("--out", out),
        sort_by=None if sort_by is None else check_type("--sort-by", sort_by, str, "the name of a metric"),
        split=split,
        suites=None if suite is None else one_or_more("--suite", suite, str, "a name or a list of names"),
        field=None if field is None else check_type("--field", field, str, "the name of a field"),
        format=check_type("--format", format, str, "the name of a format"),
        columns=check_type("--columns", columns, str, "the name of columns"),
        force=force,
    )
    return Ranking(**{field.name: getattr(board, field.name) for field in fields(Board)})


def score(run: Path_ | RunDirectory, normalize_by: Path_ | None = None, groups: Path_ | None = None) -> Results:
    """Compute the results of a run's finished conditions from its records; torch is not needed. Nothing is written.

    Args:
        run: A run with at least one finished condition.
        normalize_by: "alexnet", another run, "none", or None for the run's own baseline.
        groups: Table of paths and groups of images, as `robench score --groups` takes it; "none" for no groups, None for those of
            the run.

    Returns:
        One row for each value, with the columns of docs/schema.md.

    Raises:
        ArgumentError: An argument has a wrong type.
        RunError: The run cannot be read.
    """
    if not isinstance(run, RunDirectory):
        run = RunDirectory.open(path_of("the run", run, "the path of a run, or a Run"))
    text = None if groups is None else str(path_of("--groups", groups))
    if text == "none":
        table = pd.DataFrame(columns=GROUPS.names)
    else:
        table = None if text is None else read_groups(run.read_samples(), text, run.data_path)
    return compute(run, None if normalize_by is None else str(path_of("--normalize-by", normalize_by)), table)


def _paths(runs: Sequence[Runs]) -> list[Path]:
    """Return the paths of runs and of lists of runs; OptionError if there is none."""
    return [path for run in (runs or [[]]) for path in paths_of("the run", run, _RUNS)]


def _text(frame: pd.DataFrame) -> str:
    """Return a table as text, without its empty columns."""
    shown = frame.dropna(axis="columns", how="all")
    return str(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))
