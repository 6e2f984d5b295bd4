"""Statistical power of the gate: how often it detects a drop of a given size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from robench.analysis.comparison import PairedDifference, ResultRow, ResultsSet, Source, load_results
from robench.analysis.gate.matching import compare_by_rule
from robench.analysis.gate.rules import FAIL_IF, Rule, Rules, checked_rules
from robench.analysis.metrics.paired_tests import bootstrap_error
from robench.errors import OptionError

__all__ = ["EFFECT_SIZES", "TARGET_POWER", "Power", "PowerEstimate", "power"]

TARGET_POWER = 0.8
"""Detection rate of the minimum detectable effect."""

EFFECT_SIZES = (0.005, 0.01, 0.02, 0.05)
"""Default drops: fractions or hundredths of a percentage; for other units, parts of the value."""

CORRELATION = 0.5
"""Assumed correlation between two models of being right on the same image, if only one run is given (docs/decisions/016)."""

_NORMAL = NormalDist()
_LARGEST = 1.0


@dataclass(frozen=True)
class PowerEstimate:
    """Detection rates of drops in one metric that a rule judges.

    Attributes:
        rule: The rule.
        name: Metric and cell.
        unit: Unit of the metric and of value, error and drops.
        value: Value of the baseline.
        error: Standard error of a change.
        false_alarm_rate: Probability that the gate fails without a change.
        drops: Changes for the worse.
        caught: Probability that each of the drops, alone, fails the gate.
        minimum_detectable_effect: The drop with a detection rate of `TARGET_POWER`; NaN if there is none.
    """

    rule: Rule
    name: str
    unit: str
    value: float
    error: float
    false_alarm_rate: float
    drops: tuple[float, ...]
    caught: tuple[float, ...]
    minimum_detectable_effect: float


@dataclass(frozen=True)
class Power:
    """Statistical power of a gate.

    Attributes:
        model: Label of the model.
        images: Number of evaluated images.
        chances: One estimate for each judged metric, in the order of the rules.
        notes: Assumptions behind the estimates.
        warnings: Warnings about the runs; each begins with the path of its run.
    """

    model: str
    images: int
    chances: tuple[PowerEstimate, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Judged:
    """A judged row and the spread of its change.

    Attributes:
        rule: The rule.
        row: The row of the baseline, or of the run alone.
        error: Standard error of a change.
        images: Number of images of a rate with known outcomes, else 0.
        disagreement: Share of these images that is right in one run only.
    """

    rule: Rule
    row: ResultRow
    error: float
    images: int = 0
    disagreement: float = 0.0

    def detection_rate(self, drop: float, alpha: float) -> float:
        """Return the probability that a true drop of this size fails the gate."""
        rule = self.rule
        limit = rule.limit * (abs(self.row.value) if rule.relative else 1.0)
        spread, under_null, step = self.error, self.error, 0.0
        if self.images:
            # A drop changes at least as many images. McNemar's test is exact and therefore loses a step of one image.
            disagreement = max(self.disagreement, abs(drop))
            under_null = math.sqrt(disagreement / self.images)
            spread, step = math.sqrt(max(disagreement - drop**2, 1e-12) / self.images), 1 / self.images
        z = _NORMAL.inv_cdf(1 - alpha)
        threshold = {
            FAIL_IF[0]: limit,
            FAIL_IF[1]: limit + z * under_null + step,
            FAIL_IF[2]: limit - z * under_null,
        }[rule.fail_if]
        return _NORMAL.cdf((drop - threshold) / spread)

    def minimum_detectable_effect(self, alpha: float) -> float:
        """Return the drop that is detected at `TARGET_POWER`, by bisection; NaN if even the largest is not."""
        low, high = 0.0, _LARGEST
        if not self.images:
            high = 100 * self.error + 10 * abs(self.rule.limit * (self.row.value or 1.0)) + 1.0
        if self.detection_rate(high, alpha) < TARGET_POWER:
            return math.nan
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.detection_rate(middle, alpha) >= TARGET_POWER else (middle, high)
        return high


def power(
    run: Source,
    baseline: Source | None = None,
    rules: Rules = None,
    drops: Sequence[float] | None = None,
) -> Power:
    """Estimate how often the gate detects a drop, for every metric that the rules judge.

    Args:
        run: The results, as for `gate`.
        baseline: The variance of a change is estimated from both runs, ideally two trainings with the same settings.
            None takes the variance of the run alone and assumes a correlation of one half with another model.
        rules: The rules; None for those of `read_rules()`.
        drops: Changes for the worse as fractions: 0.01 is one point, or a hundredth of a value in another unit.

    Raises:
        OptionError: As in `gate`; also if a drop is not a fraction, or the variance of no metric is known.
    """
    rules = checked_rules(rules)
    drops = EFFECT_SIZES if drops is None else tuple(drops)
    if not drops or not all(0 < drop < 1 for drop in drops):
        raise OptionError("a drop must be a fraction between 0 and 1", "give for example 0.01 for one point")
    ours = load_results(run)
    warnings = ours.warnings
    if baseline is None:
        judged, notes = _judged_alone(ours, rules)
    else:
        theirs = load_results(baseline)
        warnings += theirs.warnings
        judged, notes = _judged_with_baseline(ours, theirs, rules)
    if not judged:
        raise OptionError(f"the rules match no value of {ours.name}", "give other --rules")
    tests = sum(item.rule.fail_if == FAIL_IF[1] for item in judged)
    if unknown := [str(item.row) for item in judged if not item.error > 0]:
        notes.append(f"left out, because the variance is unknown: {', '.join(unknown)}")
    judged = [item for item in judged if item.error > 0]
    if not judged:
        raise OptionError(
            f"the variance of no value of {ours.name} that the rules match is known", "evaluate more images"
        )
    if tests > 1:
        notes.append(
            f"{tests} tests are corrected together; each drop is assumed to be alone, the hardest case to detect"
        )
    return Power(
        ours.model, ours.images, tuple(_estimate(item, drops, tests) for item in judged), tuple(notes), warnings
    )


def _estimate(judged: _Judged, drops: Sequence[float], tests: int) -> PowerEstimate:
    row, rule = judged.row, judged.rule
    alpha = rule.alpha / tests if rule.fail_if == FAIL_IF[1] else rule.alpha
    unit = str(row.row["unit"])
    scale = {"fraction": 1.0, "percent": 100.0}.get(unit, abs(row.value))
    sizes = tuple(drop * scale for drop in drops)
    return PowerEstimate(
        rule=rule,
        name=str(row),
        unit=unit,
        value=row.value,
        error=judged.error,
        false_alarm_rate=judged.detection_rate(0.0, alpha),
        drops=sizes,
        caught=tuple(judged.detection_rate(size, alpha) for size in sizes),
        minimum_detectable_effect=judged.minimum_detectable_effect(alpha),
    )


_ASSUMPTION = f"other trainings are assumed to be right on the same images with a correlation of {CORRELATION:g}"


def _judged_alone(run: ResultsSet, rules: Sequence[Rule]) -> tuple[list[_Judged], list[str]]:
    """Return the judged rows of a run, each with the spread of a change to an assumed other training."""
    judged = [
        _assumed(rule, row, paired=bool(run.runs) and rule.pairing == "paired")
        for rule in rules
        for row in run.rows.values()
        if rule.matches(row)
    ]
    if not run.runs:
        return judged, [f"{run.name} has no records; tests use the intervals and assume independent images"]
    return judged, [f"{_ASSUMPTION}; --baseline RUN measures it"]


def _assumed(rule: Rule, row: ResultRow, *, paired: bool) -> _Judged:
    factor = math.sqrt(2 * (1 - CORRELATION) if paired else 2)
    return _Judged(rule, row, factor * row.error)


def _judged_with_baseline(run: ResultsSet, base: ResultsSet, rules: Sequence[Rule]) -> tuple[list[_Judged], list[str]]:
    """Return the judged rows of both sets, each with the spread of the change between them."""
    judged, unchanged = [], []
    for rule, differences in compare_by_rule(run, base, rules):
        for difference in differences:
            measured = _measured(rule, difference)
            if measured.error == 0:  # Equal outcomes on every image contain no information about the variance.
                measured = _assumed(rule, difference.base, paired=rule.pairing == "paired")
                unchanged += [str(difference.base)] if measured.error > 0 else []
            judged.append(measured)
    notes = [f"the variance of a change is estimated from {run.name} and {base.name}"]
    if unchanged:
        notes.append(f"{', '.join(dict.fromkeys(unchanged))}: equal on every image, and therefore {_ASSUMPTION}")
    return judged, notes


def _measured(rule: Rule, difference: PairedDifference) -> _Judged:
    if difference.counts is not None:
        worse, better, images = difference.counts
        disagreement = (worse + better) / images
        return _Judged(rule, difference.base, math.sqrt(disagreement / images), images, disagreement)
    if difference.resamples is not None:
        return _Judged(rule, difference.base, bootstrap_error(difference.resamples[0] - difference.resamples[1]))
    return _Judged(rule, difference.base, math.hypot(*difference.errors))
