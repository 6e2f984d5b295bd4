"""A side of a comparison: the figures of a run, of several seeds of one model, or of a results CSV."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from robench.analysis.metrics import METRICS
from robench.analysis.metrics.paired_tests import interval_error
from robench.analysis.scoring import pool, pooled_rows, score_rows
from robench.analysis.scoring.rows import Row
from robench.errors import RunError, TableError
from robench.runs.csv import read_csv, read_versions
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION
from robench.suites import CLEAN
from robench.types import Results

__all__ = [
    "BASELINE_HINT",
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

HEADLINE_METRICS = ("mean_error", "mce", "mfr", "mean_flip_rate", "consistency", "accuracy_auc")
"""Metrics that a suite is summed up by."""

NORMALISED = {"ce", "mce", "relative_mce", "fr", "mfr", "mt5d"}
"""Metrics that are divided by a baseline's."""

PER_IMAGE_METRICS = {"error_rate": "pred", "accuracy": "pred", "top5_error": "top5"}
"""Metrics of a cell that are right or wrong for each image, and the column that says so."""

BASELINE_HINT = (
    "Evaluate the baseline's model again, or accept a run as the new baseline: "
    "robench gate RUN --baseline CSV --update-baseline"
)
"""What a user does about a baseline that an older robench made."""


class Key(NamedTuple):
    """The columns that tell a row of the results from all others; None where empty."""

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
"""A run directory, those of several seeds of one model, or a results CSV."""


@dataclass(frozen=True)
class ResultRow:
    """One row of the results. key: its cells that no other row has together.  row: all columns."""

    key: Key
    row: dict[str, Any]

    @property
    def value(self) -> float:
        """The figure."""
        return float(self.row["value"])

    @property
    def error(self) -> float:
        """The standard error that its interval was made of; NaN where it has none."""
        low, high = self.row["ci_low"], self.row["ci_high"]
        return math.nan if low is None or high is None else interval_error(float(low), float(high))

    @property
    def is_cell(self) -> bool:
        """Whether `n` counts images, of which unpaired sides may have other numbers."""
        metric, corruption = self.key.metric, self.key.corruption
        return corruption is not None and metric not in (*NORMALISED, "accuracy_auc", "half_accuracy_strength")

    def __str__(self) -> str:
        """`error_rate of imagenet-c fog 3 at 224 px`."""
        key = self.key
        parts = [f"{key.metric} of {key.suite}", *(name for name in (key.method, key.subset) if name)]
        if key.corruption is not None and key.corruption != key.suite:
            parts.append(key.corruption)
        if key.severity:
            parts.append(str(key.severity))
        if key.dx is not None:
            parts.append(f"{key.axis} dx {key.dx} dy {key.dy}")
        elif key.axis is not None:
            parts.append(f"{key.axis} {key.axis_value:g}")
        return " ".join(parts) + (f" at {key.resolution} px" if key.resolution is not None else "")


@dataclass(frozen=True)
class ResultsSet:
    """Results with where they are from.

    name: path of the run or of the CSV file; of several seeds all of them, joined by +.  figures: by key.
    runs: one for each seed; none for a CSV file, which has no records.
    """

    name: str
    figures: dict[Key, ResultRow]
    runs: tuple[RunDirectory, ...] = ()

    @property
    def model(self) -> str:
        """Label of the model."""
        return str(self._common("model"))

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self._common("dataset"))

    @property
    def data_sha(self) -> str:
        """Fingerprint of the evaluated samples."""
        return str(self._common("data_sha"))

    @property
    def seed(self) -> str:
        """Seed of all draws, or several as `0+1+2`."""
        return str(self._common("seed"))

    @property
    def version(self) -> str:
        """Version of robench that computed the results."""
        return str(self._common("robench_version"))

    @property
    def images(self) -> int:
        """Evaluated images, as far as the figures say: the largest n of a rate of images, 0 where there is none."""
        rates = [
            one.row["n"] for one in self.figures.values() if one.row["metric"] in PER_IMAGE_METRICS and one.is_cell
        ]
        return int(max(rates, default=0))

    def rows(self, normalize_by: str | None, wanted: Collection[tuple[str, str]]) -> list[Row]:
        """Rows computed again from the records, with their distributions; of several seeds the pooled ones."""
        if len(self.runs) == 1:
            return score_rows(self.runs[0], normalize_by, wanted)
        return pooled_rows(self.runs, normalize_by, wanted)

    def _common(self, column: str) -> Any:
        return next(iter(self.figures.values())).row[column]


