"""What errors and flip rates are divided by: a published baseline, another run, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robench.analysis.baselines import BASELINES, Baseline, load_baseline
from robench.analysis.metrics.classification import error_rate
from robench.analysis.scoring.curves import FlipRateBaseline, curves_of
from robench.analysis.scoring.groups import Group
from robench.analysis.scoring.records import read_columns, read_frames
from robench.errors import OptionError, RunError, unknown_name
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, SUITES, Suite
from robench.types import Floats

__all__ = ["baseline_errors", "difficulties_of", "group_baseline", "sequence_baseline"]


def group_baseline(run: RunDirectory, group: Group, normalize_by: str | None) -> Baseline | None:
    """What the group's errors are divided by, None for nothing; OptionError if what was asked for cannot divide them."""
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if choice == "none" or group.suite.name == CLEAN:
        return None
    suite, side = group.suite, group.suite.geometry.side if group.suite.geometry else None
    if choice is None:
        fits = suite.baseline is not None and group.resolution == side
        return load_baseline(suite.baseline) if fits and suite.baseline is not None else None
    if choice in BASELINES:
        if choice != suite.baseline or group.resolution != side:
            home = next(known for known in SUITES.values() if known.baseline == choice)
            assert home.geometry is not None
            raise OptionError(
                f"{choice}'s errors belong to {home.name} at {home.geometry.side} px and cannot normalise {suite.name} at "
                f"{group.resolution} px: give --normalize-by RUN, a run of the baseline model on {suite.name}, or none"
            )
        return load_baseline(choice)
    return _run_baseline(_open_baseline(run, choice, normalize_by), group)


def _run_baseline(other: RunDirectory, group: Group) -> Baseline:
    """Errors of another run in the cells that `group` needs, all of which it must have, made in the same way."""
    planned = [condition.name for condition in group.conditions]
    corruptions = dict.fromkeys(condition.corruption for condition in group.conditions)
    series = {corruption: group.by_severity(corruption, planned) for corruption in corruptions}
    needed = [(c.corruption, c.severity) for conditions in series.values() for c in conditions]
    theirs = {
        (c.corruption, c.severity): c
        for c in other.conditions
        if c.suite == group.suite.name and c.resolution == group.resolution
    }
    for condition in theirs.values():
        if (condition.protocol, condition.source) != (group.protocol, group.source):
            raise OptionError(
                f"{other.path} cannot normalise {group.suite.name}: it is {condition.source} with {condition.protocol}, this "
                f"run {group.source} with {group.protocol}; evaluate the baseline model with the same options"
            )
    finished = {condition.name: condition for condition in other.finished()}
    missing = [cell for cell in needed if cell not in theirs or theirs[cell].name not in finished]
    if missing:
        corruption, severity = missing[0]
        raise OptionError(
            f"{other.path} cannot normalise {group.suite.name}: it lacks {len(missing)} of the {len(needed)} cells needed, "
            f"for example {corruption} at severity {severity}; evaluate the baseline model on them"
        )
    errors = {cell: _error(other, theirs[cell]) for cell in needed}
    means = {
        corruption: float(np.mean([errors[c.corruption, c.severity] for c in conditions]))
        for corruption, conditions in series.items()
        if conditions
    }
    unperturbed = [c for c in finished.values() if c.suite == CLEAN and c.resolution == group.resolution]
    clean = finished.get(theirs[needed[0]].clean) if needed else next(iter(unperturbed), None)
    label = other.manifest["model"]["label"]
    return Baseline(label, errors, means, _error(other, clean) if clean else None)


def baseline_errors(suite: Suite, baseline: Baseline) -> Floats | None:
    """The baseline's errors (corruptions, severities) of all that mCE is over, or None."""
    found = [baseline.severities(corruption) for corruption in suite.corruptions]
    whole = [errors for errors in found if errors is not None and len(errors) == len(suite.severities)]
    return np.stack(whole) if len(whole) == len(suite.corruptions) else None


def sequence_baseline(
    run: RunDirectory, suite: Suite, conditions: Sequence[ConditionEntry], normalize_by: str | None
) -> FlipRateBaseline | None:
    """What a suite of sequences is normalised by, None for nothing; OptionError if what was asked for cannot."""
    choice = normalize_by if normalize_by is not None else run.manifest.get("normalize_by")
    if suite.family != "sequences" or choice == "none" or (choice is None and suite.baseline is None):
        return None
    difficulties = difficulties_of(run)
    if choice is None or choice in BASELINES:
        if suite.baseline is None or choice not in (None, suite.baseline):
            raise OptionError(f"{choice} has no flip rates for {suite.name}: give --normalize-by RUN, or none")
        if choice is not None and 1 not in difficulties:
            raise OptionError(
                f"{choice}'s flip rates are of difficulty 1: give --difficulty 1 as well, --normalize-by RUN, or none"
            )
        published = load_baseline(suite.baseline)
        rates = {(name, 1): rate for name, rate in published.flip_rates.items()}
        return FlipRateBaseline(published.name, rates, {}, published.published)
    other = _open_baseline(run, choice, normalize_by)
    theirs = {condition.name: condition for condition in other.finished() if condition.suite == suite.name}
    for condition in conditions:
        found = theirs.get(condition.name)
        if found is None or found.protocol != condition.protocol:
            lacking = condition.corruption + (f" at difficulty {condition.severity}" if condition.independent else "")
            reason = "was made in another way" if found else f"lacks {lacking}"
            raise OptionError(
                f"{other.path} cannot normalise {suite.name}: it {reason}; evaluate the baseline model with the same options"
            )
    cells: dict[str, dict[tuple[str, int], float]] = {"flip_rate": {}, "t5d": {}}
    for condition in conditions:
        for curve in curves_of("sequences", read_frames(other, theirs[condition.name]), difficulties):
            if curve.axis == "difficulty":
                means = curve.values.mean(axis=1).tolist()
                for place, mean in zip(curve.places.tolist(), means, strict=True):
                    cells[curve.metric][condition.corruption, int(place)] = mean
    return FlipRateBaseline(other.manifest["model"]["label"], cells["flip_rate"], cells["t5d"])


def difficulties_of(run: RunDirectory) -> list[int]:
    """Return the difficulties of sequences that a run has figures of."""
    return list(run.manifest["options"].get("difficulties", [1]))


def _open_baseline(run: RunDirectory, choice: str, normalize_by: str | None) -> RunDirectory:
    """The run that is to be the baseline of `run`, as it was asked for now or, with None, when `run` was made."""
    if not Path(choice).is_dir():
        if normalize_by is None:
            raise RunError(
                f"{run.path} is normalised by the run {choice}, which is not there any more: put it back, or leave such figures "
                f"out with `robench score {run.path} --normalize-by none`"
            )
        raise OptionError(f"{unknown_name('baseline', choice, (*BASELINES, 'none'))}, nor is it the directory of a run")
    return RunDirectory.open(choice)


def _error(run: RunDirectory, condition: ConditionEntry) -> float:
    records = read_columns(run, condition, ("label", "pred"))
    return float(error_rate(records["pred"].to_numpy(), records["label"].to_numpy()))
