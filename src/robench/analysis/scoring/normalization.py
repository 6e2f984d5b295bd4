"""Baselines of a run: a published baseline, another run, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robench.analysis.baselines import BASELINES, Baseline, load_baseline, unknown_baseline
from robench.analysis.metrics.classification import error_rate
from robench.analysis.scoring.curves import curves_of
from robench.analysis.scoring.groups import Group
from robench.analysis.scoring.records import read_columns, read_frames
from robench.errors import OptionError, RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, SUITES, FrameKind, Suite
from robench.types import Floats

__all__ = [
    "baseline_choice",
    "baseline_errors",
    "difficulties_of",
    "group_baseline",
    "restriction",
    "sequence_baseline",
]


def baseline_choice(run: RunDirectory, normalize_by: str | None) -> str | None:
    """Return the choice of a baseline: `normalize_by`, or that of the manifest if it is None."""
    choice = run.manifest.get("normalize_by") if normalize_by is None else normalize_by
    if choice is not None and not isinstance(choice, str):
        raise RunError(
            f"{run.path / 'manifest.json'} is damaged: its normalize_by is not a text",
            "give --normalize-by alexnet, a run or none",
        )
    return choice


def restriction(run: RunDirectory, baseline: Baseline) -> str:
    """Return the reason why a published baseline cannot divide the run's errors; empty if it can.

    Errors among few classes are smaller than those among many, so that their quotient has no meaning.
    """
    classes = _predicted_classes(run)
    if classes in (None, baseline.classes):
        return ""
    return f"{baseline.name} predicts among {baseline.classes} classes, this run among {classes}"


def _predicted_classes(run: RunDirectory) -> int | None:
    """Return the number of classes among which the run predicts; None if its manifest does not state it."""
    classes: int | None = run.manifest["data"].get("predicted_classes")
    return classes


def group_baseline(run: RunDirectory, group: Group, normalize_by: str | None) -> Baseline | None:
    """Return the baseline of a group's errors; None for nothing.

    Raises:
        OptionError: If the chosen baseline does not fit the group.
        RunError: If the run that the manifest names no longer exists.
    """
    choice = baseline_choice(run, normalize_by)
    if choice == "none" or group.suite.name == CLEAN:
        return None
    suite = group.suite
    side = suite.geometry.side if suite.geometry else None
    fits = suite.baseline is not None and group.resolution == side
    if choice is None:
        baseline = load_baseline(suite.baseline) if fits and suite.baseline is not None else None
        return None if baseline is None or restriction(run, baseline) else baseline
    if choice in BASELINES:
        if choice != suite.baseline or not fits:
            home = next(known for known in SUITES.values() if known.baseline == choice)
            assert home.geometry is not None
            raise OptionError(
                f"{choice}'s errors belong to {home.name} at {home.geometry.side} px and cannot normalize {suite.name} at "
                f"{group.resolution} px",
                f"give --normalize-by RUN, a run of the baseline model on {suite.name}, or none",
            )
        return _unrestricted(run, load_baseline(choice), suite)
    return _error_baseline(_open_baseline(run, choice, normalize_by), group)


def _unrestricted(run: RunDirectory, baseline: Baseline, suite: Suite) -> Baseline:
    """Return a published baseline that is chosen by name; OptionError if it predicts among other classes than the run."""
    if reason := restriction(run, baseline):
        raise OptionError(
            f"{baseline.name} cannot normalize {suite.name}: {reason}",
            "give --normalize-by RUN, a run of the baseline model on the same images, or none",
        )
    return baseline


def _error_baseline(other: RunDirectory, group: Group) -> Baseline:
    """Return the errors of another run, which must have all cells that `group` needs with the same protocol."""
    suite, planned = group.suite.name, {condition.name for condition in group.conditions}
    needed = [
        (condition.corruption, condition.severity)
        for corruption in dict.fromkeys(condition.corruption for condition in group.conditions)
        for condition in group.by_severity(corruption, planned)
    ]
    theirs = {
        (condition.corruption, condition.severity): condition
        for condition in other.conditions
        if condition.suite == suite and condition.resolution == group.resolution
    }
    for condition in theirs.values():
        if (condition.protocol, condition.source) != (group.protocol, group.source):
            raise OptionError(
                f"{other.path} cannot normalize {suite}: it is {condition.source} with {condition.protocol}, this run is "
                f"{group.source} with {group.protocol}",
                "evaluate the baseline model with the same options",
            )
    finished = {condition.name: condition for condition in other.finished()}
    missing = [cell for cell in needed if cell not in theirs or theirs[cell].name not in finished]
    if missing:
        corruption, severity = missing[0]
        raise OptionError(
            f"{other.path} cannot normalize {suite}: it lacks {len(missing)} of the {len(needed)} cells needed, for example "
            f"{corruption} at severity {severity}",
            "evaluate the baseline model on them",
        )
    unperturbed = [c for c in finished.values() if c.suite == CLEAN and c.resolution == group.resolution]
    clean = finished.get(theirs[needed[0]].clean) if needed else next(iter(unperturbed), None)
    return Baseline.from_errors(
        other.manifest["model"]["label"],
        {cell: _error(other, theirs[cell]) for cell in needed},
        _error(other, clean) if clean else None,
    )


def baseline_errors(suite: Suite, baseline: Baseline) -> Floats | None:
    """Return the baseline's errors (corruptions, severities) of all cells that mCE covers; None if some are unknown."""
    errors = [[baseline.error(name, severity) for severity in suite.severities] for name in suite.corruptions]
    return None if any(None in row for row in errors) else np.array(errors, np.float64)


