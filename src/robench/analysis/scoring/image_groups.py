"""Metrics of groups of images, such as the sexes or hospitals of patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.metrics.calibration import Reliability
from robench.analysis.metrics.classification import ByClass, balanced_accuracy, class_rates
from robench.analysis.metrics.influence import balanced_influence, calibration_influences, selective_influences
from robench.analysis.metrics.selective import RiskCoverage
from robench.analysis.scoring.groups import Group, groups_of, has_samples
from robench.analysis.scoring.records import Cell, Outcomes, read_cells
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, Row, resample_weights, result_row, row
from robench.errors import OptionError, TableError
from robench.runs.directory import RunDirectory
from robench.runs.parquet import read_parquet
from robench.runs.schema import GROUPS
from robench.suites import CLEAN
from robench.types import Floats

__all__ = ["GROUP_METRICS", "group_rows"]

_TOGETHER = 20
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
    """A group.

    Attributes:
        attribute: Attribute of the group.
        name: Name of the group.
        places: Positions of its samples in the run, ascending, (n,).
        n_attribute: Samples of the run that have the attribute.
    """

    attribute: str
    name: str
    places: NDArray[np.intp]
    n_attribute: int


def group_rows(run: RunDirectory, seed: int, table: pd.DataFrame | None = None) -> Iterator[Row]:
    """Yield the metrics of each group and condition, the worst group and the gap of each attribute; none without groups.

    The groups are those of `table`, or else those of the run. Intervals are bootstraps over all images of the run. Calibration,
    selective prediction and balanced accuracy are linear in the resamples; the coverage at a risk has no interval.

    Raises:
        RunError: Records do not fit together.
    """
    members = _members(run, table)
    finished = [condition for condition in run.finished() if has_samples(condition)]
    if not members or not finished:
        return
    columns = ("top5", "confidence", "prob_label", "sum_p2")
    measured: dict[str, dict[str, dict[str, Floats]]] = {}
    for outcomes in read_cells(run, finished, columns, _TOGETHER):
        measured |= _measure(outcomes, members, seed, has_classes=not run.is_multi_label)
    for group in groups_of(run):
        yield from _rows(group, members, measured)


def _members(run: RunDirectory, table: pd.DataFrame | None) -> list[_Members]:
    if table is None and not run.groups_path.exists():
        return []
    try:
        table = read_parquet(GROUPS, run.groups_path) if table is None else table
    except TableError as error:
        raise OptionError(error.problem, "give `robench score RUN --groups FILE` again") from error
    place = pd.Series(np.arange(len(samples := run.read_samples())), index=samples["index"].to_numpy())
    sizes = table.groupby("attribute")["sample"].nunique()
    return [
        _Members(
            str(attribute),
            str(name),
            np.sort(place[of_group["sample"].to_numpy()].to_numpy()),
            int(sizes[attribute]),
        )
        for (attribute, name), of_group in table.groupby(["attribute", "group"], sort=True)
    ]


def _measure(
    outcomes: Outcomes, members: Sequence[_Members], seed: int, *, has_classes: bool
) -> dict[str, dict[str, dict[str, Floats]]]:
    """Return the distributions by condition, group and metric."""
    n, cells = len(outcomes.label), outcomes.cells
    # On this grid, every sum of scores below 128 is exact, whatever the order in which a product adds.
    grid = 2.0 ** (53 - 7 - int(np.ceil(np.log2(max(n, 2)))))
    found: dict[str, dict[str, dict[str, Floats]]] = {cell.name: {} for cell in cells}
    prepared = []
    for one in members:
        by_class = ByClass.of(outcomes.label[one.places]) if has_classes else None
        of_cells = [_of_group(cell, by_class, one.places) for cell in cells]
        values = [value for of_cell in of_cells for value in of_cell.values()]
        exact = np.stack([of_sample for _, _, of_sample in values], axis=1)
        exact *= grid
        np.round(exact, out=exact)
        exact /= grid
        table = np.empty((DISTRIBUTION_SIZE, len(values)))
        table[0] = [value for value, _, _ in values]
        prepared.append((one, exact, np.array([base for _, base, _ in values]), table))
        columns = iter(table.T)
        for cell, of_cell in zip(cells, of_cells, strict=True):
            found[cell.name][one.name] = dict(zip(of_cell, columns, strict=False))
    for part, counts in resample_weights(n, seed):
        for one, exact, base, table in prepared if part.start else ():
            taken = np.take(counts, one.places, axis=1, mode="clip").astype(np.float64)
            total = taken.sum(axis=1)[:, None]
            total[total == 0] = np.nan
            table[part] = base + taken @ exact / total
    return found


_OfGroup = tuple[float, float, Floats]
"""Value of a metric, and of each sample, (n,): a resample has the mean of these, added to the second number."""


def _of_group(cell: Cell, by_class: ByClass | None, places: NDArray[np.intp]) -> Mapping[str, _OfGroup]:
    """Return the metrics of a group; those that are no mean over samples are linear in the resamples."""
    assert cell.top5_wrong is not None
    assert cell.reliability is not None
    wrong = cell.wrong[places]
    means = {"error_rate": wrong, "top5_error": cell.top5_wrong[places]} | {
        name: scores[places] for name, scores in cell.scores.items()
    }
    found: dict[str, _OfGroup] = {
        name: (float(of_sample.mean(dtype=np.float64)), 0.0, of_sample.astype(np.float64))
        for name, of_sample in means.items()
    }
    once = np.ones((1, len(places)), np.int32)
    # In the order of the whole cell, which sorts again in linear time.
    own = np.full(len(cell.wrong), -1)
    own[places] = np.arange(len(places))
    order = own[cell.reliability.order]
    confidence, order = cell.reliability.confidence[order >= 0], order[order >= 0]
    right = ~wrong[order]
    reliability = Reliability.of(confidence, right)
    ranking = RiskCoverage.of(confidence[::-1], right[::-1])
    influences = dict(calibration_influences(reliability))
    influences |= {name: one[::-1] for name, one in selective_influences(ranking).items()}
    values = zip((*_CALIBRATION, *_SELECTIVE), (*reliability.errors(once), *ranking.measures(once)), strict=True)
    for name, (value,) in values:
        of_sample = np.full(len(places), np.nan)
        if name in influences:
            of_sample[order] = influences[name]
        found[name] = float(value), float(value), of_sample
    if by_class is not None:
        ones = np.ones(len(places), np.int64)
        rates = class_rates(by_class.sums(ones, wrong[by_class.order]), by_class.sums(ones))
        accuracy = float(balanced_accuracy(rates))
        found["balanced_accuracy"] = accuracy, accuracy, balanced_influence(by_class, wrong)
    return found


def _rows(
    group: Group,
    members: Sequence[_Members],
    measured: Mapping[str, Mapping[str, Mapping[str, Floats]]],
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
                yield of_group | _row(metric, distribution, len(one.places) if metric in _RATES else None)
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
            of_cells = [measured[condition.name][one.name] for condition in averaged]
            if all(metric in distributions for distributions in of_cells):
                yield of_group | _row(metric, np.mean([distributions[metric] for distributions in of_cells], axis=0))
    yield from (cells | one | {"n": len(averaged)} for one in _between(members, means))


def _row(metric: str, distribution: Floats, images: int | None = None) -> Row:
    """Return the cells of a value, without an interval if the metric has no resamples."""
    if np.isnan(distribution[1:]).all():
        return row(metric, float(distribution[0]))
    return result_row(metric, distribution, images)


def _between(members: Sequence[_Members], errors: Mapping[str, Floats]) -> Iterator[Row]:
    """Yield the largest error of the groups of each attribute, and its distance to the smallest one."""
    by_attribute: dict[str, list[_Members]] = {}
    for one in members:
        by_attribute.setdefault(one.attribute, []).append(one)
    for attribute, of_attribute in by_attribute.items():
        table = np.stack([errors[one.name] for one in of_attribute])
        worst, best = np.fmax.reduce(table), np.fmin.reduce(table)
        common = {"subset": attribute, "n": of_attribute[0].n_attribute}
        yield result_row("worst_group_error", worst) | common
        if len(of_attribute) > 1:
            yield result_row("group_gap", worst - best) | common
