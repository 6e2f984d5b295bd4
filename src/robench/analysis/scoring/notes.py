"""Notes for readers of a run's results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from robench.analysis.baselines import Baseline
from robench.analysis.scoring.groups import Group, groups_of, suite_of
from robench.analysis.scoring.normalization import (
    baseline_choice,
    difficulties_of,
    group_baseline,
    sequence_baseline,
)
from robench.analysis.scoring.sanity import nonfinite_notes
from robench.analysis.scoring.size_selection import has_cost
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, Family, Suite, families
from robench.types import Results

__all__ = ["notes", "result_notes"]

_FEW = 100
"""Least number of images without a note."""


def notes(run: RunDirectory, normalize_by: str | None = None) -> list[str]:
    """Return one line for each thing that a reader of a run's results must know.

    Args:
        run: The run.
        normalize_by: As in `score`.

    Raises:
        OptionError: As `score`, if the baseline does not fit the run.
    """
    lines = []
    if (samples := run.manifest["data"]["samples"]) < _FEW:
        lines.append(f"{samples} images are few: compare the intervals, not the values")
    planned, finished = run.conditions, {condition.name for condition in run.finished()}
    if len(finished) < len(planned):
        lines.append(f"{len(finished)} of {len(planned)} conditions are finished: the values are of these alone")
    for suite in dict.fromkeys(suite_of(condition) for condition in planned):
        if suite.family in _NOTES:
            lines += _NOTES[suite.family](run, suite, [c for c in planned if c.suite == suite.name], normalize_by)
    for group in groups_of(run):
        if group.suite.name != CLEAN:
            lines += _group_notes(run, group, finished, normalize_by)
    return lines


def result_notes(run: RunDirectory, results: Results, normalize_by: str | None = None) -> list[str]:
    """Return the notes on a run and on its results; arguments and errors as of `notes`."""
    return [*notes(run, normalize_by), *nonfinite_notes(results)]


def _group_notes(run: RunDirectory, group: Group, done: Collection[str], normalize_by: str | None) -> Iterator[str]:
    suite, baseline = group.suite, group_baseline(run, group, normalize_by)
    averaged = group.aggregated(done)
    own = [condition for condition in averaged if condition.corruption in suite.corruptions]
    if averaged and not own and suite.n_cells:
        yield f"{suite.name}: none of the {suite.n_cells} cells evaluated: mean_error is over {len(averaged)} extra ones"
    elif averaged and len(own) < suite.n_cells:
        needs = " and there is no mce" if baseline is not None else ""
        yield (
            f"{suite.name}: {len(own)} of {suite.n_cells} cells evaluated; their mean does not compare with published values{needs}"
        )
    choice = baseline_choice(run, normalize_by)
    if baseline is None:
        if choice is None and suite.baseline:
            yield (
                f"{suite.name}: {suite.baseline}'s errors are of another size, so no mce; --normalize-by RUN takes a run of a "
                "baseline model"
            )
        return
    if baseline.is_published and group.source != "released":
        yield (
            f"{suite.name}: {baseline.name}'s errors were measured on the released files of 50,000 images; the images "
            f"here are {group.source}, from {run.manifest['data']['name']}"
        )
    if not baseline.is_published and choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    yield from _undefined(suite, baseline)


def _undefined(suite: Suite, baseline: Baseline) -> Iterator[str]:
    """Name the metrics that the baseline cannot divide: it makes no error, or a corruption costs it nothing."""
    means = {name: errors.mean() for name in suite.corruptions if (errors := baseline.severities(name)) is not None}
    zero = [name for name, mean in means.items() if mean <= 0]
    if zero:
        yield f"{suite.name}: no ce and no mce where {baseline.name} makes no error: {', '.join(zero)}"
    if baseline.clean is None:
        yield f"{suite.name}: no relative_mce, the clean error of {baseline.name} is not known"
        return
    free = [name for name, mean in means.items() if mean <= baseline.clean]
    if free and len(means) == len(suite.corruptions):
        yield f"{suite.name}: no relative_mce where a corruption costs {baseline.name} nothing: {', '.join(free)}"


def _sequence_notes(
    run: RunDirectory, suite: Suite, planned: Sequence[ConditionEntry], normalize_by: str | None
) -> Iterator[str]:
    choice = baseline_choice(run, normalize_by)
    baseline = sequence_baseline(run, suite, planned, normalize_by)
    present = {condition.corruption for condition in planned} & set(suite.corruptions)
    if len(present) < len(suite.corruptions):
        yield (
            f"{suite.name}: {len(present)} of {len(suite.corruptions)} perturbations evaluated; their means do not compare with "
            "published values"
        )
    if baseline is None:
        if choice is None and suite.baseline:
            yield f"{suite.name}: {suite.baseline} does not fit, so no mfr; --normalize-by RUN takes a run of a baseline model"
        return
    if baseline.is_published:
        yield from _published_sequence_notes(run, suite, planned[0], baseline)
        return
    if choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    for metrics, values, reason in (
        ("fr and no mfr", baseline.flip_rates, "never flips"),
        ("mt5d", baseline.t5d, "never changes its top five"),
    ):
        still = dict.fromkeys(name for (name, _), value in values.items() if value <= 0)
        if still:
            yield f"{suite.name}: no {metrics} where {baseline.name} {reason}: {', '.join(still)}"


def _published_sequence_notes(
    run: RunDirectory, suite: Suite, first: ConditionEntry, baseline: Baseline
) -> Iterator[str]:
    if first.source == "released":
        yield f"{suite.name}: {baseline.name}'s T5D are not published, so no mt5d"
    else:
        yield (
            f"{suite.name}: {baseline.name}'s flip rates were measured on the released videos of 50,000 images; the frames "
            f"here are computed, without loss, from {run.manifest['data']['name']}; its T5D are not published, so no mt5d"
        )
    others = [str(difficulty) for difficulty in difficulties_of(run) if difficulty != 1]
    if others:
        yield f"{suite.name}: {baseline.name}'s flip rates are of difficulty 1, so no fr and no mfr at {' and '.join(others)}"


def _resolution_notes(
    run: RunDirectory, suite: Suite, planned: Sequence[ConditionEntry], normalize_by: str | None
) -> Iterator[str]:
    if sum(map(has_cost, run.finished())) > 1:
        yield (
            f"{suite.name}: the values of the oracle and of best_of_k are bounds that look at the labels, not results; "
            "those of a cascade are results, with thresholds from the other half of the images"
        )


_NOTES: dict[Family, Callable[[RunDirectory, Suite, Sequence[ConditionEntry], str | None], Iterator[str]]] = {
    families.SEQUENCES: _sequence_notes,
    families.RESOLUTION: _resolution_notes,
}
"""Notes on the suites of a family; families that are not listed have none."""


def _other_images(run: RunDirectory, suite: Suite, baseline: str, choice: str) -> Iterator[str]:
    if RunDirectory.open(choice).manifest["data"]["sha256"] != run.manifest["data"]["sha256"]:
        yield f"{suite.name}: the baseline {baseline} was evaluated on other images than this run"