def sequence_baseline(
    run: RunDirectory, suite: Suite, conditions: Sequence[ConditionEntry], normalize_by: str | None
) -> Baseline | None:
    """Return the baseline of the flip rates of a suite; None for nothing.

    Raises:
        OptionError: If the chosen baseline does not fit the conditions.
        RunError: If the run that the manifest names no longer exists.
    """
    choice = baseline_choice(run, normalize_by)
    has_flips = suite.family.frames is FrameKind.SEQUENCE
    if not has_flips or choice == "none" or (choice is None and suite.baseline is None):
        return None
    if choice is None or choice in BASELINES:
        if suite.baseline is None or choice not in (None, suite.baseline):
            raise OptionError(f"{choice} has no flip rates for {suite.name}", "give --normalize-by RUN, or none")
        if choice is not None and 1 not in difficulties_of(run):
            raise OptionError(
                f"{choice}'s flip rates are of difficulty 1", "give --difficulty 1 as well, --normalize-by RUN, or none"
            )
        baseline = load_baseline(suite.baseline)
        if choice is not None:
            return _unrestricted(run, baseline, suite)
        return None if restriction(run, baseline) else baseline
    return _flip_baseline(_open_baseline(run, choice, normalize_by), suite, conditions, difficulties_of(run))


def _flip_baseline(
    other: RunDirectory, suite: Suite, conditions: Sequence[ConditionEntry], difficulties: Sequence[int]
) -> Baseline:
    """Return the flip rates and T5D of another run, which must have all conditions with the same protocol."""
    theirs = {condition.name: condition for condition in other.finished() if condition.suite == suite.name}
    for condition in conditions:
        twin = theirs.get(condition.name)
        if twin is None or twin.protocol != condition.protocol:
            missing = condition.corruption + (f" at difficulty {condition.severity}" if condition.independent else "")
            reason = "has another protocol" if twin else f"lacks {missing}"
            raise OptionError(
                f"{other.path} cannot normalize {suite.name}: it {reason}",
                "evaluate the baseline model with the same options",
            )
    values: dict[str, dict[tuple[str, int], float]] = {"flip_rate": {}, "t5d": {}}
    for condition in conditions:
        for curve in curves_of(read_frames(other, theirs[condition.name]), difficulties):
            if curve.axis == "difficulty":
                means = curve.values.mean(axis=1).tolist()
                for difficulty, mean in zip(curve.positions.tolist(), means, strict=True):
                    values[curve.metric][condition.corruption, int(difficulty)] = mean
    return Baseline(other.manifest["model"]["label"], flip_rates=values["flip_rate"], t5d=values["t5d"])


def difficulties_of(run: RunDirectory) -> list[int]:
    """Return the difficulties of a run's sequences."""
    return list(run.manifest["options"].get("difficulty", [1]))


def _open_baseline(run: RunDirectory, choice: str, normalize_by: str | None) -> RunDirectory:
    """Open the run that is the baseline of `run`: `normalize_by`, or the choice of its manifest if that is None."""
    if not Path(choice).is_dir():
        if normalize_by is None:
            raise RunError(
                f"{run.path} is normalized by the run {choice}, which no longer exists",
                f"restore it, or omit normalized values with `robench score {run.path} --normalize-by none`",
            )
        raise unknown_baseline(choice)
    other = RunDirectory.open(choice)
    ours, theirs = _predicted_classes(run), _predicted_classes(other)
    if ours != theirs or ((_is_restricted(run) or _is_restricted(other)) and _class_names(run) != _class_names(other)):
        among = f"{theirs} classes, this run among {ours}" if ours != theirs else f"{ours} other classes than this run"
        raise OptionError(
            f"{choice} cannot normalize {run.path}: it predicts among {among}",
            "evaluate the baseline model on the same classes",
        )
    return other


def _is_restricted(run: RunDirectory) -> bool:
    """Return whether the run predicts among a part of its model's classes."""
    return _predicted_classes(run) not in (None, run.manifest["model"].get("classes"))


def _class_names(run: RunDirectory) -> set[str]:
    return set(run.manifest["data"].get("classes", ()))


def _error(run: RunDirectory, condition: ConditionEntry) -> float:
    records = read_columns(run, condition, ("label", "pred"))
    return float(error_rate(records["pred"].to_numpy(), records["label"].to_numpy()))
