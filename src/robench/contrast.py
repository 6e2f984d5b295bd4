"""Two sides of a comparison: results read from a run or a CSV file, matched figure by figure, with how each change is tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from robench import tables
from robench.errors import OptionError, RunError, TableError
from robench.metrics import METRICS
from robench.metrics.paired import bootstrap_error, interval_error, mcnemar, normal_tail, paired_score
from robench.metrics.statistics import percentile_interval
from robench.moved import between, moved_between, protocol_difference, quoted
from robench.rundir import RunDirectory
from robench.scoring import pool, pooled_rows, score_rows
from robench.scoring.reading import read_columns
from robench.scoring.rows import Row
from robench.suites import CLEAN, find_suite, known_suite
from robench.tables import RESULTS, SCHEMA_VERSION
from robench.types import Floats, Results

__all__ = [
    "HEADLINES",
    "KEY",
    "Contrast",
    "Figure",
    "Method",
    "Side",
    "Source",
    "contrast",
    "match",
    "open_side",
    "refuse_unfinished",
    "refuse_unlike",
]

KEY = ("suite", "metric", "corruption", "severity", "axis", "axis_value", "resolution")
"""What a figure is of. Figures of two sides are compared where these are equal."""

_WAY = ("protocol", "source", "baseline")
"""How a figure was made: it must be equal, or the figures are not compared."""

_WAY_OUT = (
    "Evaluate the baseline's model again, or accept a run as the new baseline: "
    "robench gate RUN --baseline CSV --update-baseline"
)

HEADLINES = ("mean_error", "mce", "mfr", "mean_flip_rate", "consistency", "accuracy_area")
"""Metrics that a suite is summed up by."""

_NORMALISED = {"ce", "mce", "relative_mce", "fr", "mfr", "mt5d"}
_OF_IMAGES = {"error_rate": "pred", "accuracy": "pred", "top5_error": "top5"}
"""Metrics of a cell that are right or wrong for each image, and the column that says so."""

Method: TypeAlias = Literal["mcnemar", "score", "paired bootstrap", "intervals"]
Key: TypeAlias = tuple[Any, ...]
Source: TypeAlias = Path | str | Sequence[Path | str]
"""A run directory, those of several seeds of one model, or a results CSV."""


@dataclass(frozen=True)
class Figure:
    """One row of the results. key: its values of KEY, None where empty.  row: all columns."""

    key: Key
    row: dict[str, Any]

    @property
    def value(self) -> float:
        """The figure."""
        return float(self.row["value"])

    def __str__(self) -> str:
        """`error_rate of imagenet-c fog 3 at 224 px`."""
        suite, metric, corruption, severity, axis, place, resolution = self.key
        parts = [f"{metric} of {suite}"]
        if corruption is not None and corruption != suite:
            parts.append(str(corruption))
        if severity:
            parts.append(str(severity))
        if axis is not None:
            parts.append(f"{axis} {place:g}")
        return " ".join(parts) + (f" at {resolution} px" if resolution is not None else "")


@dataclass(frozen=True)
class Side:
    """Results with where they are from.

    path: of the first run or of the CSV file.  figures: by key.  runs: one for each seed; none for a CSV file, which has no records.
    """

    path: Path
    figures: dict[Key, Figure]
    runs: tuple[RunDirectory, ...] = ()
    distributions: dict[Key, Floats] = field(default_factory=dict)
    outcomes: dict[Key, Any] = field(default_factory=dict)

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

    def rows(self, normalize_by: str | None, wanted: Collection[tuple[str, str]]) -> list[Row]:
        """Rows computed again from the records, with their distributions; of several seeds the pooled ones."""
        if len(self.runs) == 1:
            return score_rows(self.runs[0], normalize_by, wanted)
        return pooled_rows(self.runs, normalize_by, wanted)

    def _common(self, column: str) -> Any:
        return next(iter(self.figures.values())).row[column]


def open_side(sources: Source) -> Side:
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
    for column in ("model", "treatment", "dataset", "data_sha", "seed"):
        found = results[column].unique()
        if len(found) > 1:
            raise TableError(
                f"{path} holds results of several ({column} {found[0]}, {found[1]}, …): keep one model's in a file"
            )
    figures: dict[Key, Figure] = {}
    for row in results.astype(object).where(results.notna(), None).to_dict("records"):
        figure = Figure(tuple(row[name] for name in KEY), row)
        if (other := figures.get(figure.key)) is not None:
            if row["suite"] == CLEAN and row["protocol"] != other.row["protocol"]:
                continue  # Clean images of another suite's geometry: the first suite's are the ones that count.
            raise TableError(f"{path} has two rows for {figure}: keep one")
        figures[figure.key] = figure
    return Side(path, figures, runs)


def _read_csv(path: Path) -> Results:
    _refuse_other_schema(path)
    results = tables.read_csv(RESULTS, path)
    if not len(results):
        raise TableError(f"{path} has no rows: write it from a run's results.csv")
    if (results["schema"] != SCHEMA_VERSION).any():
        raise TableError(f"{path} has rows of several schemas: keep those of one")
    unknown = [name for name in results["metric"].unique() if name not in METRICS]
    if unknown:
        raise TableError(f"{path} has an unknown metric {unknown[0]!r}: it was written by another robench, or by hand")
    for row in results.to_dict("records"):
        if not math.isfinite(row["value"]) or row["unit"] != METRICS[row["metric"]].unit:
            raise TableError(
                f"{path} has {row['value']} {row['unit']} as {row['metric']}: write it from a run's results.csv"
            )
    return results


def _refuse_other_schema(path: Path) -> None:
    """Raise TableError if the file says that its columns are another version's, whatever they are."""
    schema, made_by = tables.read_versions(path)
    if schema in ("", str(SCHEMA_VERSION)):
        return
    what = f"{path} has schema {schema}, of robench {made_by or 'unknown'}, and this robench reads {SCHEMA_VERSION}"
    if schema.isdigit() and int(schema) > SCHEMA_VERSION:
        raise TableError(f"{what}: install the newer robench that wrote it")
    raise TableError(f"{what}. {quoted(between(made_by, version('robench')))}{_WAY_OUT}")


