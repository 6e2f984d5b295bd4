"""Results of a run, of several seeds of one model, or of a CSV file."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from robench.analysis.metrics import METRICS
from robench.analysis.metrics.paired_tests import interval_error
from robench.analysis.scoring import pool, pooled_rows, score_rows
from robench.analysis.scoring.rows import Row
from robench.errors import RunError, TableError, printable
from robench.runs.csv import read_csv, read_versions
from robench.runs.directory import RunDirectory
from robench.runs.files import read_start
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN, display_family, epsilon_text, families
from robench.types import Results

__all__ = [
    "HEADLINE_METRICS",
    "NORMALISED",
    "PER_IMAGE_METRICS",
    "Key",
    "ResultRow",
    "ResultsSet",
    "Source",
    "check_finished",
    "load_results",
]

HEADLINE_METRICS = ("mean_error", "mce", "mfr", "mean_flip_rate", "consistency", "accuracy_auc", "shape_bias")
"""Metrics that summarise a suite."""

NORMALISED = {"ce", "mce", "relative_mce", "fr", "mfr", "mt5d"}
"""Metrics that are divided by the value of a baseline."""

PER_IMAGE_METRICS = {"error_rate": "pred", "accuracy": "pred", "top5_error": "top5"}
"""Metrics of a cell that are right or wrong for each image, with the column of the records that they need."""


class Key(NamedTuple):
    """The columns that identify a row of the results; None for an empty cell."""

    suite: str
    metric: str
    method: str | None
    subset: str | None
    corruption: str | None
    severity: int | None
    axis: str | None
    axis_value: float | None
    dx: int | None
    dy: int | None
    resolution: int | None


Source: TypeAlias = Path | str | Sequence[Path | str]
"""A run directory, the run directories of several seeds of one model, or a results CSV."""


@dataclass(frozen=True)
class ResultRow:
    """One row of the results.

    Attributes:
        key: The cells that identify the row.
        row: All columns.
        shows_size: Whether the name of the row says the input size, because the suite has results at several sizes.
    """

    key: Key
    row: dict[str, Any]
    shows_size: bool = False

    @property
    def value(self) -> float:
        """Value of the metric."""
        return float(self.row["value"])

    @property
    def error(self) -> float:
        """Standard error that corresponds to the interval; NaN without an interval.

        The interval of a biased metric ends at 0, at 1 or at its value, so that its longer side counts.
        """
        low, high = self.row["ci_low"], self.row["ci_high"]
        if low is None or high is None:
            return math.nan
        if METRICS[self.key.metric].is_biased:
            half = max(self.value - float(low), float(high) - self.value)
            low, high = self.value - half, self.value + half
        return interval_error(float(low), float(high))

    @property
    def is_cell(self) -> bool:
        """Whether `n` counts images; unpaired runs may differ in it."""
        metric, corruption = self.key.metric, self.key.corruption
        return corruption is not None and metric not in (*NORMALISED, "accuracy_auc", "half_accuracy_strength")

    @property
    def cell(self) -> str:
        """The place of the value, such as `imagenet-c / fog / 3`; with the input size if the suite has several."""
        key = self.key
        parts = [key.suite, *(name for name in (key.method, key.subset) if name)]
        if not display_family(key.suite).has_clean:
            return " / ".join(parts)  # The suite has one condition.
        if key.corruption is not None and key.corruption != key.suite:
            parts.append(key.corruption)
        if key.axis == "difficulty":  # Difficulty 1 is the published one.
            parts += [f"difficulty {key.axis_value:g}"] if key.axis_value != 1 else []
        elif key.severity and (not display_family(key.suite).has_frames or display_family(key.suite) == families.EXITS):
            parts.append(str(key.severity))
        if key.dx is not None:
            parts.append(f"{key.axis} dx {key.dx} dy {key.dy}")
        elif key.axis not in (None, "difficulty"):
            value = key.axis_value or 0.0
            # Radii are the only positions that have a customary unit.
            parts.append(f"{key.axis} {epsilon_text(value) if key.axis == 'epsilon' else f'{value:g}'}")
        return " / ".join(parts) + (f" at {key.resolution} px" if self.shows_size else "")

    def __str__(self) -> str:
        """Return a text such as `error_rate of imagenet-c / fog / 3`."""
        return f"{self.key.metric} of {self.cell}"


@dataclass(frozen=True)
class ResultsSet:
    """Results of one model with their origin.

    Attributes:
        name: Path of the run or of the CSV file; several seeds are joined by ` + `.
        rows: Rows of the results by key.
        runs: One run for each seed; none for a CSV file, which has no records.
        warnings: Warnings of the runs about likely mistakes; each begins with the path of its run.
    """

    name: str
    rows: dict[Key, ResultRow]
    runs: tuple[RunDirectory, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_run(cls, path: Path) -> ResultsSet:
        """Read the results of a run directory."""
        run = RunDirectory.open(path)
        results = run.read_results(groups=True)
        _check_results(results, path, f"`robench score {path}` writes it again")
        return cls._from_results(results, str(path), (run,))

    @classmethod
    def from_csv(cls, path: Path) -> ResultsSet:
        """Read a results CSV."""
        if not path.exists():
            raise RunError(
                f"there is no {path}",
                f"`robench gate RUN --baseline {path} --update-baseline` writes a run's results there",
            )
        header = read_start(path).lstrip("\ufeff").partition("\n")[0].strip().split(",")
        if {"model", "top1"} <= set(header):
            kind = "a leaderboard" if "rank" in header else "a table of models"
            raise TableError(f"{path} is {kind}, with one row per model", "give the results.csv of a run")
        schema, version = read_versions(path)
        if schema not in ("", str(SCHEMA_VERSION)):
            raise TableError(
                f"{path} has schema {schema}, of robench {version or 'unknown'}, and this robench reads {SCHEMA_VERSION}",
                "evaluate the baseline's model again, or accept a run as the new baseline: "
                f"robench gate RUN --baseline {path} --update-baseline",
            )
        results, hint = read_csv(RESULTS, path), "write it from a run's results.csv"
        if not len(results):
            raise TableError(f"{path} has no rows", hint)
        _check_results(results, path, hint)
        around = RunDirectory.around(path)
        read = cls._from_results(results, str(path), ())
        return read if around is None else replace(read, warnings=_warnings([around]))

    @classmethod
    def pooled(cls, paths: Sequence[Path]) -> ResultsSet:
        """Average the results of run directories that differ only in their seed."""
        if file := next((path for path in paths if path.is_file()), None):
            raise RunError(
                f"{file} is a file, and only run directories can be averaged over seeds", "name the run directories"
            )
        runs = tuple(RunDirectory.open(path) for path in paths)
        return cls._from_results(pool(runs)[0], " + ".join(map(str, paths)), runs)

    @classmethod
    def _from_results(cls, results: Results, name: str, runs: tuple[RunDirectory, ...]) -> ResultsSet:
        for column in ("model", "treatment", "dataset", "data_sha", "seed"):
            values = results[column].unique()
            if len(values) > 1:
                raise TableError(
                    f"{name} holds results of several models, datasets or seeds ({column} {values[0]}, {values[1]}, …)",
                    "keep the results of one",
                )
        sizes = results.groupby("suite")["resolution"].nunique()
        several = set(sizes.index[sizes > 1])
        rows: dict[Key, ResultRow] = {}
        for cells in results.astype(object).where(results.notna(), None).to_dict("records"):
            row = ResultRow(Key(*(cells[column] for column in Key._fields)), cells, cells["suite"] in several)
            if (other := rows.get(row.key)) is None:
                rows[row.key] = row
            # Suites can have clean images of different geometries; those of the first suite count.
            elif cells["suite"] != CLEAN or cells["protocol"] == other.row["protocol"]:
                raise TableError(f"{name} has two rows for {row}", "keep one")
        return cls(name, rows, runs, _warnings(runs))

    @property
    def frame(self) -> Results:
        """The rows as a table of results."""
        return rows_to_frame(RESULTS, (row.row for row in self.rows.values()))

    @property
    def model(self) -> str:
        """Label of the model."""
        return printable(str(self._common("model")))

    @property
    def treatment(self) -> str:
        """Test-time method applied to the model; empty without one."""
        return printable(str(self._common("treatment") or ""))

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return printable(str(self._common("dataset")))

    @property
    def data_sha(self) -> str:
        """Fingerprint of the evaluated samples."""
        return str(self._common("data_sha"))

    @property
    def seed(self) -> str:
        """Seed of all draws; several seeds as `0+1+2`."""
        return str(self._common("seed"))

    @property
    def version(self) -> str:
        """Version of robench that computed the results."""
        return str(self._common("robench_version"))

    @property
    def images(self) -> int:
        """Number of evaluated images: the largest `n` of a rate of images, 0 without such a rate."""
        return int(
            max(
                (row.row["n"] for row in self.rows.values() if row.key.metric in PER_IMAGE_METRICS and row.is_cell),
                default=0,
            )
        )

    def rescore(self, normalize_by: str | None, only: Collection[tuple[str, str]]) -> list[Row]:
        """Compute rows with their distributions from the records; several seeds are pooled.

        Args:
            normalize_by: The baseline, as in `score_rows`.
            only: Pairs of suite and metric.
        """
        if len(self.runs) == 1:
            return score_rows(self.runs[0], normalize_by, only)
        return pooled_rows(self.runs, normalize_by, only)

    def _common(self, column: str) -> Any:
        return next(iter(self.rows.values())).row[column]


def load_results(sources: Source) -> ResultsSet:
    """Read a run directory, several that differ only in their seed, or a results CSV.

    Raises:
        RunError: A run directory or a file cannot be read, or the runs are not seeds of one model.
        TableError: The results are damaged, or of several models.
    """
    paths = [Path(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    if len(paths) > 1:
        return ResultsSet.pooled(paths)
    path = paths[0]
    is_csv = path.is_file() or (path.suffix == ".csv" and not path.exists())
    return ResultsSet.from_csv(path) if is_csv else ResultsSet.from_run(path)


def _warnings(runs: Iterable[RunDirectory]) -> tuple[str, ...]:
    return tuple(f"{run.path}: {warning}" for run in runs for warning in run.warnings)


def _check_results(results: Results, path: Path, hint: str) -> None:
    """Raise TableError for results that this version of robench cannot have written."""
    for schema in results["schema"].unique():
        if schema != SCHEMA_VERSION:
            raise TableError(f"{path} has rows of schema {schema}, and this robench reads {SCHEMA_VERSION}", hint)
    for metric in results["metric"].unique():
        if metric not in METRICS:
            raise TableError(f"{path} has an unknown metric {metric!r}", hint)
    for row in results.to_dict("records"):
        if not math.isfinite(row["value"]) or row["unit"] != METRICS[row["metric"]].unit:
            raise TableError(f"{path} has {row['value']} {row['unit']} as {row['metric']}", hint)
        ends = [row[name] for name in ("ci_low", "ci_high") if not math.isnan(row[name])]
        if not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise TableError(f"{path} has {row['ci_low']} to {row['ci_high']} as interval of {row['metric']}", hint)


def check_finished(run: RunDirectory) -> None:
    """Raise RunError for an interrupted run. A run without any records is complete, because its results remain."""
    total = len(run.conditions)
    unfinished = total - len(run.finished())
    if 0 < unfinished < total:
        raise RunError(
            f"{run.path} has {unfinished} of {total} conditions unfinished", "give its `robench evaluate` command again"
        )
