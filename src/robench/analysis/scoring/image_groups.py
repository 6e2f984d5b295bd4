"""Metrics of groups of images, such as the sexes or hospitals of patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.classification import ByClass, balanced_accuracy, class_rates
from robench.analysis.metrics.selective import RiskCoverage
from robench.analysis.scoring.groups import Group, groups_of, has_frames
from robench.analysis.scoring.records import Cell, Outcomes, read_cells
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, Row, resample_weights, result_row, row
from robench.errors import OptionError, TableError
from robench.runs.directory import RunDirectory
from robench.runs.parquet import read_parquet
from robench.runs.schema import GROUPS
from robench.suites import CLEAN
from robench.types import Floats, Ints

__all__ = ["GROUP_METRICS", "group_rows"]

_TOGETHER = 32
_RATES = ("error_rate", "top5_error")
_SCORES = ("nll", "brier")
_CALIBRATION = ("ece", "rms_calibration_error", "adaptive_ece")
_SELECTIVE = ("aurc", "augrc", "risk_at_coverage_80", "coverage_at_risk_5")
_MEANS = ("top5_error", *_SCORES, *_CALIBRATION, *_SELECTIVE, "balanced_accuracy")
GROUP_METRICS = frozenset(
    {"accuracy", "mean_error", "worst_group_error", "group_gap", *_RATES, *_MEANS},
)


@dataclass(frozen=True)
class _Members:
    """A group with the positions of its samples in the run, (n,)."""

    attribute: str
    name: str
    places: NDArray[np.intp]


def group_rows(run: RunDirectory, seed: int, table: pd.DataFrame | None = None) -> Iterator[Row]:
    """Yield the metrics of each group and condition, the worst group and the gap of each attribute; none without groups.

    The groups are those of `table`, or else those of the run. Rates and proper scores have bootstrap intervals over all images of
    the run. Calibration, selective prediction and balanced accuracy of a group have none.

    Raises:
        RunError: Records do not fit together.
    """
    members = _members(run, table)
    finished = [condition for condition in run.finished() if not has_frames(condition)]
    if not members or not finished:
        return
    columns = ("top5", "confidence", "prob_label", "sum_p2")
    measured: dict[str, dict[str, dict[str, Floats]]] = {}
    values: dict[str, dict[str, dict[str, float]]] = {}
    for outcomes in read_cells(run, finished, columns, _TOGETHER):
        measured |= _measure(outcomes, members, seed)
        for cell in outcomes.cells:
            label = None if run.is_multi_label else outcomes.label
            values[cell.name] = {one.name: _of_group(cell, label, one.places) for one in members}
    for group in groups_of(run):
        yield from _rows(group, members, measured, values)


def _members(run: RunDirectory, table: pd.DataFrame | None) -> list[_Members]:
    if table is None and not run.groups_path.exists():
        return []
    try:
        table = read_parquet(GROUPS, run.groups_path) if table is None else table
    except TableError as error:
        raise OptionError(error.problem, "give `robench score RUN --groups FILE` again") from error
    place = pd.Series(np.arange(len(samples := run.read_samples())), index=samples["index"].to_numpy())
    return [
        _Members(str(attribute), str(name), np.sort(place[of_group["sample"].to_numpy()].to_numpy()))
        for (attribute, name), of_group in table.groupby(["attribute", "group"], sort=True)
    ]


def _measure(outcomes: Outcomes, members: Sequence[_Members], seed: int) -> dict[str, dict[str, dict[str, Floats]]]:
    """Return the distributions of rates and proper scores by condition, group and metric."""
    n = len(outcomes.label)
    # On this grid, every sum of scores below 128 is exact, whatever the order in which a product adds.
    grid = 2.0 ** (53 - 7 - int(np.ceil(np.log2(max(n, 2)))))
    absent = np.full(n, np.nan)
    tables: dict[str, NDArray[Any]] = {"error_rate": outcomes.wrong, "top5_error": outcomes.top5_wrong}
    for name in _SCORES:
        tables[name] = np.stack([cell.scores.get(name, absent) for cell in outcomes.cells], axis=1)
    found: dict[str, dict[str, dict[str, Floats]]] = {
        cell.name: {one.name: {name: np.empty(DISTRIBUTION_SIZE) for name in tables} for one in members}
        for cell in outcomes.cells
    }
    for part, counts in resample_weights(n, seed):
        for one in members:
            taken = counts[:, one.places]
            total = taken.sum(axis=1)[:, None].astype(np.float64)
            total[total == 0] = np.nan
            for name, table in tables.items():
                of_group = table[one.places]
                if part.stop == 1:  # The value itself, added in one order.
                    rates = np.ascontiguousarray(of_group.T).mean(axis=1, dtype=np.float64)[None]
                else:
                    exact = of_group if name in _RATES else np.round(of_group * grid) / grid
                    rates = (taken.astype(exact.dtype) @ exact).astype(np.float64) / total
                for cell, distribution in zip(outcomes.cells, rates.T, strict=True):
                    found[cell.name][one.name][name][part] = distribution
    return found


def _of_group(cell: Cell, label: Ints | None, places: NDArray[np.intp]) -> dict[str, float]:
    """Return the metrics of a group that need the order of its confidences, and its balanced accuracy."""
    assert cell.reliability is not None
    wrong = cell.wrong[places]
    confidence = np.empty(len(cell.wrong))
    confidence[cell.reliability.order] = cell.reliability.confidence
    once = np.ones((1, len(places)), np.int32)
    calibration = Reliability.of(confidence[places], ~wrong).errors(once)
    selective = RiskCoverage.of(confidence[places], ~wrong).measures(once)
    found = dict(zip((*_CALIBRATION, *_SELECTIVE), (float(one[0]) for one in (*calibration, *selective)), strict=True))
    if label is None:
        return found
    classes = ByClass.of(label[places])
    ones = np.ones(len(places), np.int64)
    rates = class_rates(classes.sums(ones, wrong[classes.order]), classes.sums(ones))
    return found | {"balanced_accuracy": float(balanced_accuracy(rates))}


def _rows(
    group: Group,
    members: Sequence[_Members],
    measured: Mapping[str, Mapping[str, Mapping[str, Floats]]],
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Iterator[Row]:
    averaged = group.aggregated(measured)
    common: Row = {
        "suite": group.suite.name,
        "resolution": group.resolution,
        "protocol": group.protocol,
        "source": group.source,
    }
    is_clean = group.suite.name == CLEAN
    for condition in (one for one in group.conditions if one.name in measured):
        cell = common | {"corruption": condition.corruption, "severity": condition.severity}
        for one in members:
            of_group = cell | {"subset": one.name, "n": len(one.places)}
            distributions = measured[condition.name][one.name]
            for metric, distribution in distributions.items():
                if np.isfinite(distribution[0]):
                    images = len(one.places) if metric in _RATES else None
                    yield of_group | result_row(metric, distribution, images)
            for metric, value in values[condition.name][one.name].items():
                yield of_group | row(metric, value)
            if is_clean:
                yield of_group | result_row("accuracy", 1 - distributions["error_rate"], len(one.places))
        errors = {one.name: measured[condition.name][one.name]["error_rate"] for one in members}
        yield from (cell | one for one in _between(members, errors))
    if is_clean or not averaged:
        return
    cells = common | {"n": len(averaged)}
    means = {
        one.name: np.mean([measured[condition.name][one.name]["error_rate"] for condition in averaged], axis=0)
        for one in members
    }
    for one in members:
        of_group = cells | {"subset": one.name}
        yield of_group | result_row("mean_error", means[one.name])
        for metric in _MEANS:
            yield from (
                of_group | mean for mean in _mean(metric, one.name, [c.name for c in averaged], measured, values)
            )
    yield from (cells | one | {"n": len(averaged)} for one in _between(members, means))


def _mean(
    metric: str,
    group: str,
    conditions: Sequence[str],
    measured: Mapping[str, Mapping[str, Mapping[str, Floats]]],
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Iterator[Row]:
    """Yield the mean of a metric of a group over conditions, if all have it."""
    if metric in measured[conditions[0]][group]:
        mean = np.mean([measured[name][group][metric] for name in conditions], axis=0)
        if np.isfinite(mean[0]):
            yield result_row(metric, mean)
    elif metric in values[conditions[0]][group]:
        yield row(metric, float(np.mean([values[name][group][metric] for name in conditions])))


def _between(members: Sequence[_Members], errors: Mapping[str, Floats]) -> Iterator[Row]:
    """Yield the largest error of the groups of each attribute, and its distance to the smallest one."""
    by_attribute: dict[str, list[_Members]] = {}
    for one in members:
        by_attribute.setdefault(one.attribute, []).append(one)
    for attribute, of_attribute in by_attribute.items():
        table = np.stack([errors[one.name] for one in of_attribute])
        worst, best = np.fmax.reduce(table), np.fmin.reduce(table)
        common = {"subset": attribute, "n": _count(one.places for one in of_attribute)}
        yield result_row("worst_group_error", worst) | common
        if len(of_attribute) > 1:
            yield result_row("group_gap", worst - best) | common


def _count(places: Iterable[NDArray[np.intp]]) -> int:
    return len(np.unique(np.concatenate(list(places))))
