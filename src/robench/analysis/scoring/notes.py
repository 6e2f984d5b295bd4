"""What a reader of a run's results must know, in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from robench.analysis.baselines import Baseline
from robench.analysis.scoring.curves import FlipRateBaseline
from robench.analysis.scoring.groups import Group, groups_of, suite_of
from robench.analysis.scoring.normalization import difficulties_of, group_baseline, sequence_baseline
from robench.analysis.scoring.size_selection import has_cost
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, Suite

__all__ = ["notes"]


def notes(run: RunDirectory, normalize_by: str | None = None) -> list[str]:
    """Say in one line each what a reader of the run's results must know. Raises as `score` does for its baseline."""
    lines = []
    planned, finished = run.conditions, run.finished()
    if len(finished) < len(planned):
        lines.append(f"{len(finished)} of {len(planned)} conditions are finished: the figures are of these alone")
    names = {condition.name for condition in finished}
    for suite in dict.fromkeys(suite_of(condition) for condition in planned):
        if suite.family == "sequences":
            lines += _sequence_notes(run, suite, [c for c in planned if c.suite == suite.name], normalize_by)
        if suite.family == "resolution" and sum(has_cost(one) for one in finished) > 1:
            lines.append(
                f"{suite.name}: the oracle's and luck's figures are bounds that look at the labels, not results; a cascade's are "
                "results, with thresholds from the other half of the images"
            )
    for group in groups_of(run):
        if group.suite.name != CLEAN:
            lines += _group_notes(run, group, names, group_baseline(run, group, normalize_by), normalize_by)
    return lines


def _group_notes(
    run: RunDirectory, group: Group, done: Iterable[str], baseline: Baseline | None, normalize_by: str | None
) -> Iterator[str]:
    suite, done = group.suite, set(done)
    averaged = group.aggregated(done)
    own = [condition for condition in averaged if condition.corruption in suite.corruptions]
    if averaged and not own:
        yield f"{suite.name}: none of the {group.n_cells} cells evaluated: mean_error is over {len(averaged)} extra ones"
    elif averaged and len(own) < group.n_cells:
        needs = ", mce needs all" if baseline is not None else ""
        yield f"{suite.name}: {len(own)} of {group.n_cells} cells evaluated: mean_error is over these{needs}"
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if baseline is None:
        if choice is None:
            published = f"{suite.baseline}'s errors are of another size" if suite.baseline else "no published baseline"
            yield f"{suite.name}: {published}, so no mce; --normalize-by RUN takes a run of a baseline model"
        return
    if baseline.published:
        yield from _published_notes(run, group, baseline)
    elif choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    yield from _undefined(group, baseline)


def _published_notes(run: RunDirectory, group: Group, baseline: Baseline) -> Iterator[str]:
    if group.source != "released":
        yield (
            f"{group.suite.name}: {baseline.name}'s errors were measured on the released files of 50,000 images; the images "
            f"here are {group.source}, from {run.manifest['data']['name']}"
        )


def _undefined(group: Group, baseline: Baseline) -> Iterator[str]:
    """What the baseline cannot divide: where it makes no error, or where a corruption costs it nothing."""
    known = {
        name: errors.mean() for name in group.suite.corruptions if (errors := baseline.severities(name)) is not None
    }
    zero = [name for name, mean in known.items() if mean <= 0]
    if zero:
        yield f"{group.suite.name}: no ce and no mce where {baseline.name} makes no error: {', '.join(zero)}"
    if baseline.clean is None:
        yield f"{group.suite.name}: no relative_mce, the clean error of {baseline.name} is not known"
        return
    free = [name for name, mean in known.items() if mean <= baseline.clean]
    if free and len(known) == len(group.suite.corruptions):
        yield f"{group.suite.name}: no relative_mce where a corruption costs {baseline.name} nothing: {', '.join(free)}"


def _sequence_notes(
    run: RunDirectory, suite: Suite, planned: Sequence[ConditionEntry], normalize_by: str | None
) -> Iterator[str]:
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    baseline = sequence_baseline(run, suite, planned, normalize_by)
    present = {condition.corruption for condition in planned} & set(suite.corruptions)
    if len(present) < len(suite.corruptions):
        yield f"{suite.name}: {len(present)} of {len(suite.corruptions)} perturbations evaluated: the means are over these"
    if baseline is None:
        if choice is None:
            yield f"{suite.name}: no published baseline, so no mfr; --normalize-by RUN takes a run of a baseline model"
        return
    if baseline.published:
        yield from _published_sequence_notes(run, suite, planned[0], baseline)
        return
    if choice is not None:
        yield from _other_images(run, suite, baseline.name, choice)
    for figures, values, stays in (
        ("fr and no mfr", baseline.flip_rates, "never flips"),
        ("mt5d", baseline.t5d, "never moves its top five"),
    ):
        still = dict.fromkeys(name for (name, _), value in values.items() if value <= 0)
        if still:
            yield f"{suite.name}: no {figures} where {baseline.name} {stays}: {', '.join(still)}"


def _published_sequence_notes(
    run: RunDirectory, suite: Suite, first: ConditionEntry, baseline: FlipRateBaseline
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


def _other_images(run: RunDirectory, suite: Suite, baseline: str, choice: str) -> Iterator[str]:
    if RunDirectory.open(choice).manifest["data"]["sha256"] != run.manifest["data"]["sha256"]:
        yield f"{suite.name}: the baseline {baseline} was evaluated on other images than this run"
