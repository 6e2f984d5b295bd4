"""The rules applied to a run and its baseline: what was compared, by which test, and what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.analysis.comparison import (
    PairedDifference,
    ResultsSet,
    Source,
    check_comparable,
    check_finished,
    compare_pairs,
    load_results,
    match_results,
)
from robench.analysis.gate.rules import FAIL_IF, Rule, read_rules
from robench.analysis.metrics.paired_tests import holm
from robench.analysis.scoring import pool
from robench.errors import OptionError
from robench.runs.csv import has_header, write_csv
from robench.runs.directory import RunDirectory
from robench.runs.files import check_replaceable, translate_os_errors
from robench.runs.schema import RESULTS

__all__ = ["Comparison", "Verdict", "gate", "update_baseline"]

_ROUNDING = 1e-9
"""A change beyond what is allowed by less than this is the rounding of a subtraction."""


@dataclass(frozen=True)
class Comparison:
    """A figure of both sides, judged by one rule.

    limit: the change for the worse up to which it passes, in the metric's unit.  ci_low, ci_high: 95 %, of run - base.
    method: `point`, or the test.  p: of the test; None for `point`.  p_holm: corrected for the gate's other tests for worse.
    """

    rule: Rule
    name: str
    unit: str
    base: float
    run: float
    change: float
    ci_low: float
    ci_high: float
    limit: float
    method: str
    p: float | None
    p_holm: float | None
    failed: bool


@dataclass(frozen=True)
class Verdict:
    """All comparisons of a gate, in the order of the rules, of which there is at least one."""

    run: str
    baseline: str
    model: str
    baseline_model: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Comparison, ...]:
        """Those that failed; the gate passes if there is none."""
        return tuple(one for one in self.comparisons if one.failed)


def gate(run: Source, baseline: Source, rules: Sequence[Rule] | None = None) -> Verdict:
    """Judge a run, or a results CSV, against its baseline; None takes `read_rules()`.

    Several runs on a side are seeds of one model, and their mean is judged.

    "significantly worse" fails where any figure is; its p-values are Holm's over all such comparisons of the gate. "not
    significantly non-inferior" passes only where every figure is non-inferior, which needs no correction. Raises OptionError if
    a rule compares nothing, or the sides do not compare.
    """
    rules = read_rules() if rules is None else tuple(rules)
    ours, theirs = load_results(run), load_results(baseline)
    for one in (*ours.runs, *theirs.runs):
        check_finished(one)
    judged: list[tuple[Rule, PairedDifference]] = []
    notes: list[str] = []
    for paired in (True, False):
        of_pairing = [rule for rule in rules if (rule.pairing == "paired") == paired]
        if not of_pairing:
            continue
        check_comparable(ours, theirs, paired=paired)
        pairs = match_results(ours, theirs, lambda figure, these=of_pairing: any(one.matches(figure) for one in these))  # type: ignore[misc]
        contrasts = compare_pairs(ours, theirs, pairs, paired=paired)
        for rule in of_pairing:
            chosen = [one for one in contrasts if rule.matches(one.run)]
            notes += _unmatched(rule, ours, theirs, len(chosen))
            judged += [(rule, one) for one in chosen]
    if not judged:
        raise OptionError(
            f"nothing to compare: {ours.name} and {theirs.name} have no headline figure in common: give --rules"
        )
    order = {id(rule): number for number, rule in enumerate(rules)}
    judged.sort(key=lambda one: order[id(one[0])])
    notes += _how(judged, ours, theirs)
    return Verdict(ours.name, theirs.name, ours.model, theirs.model, tuple(_judge(judged)), tuple(dict.fromkeys(notes)))


def _unmatched(rule: Rule, run: ResultsSet, base: ResultsSet, compared: int) -> list[str]:
    """Say what of a rule only the run has; OptionError where the baseline's figures are not all compared."""
    lacking = [figure for key, figure in base.figures.items() if rule.matches(figure) and key not in run.figures]
    extra = [figure for key, figure in run.figures.items() if rule.matches(figure) and key not in base.figures]
    if rule.optional:
        return [f"{figure}: the baseline has it, the run does not; not compared" for figure in lacking]
    if lacking:
        raise OptionError(
            f"{run.name} lacks {len(lacking)} of the {len(lacking) + compared} figures of the baseline that the rule "
            f"[{rule}] is for, for example {lacking[0]}: evaluate them, or narrow the rule"
        )
    if not compared:
        where = f"only {run.name} has such figures" if extra else "no figure of either side matches"
        raise OptionError(f"the rule [{rule}] compares nothing: {where}")
    return [f"{len(extra)} figures of [{rule}] are new, the baseline has none: not compared"] if extra else []