def refuse_unfinished(run: RunDirectory) -> None:
    """Raise RunError for a run that was interrupted; one whose records were all removed has its results still."""
    left = len(run.conditions) - len(run.finished())
    if 0 < left < len(run.conditions):
        raise RunError(
            f"{run.path} has {left} of {len(run.conditions)} conditions unfinished: give its `robench evaluate` again"
        )


def refuse_unlike(run: Side, base: Side, *, paired: bool) -> None:
    """Raise OptionError if the sides are of other data or, if paired, of other samples or another seed."""
    if run.dataset != base.dataset:
        raise OptionError(
            f"{run.path} is on dataset {run.dataset}, {base.path} on {base.dataset}: evaluate both on one"
        )
    if not paired:
        return
    for what, ours, theirs in (("seed", run.seed, base.seed), ("samples", run.data_sha[:12], base.data_sha[:12])):
        if ours != theirs:
            raise OptionError(
                f"{run.path} has {what} {ours}, {base.path} {theirs}: evaluate with the same, or allow it "
                'with pairing = "unpaired"'
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
                f"{figure} moved between robench {other.row['robench_version']} ({base.path}) and "
                f"{figure.row['robench_version']} ({run.path}): {quoted(moved)}{_WAY_OUT}"
            )
        ours, theirs = _averaged(run, figure), _averaged(base, figure)
        if ours != theirs or (figure.row["n"] != other.row["n"] and not _is_cell(figure)):
            unlike = sorted(ours ^ theirs)
            example = f", for example not both over {unlike[0][0]} {unlike[0][1]}" if unlike else ""
            raise OptionError(
                f"{figure} is over other cells in {run.path} ({len(ours)}) than in {base.path} ({len(theirs)}){example}: "
                "evaluate the same, or gate their cells"
            )
        pairs.append((figure, other))
    return pairs


