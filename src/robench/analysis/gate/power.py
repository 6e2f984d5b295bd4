"""How large a drop a gate would catch, and how often: computed from what the records say of chance, before anything is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from robench.analysis.comparison import (
    PairedDifference,
    ResultRow,
    ResultsSet,
    Source,
    check_comparable,
    compare_pairs,
    load_results,
    match_results,
)
from robench.analysis.gate.rules import FAIL_IF, Rule, read_rules
from robench.analysis.metrics.paired_tests import bootstrap_error
from robench.errors import OptionError

__all__ = ["EFFECT_SIZES", "TARGET_POWER", "Power", "PowerEstimate", "power"]

TARGET_POWER = 0.8
"""How often a drop is caught that counts as caught."""

EFFECT_SIZES = (0.005, 0.01, 0.02, 0.05)
"""Half a point to five; of figures that are no fractions or percentages, parts of the figure."""

CORRELATION = 0.5
"""Of two models being right on the same image, taken where only one is at hand (docs/decisions/016)."""

_NORMAL = NormalDist()
_LARGEST = 1.0


@dataclass(frozen=True)
class PowerEstimate:
    """A figure that a rule judges, and how often the gate would fail for a drop of it alone.

    value: of the baseline.  error: standard error of a change.  unchanged: chance to fail where nothing changed.
    drops, caught: changes for the worse, in the metric's unit, and the chance that each fails the gate.
    smallest: the drop that fails it `TARGET_POWER` of the time; NaN where none does.
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
    """What a gate would catch, figure by figure in the order of the rules, and on what that rests."""

    model: str
    images: int
    chances: tuple[PowerEstimate, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """A figure, and the spread of its change. images: of the rate it is, 0 where it is not one; churn: of these that change."""

    rule: Rule
    figure: ResultRow
    error: float
    images: int = 0
    disagreement: float = 0.0

    def chance(self, drop: float, alpha: float) -> float:
        """How often a true drop of this size fails the gate."""
        rule = self.rule
        limit = rule.limit * (abs(self.figure.value) if rule.relative else 1.0)
        spread, under_null, step = self.error, self.error, 0.0
        if self.images:
            # At least as many images change as are lost; McNemar's test is exact, and so a step of an image short.
            churn = max(self.disagreement, abs(drop))
            under_null = math.sqrt(churn / self.images)
            spread, step = math.sqrt(max(churn - drop**2, 1e-12) / self.images), 1 / self.images
        z = _NORMAL.inv_cdf(1 - alpha)
        threshold = {
            FAIL_IF[0]: limit,
            FAIL_IF[1]: limit + z * under_null + step,
            FAIL_IF[2]: limit - z * under_null,
        }[rule.fail_if]
        return _NORMAL.cdf((drop - threshold) / spread)

    def minimum_detectable_effect(self, alpha: float) -> float:
        """The drop that is caught `TARGET_POWER` of the time, by halving; NaN where even the largest is not."""
        low, high = 0.0, self._largest()
        if self.chance(high, alpha) < TARGET_POWER:
            return math.nan
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.chance(middle, alpha) >= TARGET_POWER else (middle, high)
        return high

    def _largest(self) -> float:
        return (
            _LARGEST if self.images else 100 * self.error + 10 * abs(self.rule.limit * (self.figure.value or 1.0)) + 1.0
        )


def power(
    run: Source,
    baseline: Source | None = None,
    rules: Sequence[Rule] | None = None,
    drops: Sequence[float] | None = None,
) -> Power:
    """Say for every figure that the rules judge which drop the gate catches how often.

    With a baseline the spread of a change is that between the two sides, as the gate would test them: best, two trainings of one
    recipe. With a run alone it is the run's own, and two models are taken to be right on the same images with a correlation of
    one half. drops: changes for the worse, as fractions: 0.01 is a point, of figures in other units a hundredth.
    Raises OptionError as `gate` does.
    """
    rules = read_rules() if rules is None else tuple(rules)
    drops = EFFECT_SIZES if drops is None else tuple(drops)
    if not drops or not all(0 < drop < 1 for drop in drops):
        raise OptionError("a drop is a fraction above 0 and below 1, for example 0.01 for one point")
    ours = load_results(run)
    judged, notes = _alone(ours, rules) if baseline is None else _beside(ours, load_results(baseline), rules)
    if not judged:
        raise OptionError(f"the rules match no figure of {ours.name}: nothing would be compared")
    tests = sum(one.rule.fail_if == FAIL_IF[1] for one in judged)
    if still := [str(one.figure) for one in judged if not one.error > 0]:
        notes.append(f"{', '.join(still)}: left out, for nothing tells how far it moves by chance")
    judged = [one for one in judged if one.error > 0]
    if not judged:
        raise OptionError(
            f"nothing tells how far the figures of {ours.name} that the rules match move by chance: evaluate more images"
        )
    if tests > 1:
        notes.append(
            f"{tests} tests are corrected together: each drop is taken to be alone, the case in which it is hardest to see"
        )
    chances = tuple(_chance(one, drops, tests) for one in judged)
    return Power(ours.model, ours.images, chances, tuple(notes))


def _chance(one: _Judged, drops: Sequence[float], tests: int) -> PowerEstimate:
    row = one.figure.row
    alpha = one.rule.alpha / tests if one.rule.fail_if == FAIL_IF[1] else one.rule.alpha
    whole = {"fraction": 1.0, "percent": 100.0}.get(row["unit"], abs(one.figure.value))
    sizes = tuple(drop * whole for drop in drops)
    return PowerEstimate(
        rule=one.rule,
        name=str(one.figure),
        unit=str(row["unit"]),
        value=one.figure.value,
        error=one.error,
        false_alarm_rate=one.chance(0.0, alpha),
        drops=sizes,
        caught=tuple(one.chance(size, alpha) for size in sizes),
        minimum_detectable_effect=one.minimum_detectable_effect(alpha),
    )


def _alone(side: ResultsSet, rules: Sequence[Rule]) -> tuple[list[_Judged], list[str]]:
    """Every figure of a run that a rule judges, its change as wide as two models of that correlation would give."""
    judged = [
        _assumed(rule, figure, paired=bool(side.runs) and rule.pairing == "paired")
        for rule in rules
        for figure in side.figures.values()
        if rule.matches(figure)
    ]
    if not side.runs:
        return judged, [f"{side.name} has no records: tests use the intervals, as of independent images"]
    return judged, [f"{_ASSUMED}; --baseline RUN measures it"]


_ASSUMED = (
    f"as if the other side were right on the same images with a correlation of {CORRELATION:g}, as another training is"
)


def _assumed(rule: Rule, figure: ResultRow, *, paired: bool) -> _Judged:
    factor = math.sqrt(2 * (1 - CORRELATION) if paired else 2)
    return _Judged(rule, figure, factor * figure.error)


def _beside(run: ResultsSet, base: ResultsSet, rules: Sequence[Rule]) -> tuple[list[_Judged], list[str]]:
    """Every figure of both sides that a rule judges, with the spread of its change between them."""
    judged, unmoved = [], []
    for paired in (True, False):
        these = [rule for rule in rules if (rule.pairing == "paired") == paired]
        if not these:
            continue
        check_comparable(run, base, paired=paired)
        pairs = match_results(run, base, lambda figure, these=these: any(rule.matches(figure) for rule in these))  # type: ignore[misc]
        for one in compare_pairs(run, base, pairs, paired=paired):
            for rule in these:
                if rule.matches(one.run):
                    found = _measured(rule, one)
                    if found.error == 0:  # The same on every image tells nothing of chance.
                        found = _assumed(rule, one.base, paired=paired)
                        unmoved += [str(one.base)] if found.error > 0 else []
                    judged.append(found)
    order = {id(rule): number for number, rule in enumerate(rules)}
    judged.sort(key=lambda one: order[id(one.rule)])
    notes = [f"the spread of a change is that between {run.name} and {base.name}"]
    if unmoved:
        notes.append(f"{', '.join(dict.fromkeys(unmoved))}: the same on every image of both sides, and so {_ASSUMED}")
    return judged, notes


def _measured(rule: Rule, one: PairedDifference) -> _Judged:
    if one.counts is not None:
        worse, better, images = one.counts
        churn = (worse + better) / images
        return _Judged(rule, one.base, math.sqrt(churn / images), images, churn)
    if one.resamples is not None:
        return _Judged(rule, one.base, bootstrap_error(one.resamples[0] - one.resamples[1]))
    return _Judged(rule, one.base, math.hypot(*one.errors))