def _how(judged: Sequence[tuple[Rule, PairedDifference]], run: ResultsSet, base: ResultsSet) -> list[str]:
    """Say which comparisons of significance are not paired, and why."""
    tested = [(rule, one) for rule, one in judged if rule.fail_if != FAIL_IF[0]]
    loose = [rule for rule, one in tested if one.resamples is None and one.counts is None]
    if not tested:
        return []
    if not loose:
        return ["tests are paired: per-sample records of the same images on both sides"]
    csv = [side.name for side in (run, base) if not side.runs]
    asked = all(rule.pairing == "unpaired" for rule in loose)
    why = "as the rules ask" if asked else f"{csv[0]} has no records" if csv else "records are missing"
    return [f"{len(loose)} of {len(tested)} tests use the intervals of the results and are not paired: {why}"]


def _judge(judged: Sequence[tuple[Rule, PairedDifference]]) -> list[Comparison]:
    tests: list[tuple[float | None, str]] = []
    for rule, one in judged:
        size = (0.0, rule.limit) if rule.relative else (rule.limit, 0.0)
        if rule.fail_if != FAIL_IF[0] and not one.testable:
            raise OptionError(f'{one.run} has no interval, so that no test can be made: use fail_if = "worse" for it')
        if rule.fail_if == FAIL_IF[0]:
            tests.append((None, "point"))
        else:
            tests.append(one.worse(*size) if rule.fail_if == FAIL_IF[1] else one.not_worse(*size))
    several = [number for number, (rule, _) in enumerate(judged) if rule.fail_if == FAIL_IF[1]]
    corrected = dict(zip(several, holm([tests[number][0] or 0.0 for number in several]).tolist(), strict=True))
    comparisons = []
    for number, ((rule, one), (p, method)) in enumerate(zip(judged, tests, strict=True)):
        limit = rule.limit * (abs(one.base.value) if rule.relative else 1)
        if p is None:
            failed = one.sign * one.change > limit + _ROUNDING
        elif number in corrected:
            failed = corrected[number] <= rule.alpha
        else:
            failed = p > rule.alpha
        comparisons.append(
            Comparison(
                rule=rule,
                name=str(one.run),
                unit=str(one.run.row["unit"]),
                base=one.base.value,
                run=one.run.value,
                change=one.change,
                ci_low=one.ci_low if math.isfinite(one.ci_low) else math.nan,
                ci_high=one.ci_high if math.isfinite(one.ci_high) else math.nan,
                limit=limit,
                method=method,
                p=p,
                p_holm=corrected.get(number),
                failed=failed,
            )
        )
    return comparisons


def update_baseline(run: Source, baseline: Path, force: bool = False) -> None:
    """Write the results of a run directory, or of several seeds, to the baseline CSV, whole or not at all. Compares nothing."""
    check_replaceable(baseline, has_header(RESULTS.names), "--baseline", force)
    runs = [RunDirectory.open(one) for one in ([run] if isinstance(run, str | Path) else run)]
    results = runs[0].read_results() if len(runs) == 1 else pool(runs)[0]
    for one in runs:
        check_finished(one)
    with translate_os_errors(baseline):
        write_csv(RESULTS, results, baseline)