def load_results(sources: Source) -> ResultsSet:
    """Read a run directory, several that differ in their seed, or a results CSV.

    Raises TableError or RunError unless they hold the results of one model.
    """
    paths = [Path(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
    path = paths[0]
    if len(paths) > 1:
        if csv := next((one for one in paths if one.is_file()), None):
            raise RunError(f"{csv} is a file, and several seeds are pooled from run directories: name those")
        runs = tuple(RunDirectory.open(one) for one in paths)
        results = pool(runs)[0]
    else:
        if path.suffix == ".csv" and not path.exists():
            raise RunError(
                f"there is no {path}: `robench gate RUN --baseline {path} --update-baseline` writes a run's results there"
            )
        runs = () if path.is_file() else (RunDirectory.open(path),)
        results = runs[0].read_results() if runs else _read_csv(path)
        _refuse_damaged(
            results, path, f"`robench score {path}` writes it again" if runs else "write it from a run's results.csv"
        )
    for column in ("model", "treatment", "dataset", "data_sha", "seed"):
        found = results[column].unique()
        if len(found) > 1:
            raise TableError(
                f"{path} holds results of several ({column} {found[0]}, {found[1]}, …): keep one model's in a file"
            )
    figures: dict[Key, ResultRow] = {}
    for row in results.astype(object).where(results.notna(), None).to_dict("records"):
        figure = ResultRow(Key(*(row[name] for name in Key._fields)), row)
        if (other := figures.get(figure.key)) is not None:
            if row["suite"] == CLEAN and row["protocol"] != other.row["protocol"]:
                continue  # Clean images of another suite's geometry: the first suite's are the ones that count.
            raise TableError(f"{path} has two rows for {figure}: keep one")
        figures[figure.key] = figure
    return ResultsSet(" + ".join(map(str, paths)), figures, runs)


def _read_csv(path: Path) -> Results:
    _refuse_other_schema(path)
    results = read_csv(RESULTS, path)
    if not len(results):
        raise TableError(f"{path} has no rows: write it from a run's results.csv")
    return results


def _refuse_damaged(results: Results, path: Path, mend: str) -> None:
    """Raise TableError for results that this robench does not write.  mend: what to do about it."""
    schemas = [schema for schema in results["schema"].unique() if schema != SCHEMA_VERSION]
    if schemas:
        raise TableError(f"{path} has rows of schema {schemas[0]}, this robench reads {SCHEMA_VERSION}: {mend}")
    unknown = [name for name in results["metric"].unique() if name not in METRICS]
    if unknown:
        raise TableError(f"{path} has an unknown metric {unknown[0]!r}: it was written by another robench, or by hand")
    for row in results.to_dict("records"):
        if not math.isfinite(row["value"]) or row["unit"] != METRICS[row["metric"]].unit:
            raise TableError(f"{path} has {row['value']} {row['unit']} as {row['metric']}: {mend}")
        ends = [row[name] for name in ("ci_low", "ci_high") if not math.isnan(row[name])]
        if not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise TableError(f"{path} has {row['ci_low']} to {row['ci_high']} as interval of {row['metric']}: {mend}")


def _refuse_other_schema(path: Path) -> None:
    """Raise TableError if the file says that its columns are another version's, whatever they are."""
    schema, made_by = read_versions(path)
    if schema in ("", str(SCHEMA_VERSION)):
        return
    raise TableError(
        f"{path} has schema {schema}, of robench {made_by or 'unknown'}, and this robench reads {SCHEMA_VERSION}. {BASELINE_HINT}"
    )


def check_finished(run: RunDirectory) -> None:
    """Raise RunError for a run that was interrupted; one whose records were all removed has its results still."""
    left = len(run.conditions) - len(run.finished())
    if 0 < left < len(run.conditions):
        raise RunError(
            f"{run.path} has {left} of {len(run.conditions)} conditions unfinished: give its `robench evaluate` again"
        )