def _made_otherwise(column: str, run: Side, ours: Figure, base: Side, theirs: Figure) -> str:
    """One line: what of the way in which a figure was made differs, and since when, where an upgrade of robench explains it."""
    one, two = ours.row[column], theirs.row[column]
    if column != "protocol":
        return f"{ours}: {column} is {one} in {run.path} and {two} in {base.path}: evaluate both with the same options"
    difference = protocol_difference(one, two)
    what = f"{ours}: {run.path} and {base.path} have other protocols, they differ in {difference}"
    moved = [entry for entry in moved_between(ours.row, theirs.row, "protocol") if entry.part in difference]
    versions = [figure.row["robench_version"] for figure in (ours, theirs)]
    if not moved and versions[0] != versions[1]:
        return f"{what}; nothing of it moved between robench {versions[1]} and {versions[0]}: evaluate both with the same options"
    if not moved:
        return f"{what}: evaluate both with the same options"
    return f"{what}. Between robench {versions[1]} and {versions[0]}: {quoted(moved)}{_WAY_OUT}"


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


def _is_cell(figure: Figure) -> bool:
    """Whether `n` counts images, of which unpaired sides may have other numbers."""
    _, metric, corruption, *_ = figure.key
    return corruption is not None and metric not in (*_NORMALISED, "accuracy_area", "half_strength")


@dataclass(frozen=True)
class Contrast:
    """A figure of two sides and the means to test its change, run - base, in the metric's unit.

    counts: of images lost and gained by run, and of all, where the figure is a rate of the same images.
    resamples: (2, resamples) of run and base, the same samples in both.  errors: standard errors of run and base.
    ci_low, ci_high: of the change, 95 %; NaN where a side has no interval.
    """

    run: Figure
    base: Figure
    ci_low: float
    ci_high: float
    images: int
    counts: tuple[int, int, int] | None = None
    resamples: Floats | None = None
    errors: tuple[float, float] = (math.nan, math.nan)

    @property
    def change(self) -> float:
        """Run - base."""
        return self.run.value - self.base.value

    @property
    def sign(self) -> int:
        """1 where a larger figure is worse, -1 where it is better."""
        return -1 if METRICS[self.run.key[1]].higher_is_better else 1

    @property
    def testable(self) -> bool:
        """Whether anything is known of the figure's chance."""
        return self.counts is not None or self.resamples is not None or math.isfinite(sum(self.errors))

    def worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Return the p-value that the change for the worse is not beyond a limit: absolute, plus relative of |base|."""
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            if absolute == 0:
                return mcnemar(worse, better), "mcnemar"
            return normal_tail(paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        return normal_tail(excess, error, 0.5**self.images), method

    def not_worse(self, absolute: float = 0.0, relative: float = 0.0) -> tuple[float, Method]:
        """Return the p-value that the change for the worse is not within a limit: small where it surely is within."""
        if self.counts is not None and not relative and -1 < absolute < 1:
            worse, better, n = self.counts
            return normal_tail(-paired_score(worse, better, n, absolute), 1.0), "score"
        excess, error, method = self._excess(absolute, relative)
        # Were the rate worse by the limit, so many images would all have to be as far from it by chance as they are.
        gap = max(absolute + relative * abs(self.base.value), -excess)
        least = (1 - gap) ** self.images if 0 < gap < 1 and self.run.row["unit"] == "fraction" else 0.5**self.images
        return normal_tail(-excess, error, least), method

    def two_sided(self) -> tuple[float, Method]:
        """Return the p-value that there is no change either way."""
        if self.counts is not None:
            return mcnemar(*self.counts[:2], two_sided=True), "mcnemar"
        excess, error, method = self._excess(0.0, 0.0)
        return min(1.0, 2 * normal_tail(abs(excess), error, 0.5**self.images)), method

    def _excess(self, absolute: float, relative: float) -> tuple[float, float, Method]:
        """The change for the worse beyond its limit, and the standard error of that."""

        def beyond(run: Any, base: Any) -> Any:
            return self.sign * (run - base) - absolute - relative * np.abs(base)

        excess = float(beyond(self.run.value, self.base.value))
        if self.resamples is not None:
            return excess, bootstrap_error(beyond(*self.resamples)), "paired bootstrap"
        slope = abs(self.sign + relative * math.copysign(1, self.base.value))
        return excess, math.hypot(self.errors[0], slope * self.errors[1]), "intervals"


def contrast(run: Side, base: Side, pairs: Sequence[tuple[Figure, Figure]], *, paired: bool) -> list[Contrast]:
    """Prepare the tests of matched figures: by the records of both sides, where paired and both have them, else intervals."""
    if paired and run.runs and base.runs:
        for side in (run, base):
            _fill(side, [ours for ours, _ in pairs])
    else:
        paired = False
    return [_contrast(run, base, ours, theirs, paired=paired) for ours, theirs in pairs]


def _contrast(run: Side, base: Side, ours: Figure, theirs: Figure, *, paired: bool) -> Contrast:
    key = ours.key
    both = [side.distributions[key] for side in (run, base) if paired and key in side.distributions]
    counts = None
    if paired and key in run.outcomes and key in base.outcomes:
        wrong, before = run.outcomes[key], base.outcomes[key]
        counts = int((wrong & ~before).sum()), int((before & ~wrong).sum()), len(wrong)
    images = _images(run, base)
    if len(both) == 2:
        low, high = percentile_interval(both[0][1:] - both[1][1:])
        return Contrast(ours, theirs, float(low), float(high), images, counts, np.stack([one[1:] for one in both]))
    errors = (_error(ours), _error(theirs))
    half = 1.959963984540054 * math.hypot(*errors)
    change = ours.value - theirs.value
    return Contrast(ours, theirs, change - half, change + half, images, counts, None, errors)


def _images(run: Side, base: Side) -> int:
    """Images of the smaller side: the largest n of a rate of images."""
    found = []
    for side in (run, base):
        rates = [f.row["n"] for f in side.figures.values() if f.row["metric"] in _OF_IMAGES and _is_cell(f)]
        found.append(max(rates, default=1))
    return int(min(found))


def _error(figure: Figure) -> float:
    low, high = figure.row["ci_low"], figure.row["ci_high"]
    return math.nan if low is None or high is None else interval_error(float(low), float(high))


def _fill(side: Side, figures: Sequence[Figure]) -> None:
    """Read what the records say of the figures: their distributions, and of cells which images are wrong."""
    wanted = {(figure.key[0], figure.key[1]) for figure in figures}
    if not side.runs[0].finished():
        return
    normalised = any(metric in _NORMALISED for _, metric in wanted)
    keys = {figure.key for figure in figures}
    for row in side.rows(None if normalised else "none", wanted):
        key = tuple(None if _missing(row.get(name)) else row[name] for name in KEY)
        if key in keys and "distribution" in row and row["protocol"] == side.figures[key].row["protocol"]:
            stored = side.figures[key]
            if row.get("baseline") != stored.row["baseline"]:
                continue  # Scored with another --normalize-by than the run was made with.
            if not math.isclose(row["value"], stored.value, rel_tol=1e-9, abs_tol=1e-12):
                raise RunError(
                    f"{side.path}: {stored} is {stored.value:.6g} in results.csv and {row['value']:.6g} by its records: "
                    f"`robench score {side.path}` writes it again"
                )
            side.distributions[key] = row["distribution"]
    if len(side.runs) == 1:
        side.outcomes.update(_wrong(side, side.runs[0], keys))


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _wrong(side: Side, run: RunDirectory, keys: Iterable[Key]) -> dict[Key, Any]:
    """For the keys of cells with one image a sample: which images are wrong (n,)."""
    found: dict[Key, Any] = {}
    cells = [key for key in keys if key[1] in _OF_IMAGES and key[4] is None]
    for condition in run.finished():
        place = (condition.suite, condition.corruption, condition.severity, condition.resolution)
        of_cell = [
            key
            for key in cells
            if (key[0], key[2], key[3], key[6]) == place and side.figures[key].row["protocol"] == condition.protocol
        ]
        if condition.frames != 1 or find_suite(condition.suite).family not in ("corruptions", "resolution"):
            continue
        columns = {_OF_IMAGES[key[1]] for key in of_cell}
        records = read_columns(run, condition, ["label", *sorted(columns)]) if columns else None
        for key in of_cell:
            assert records is not None
            label = records["label"].to_numpy()
            if key[1] == "top5_error":
                found[key] = np.array(
                    [true not in five for true, five in zip(label, records["top5"], strict=True)], dtype=bool
                )
            else:
                found[key] = np.asarray(records["pred"].to_numpy() != label)
    return found
