"""Verdict of the gate on a run and its baseline."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from robench.analysis.comparison import PairedDifference, ResultsSet, Source, check_finished, load_results
from robench.analysis.gate.matching import compare_by_rule
from robench.analysis.gate.rules import FAIL_IF, Rule, Rules, checked_rules
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.paired_tests import holm
from robench.analysis.scoring import pool
from robench.errors import OptionError
from robench.runs.csv import has_header, write_csv
from robench.runs.directory import RunDirectory
from robench.runs.files import check_replaceable, translate_os_errors
from robench.runs.schema import RESULTS

__all__ = ["Comparison", "Verdict", "gate", "update_baseline"]

_ROUNDING = 1e-9
"""Tolerance for the rounding error of a change that equals its limit."""


@dataclass(frozen=True)
class Comparison:
    """A metric of run and baseline, judged by one rule.

    Attributes:
        rule: The rule.
        metric: The metric.
        suite: The suite.
        cell: What the value is of, such as `imagenet-c / fog / 3`; with the input size if the suite has several.
        unit: Unit of the metric and of all numbers here but p-values.
        base: Value of the baseline.
        run: Value of the run.
        change: run - base.
        ci_low: Lower end of the 95 % interval of the change.
        ci_high: Upper end of the same interval.
        limit: The largest change for the worse that passes.
        method: The test, or `point` for none.
        p: The p-value of the test; None for `point`.
        p_holm: The p-value corrected for the other tests of "significantly worse" (Holm); None for other tests.
        failed: Whether the gate fails.
    """

    rule: Rule
    metric: str
    suite: str
    cell: str
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

    @property
    def sign(self) -> int:
        """1 if a larger value is worse, -1 if it is better."""
        return -1 if METRICS[self.metric].higher_is_better else 1

    @property
    def name(self) -> str:
        """Metric and cell, such as `error_rate of imagenet-c / fog / 3`."""
        return f"{self.metric} of {self.cell}"


@dataclass(frozen=True)
class Verdict:
    """Result of a gate.

    Attributes:
        run: Name of the judged results.
        baseline: Name of the baseline.
        model: Label of the judged model.
        baseline_model: Label of the baseline's model.
        comparisons: At least one comparison, in the order of the rules.
        notes: Remarks for the reader.
        warnings: Warnings about both sides; each begins with the path of its run.
        facts: Dataset, images, seed and version of the judged results, by name.
        started: Start of the gate (UTC, ISO 8601).
        seconds: Duration of the gate.
    """

    run: str
    baseline: str
    model: str
    baseline_model: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    started: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def failed(self) -> tuple[Comparison, ...]:
        """Failed comparisons; the gate passes if there are none."""
        return tuple(comparison for comparison in self.comparisons if comparison.failed)


def gate(run: Source, baseline: Source, rules: Rules = None) -> Verdict:
    """Judge a run, or a results CSV, against its baseline.

    "significantly worse" fails if any metric is. The p-values of all such comparisons are corrected together (Holm).
    A rule "not significantly non-inferior" passes only if every metric is non-inferior, which needs no correction.

    Args:
        run: The results to judge; several runs are seeds of one model, and their mean is judged.
        baseline: The results to compare with, in the same forms.
        rules: The rules, tables of rules, or a TOML file; None for those of `read_rules()`.

    Raises:
        OptionError: A rule compares nothing, or run and baseline are not comparable.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    rules = checked_rules(rules)
    ours, theirs = load_results(run), load_results(baseline)
    for directory in (*ours.runs, *theirs.runs):
        check_finished(directory)
    comparisons = compare_by_rule(ours, theirs, rules)
    notes = [note for rule, matched in comparisons for note in _unmatched(rule, ours, theirs, len(matched))]
    judged = [(rule, difference) for rule, matched in comparisons for difference in matched]
    if not judged:
        raise OptionError(f"{ours.name} and {theirs.name} have no headline metric in common", "give --rules")
    notes += _pairing_notes(judged, ours, theirs)
    facts = {"dataset": ours.dataset, "images": str(ours.images), "seed": ours.seed, "robench_version": ours.version}
    return Verdict(
        ours.name,
        theirs.name,
        ours.model,
        theirs.model,
        tuple(_judge(judged)),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys((*ours.warnings, *theirs.warnings))),
        facts,
        started.isoformat(timespec="seconds"),
        time.monotonic() - clock,
    )


def _unmatched(rule: Rule, run: ResultsSet, base: ResultsSet, compared: int) -> list[str]:
    """Return notes on rows that only one side has; OptionError if the run lacks some, or nothing is compared."""
    missing, extra = (
        [row for key, row in present.rows.items() if rule.matches(row) and key not in absent.rows]
        for present, absent in ((base, run), (run, base))
    )
    if rule.optional:
        return [f"{row} is not compared: only the baseline has it" for row in missing]
    if missing:
        raise OptionError(
            f"{run.name} lacks {len(missing)} of the {len(missing) + compared} values of the baseline that match the rule "
            f"[{rule}], for example {missing[0]}",
            "evaluate them, or narrow the rule",
        )
    if not compared:
        reason = f"only {run.name} has such values" if extra else "no value of the run or of the baseline matches"
        raise OptionError(f"the rule [{rule}] compares nothing: {reason}", "change the rule")
    return [f"{len(extra)} values of [{rule}] are not compared: only the run has them"] if extra else []


def _pairing_notes(judged: Sequence[tuple[Rule, PairedDifference]], run: ResultsSet, base: ResultsSet) -> list[str]:
    """Say whether the significance tests are paired, and why not."""
    tested = [(rule, difference) for rule, difference in judged if rule.fail_if != FAIL_IF[0]]
    unpaired = [rule for rule, difference in tested if difference.resamples is None and difference.counts is None]
    if not tested:
        return []
    if not unpaired:
        return ["tests are paired: both sides have records of the same images"]
    if all(rule.pairing == "unpaired" for rule in unpaired):
        reason = "the rules ask for it"
    elif files := [results.name for results in (run, base) if not results.runs]:
        reason = f"{files[0]} has no records; a baseline kept as a run directory reveals several times smaller changes"
    else:
        reason = "records are missing"
    return [f"{len(unpaired)} of {len(tested)} tests use the intervals of the results and are not paired: {reason}"]


def _judge(judged: Sequence[tuple[Rule, PairedDifference]]) -> list[Comparison]:
    tests = [_test(rule, difference) for rule, difference in judged]
    p_values = {index: p or 0.0 for index, (p, _) in enumerate(tests) if judged[index][0].fail_if == FAIL_IF[1]}
    corrected = dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
    comparisons = []
    for index, ((rule, difference), (p, method)) in enumerate(zip(judged, tests, strict=True)):
        limit = rule.limit * (abs(difference.base.value) if rule.relative else 1)
        if p is None:
            failed = difference.sign * difference.change > limit + _ROUNDING
        elif index in corrected:
            failed = corrected[index] <= rule.alpha
        else:
            failed = p > rule.alpha
        comparisons.append(
            Comparison(
                rule=rule,
                metric=difference.run.key.metric,
                suite=difference.run.key.suite,
                cell=difference.run.cell,
                unit=str(difference.run.row["unit"]),
                base=difference.base.value,
                run=difference.run.value,
                change=difference.change,
                ci_low=difference.ci_low if math.isfinite(difference.ci_low) else math.nan,
                ci_high=difference.ci_high if math.isfinite(difference.ci_high) else math.nan,
                limit=limit,
                method=method,
                p=p,
                p_holm=corrected.get(index),
                failed=failed,
            )
        )
    return comparisons


def _test(rule: Rule, difference: PairedDifference) -> tuple[float | None, str]:
    if rule.fail_if == FAIL_IF[0]:
        return None, "point"
    if not difference.testable:
        raise OptionError(f"{difference.run} has no interval to test with", 'use fail_if = "worse" for it')
    limits = (0.0, rule.limit) if rule.relative else (rule.limit, 0.0)
    return difference.worse(*limits) if rule.fail_if == FAIL_IF[1] else difference.not_worse(*limits)


def update_baseline(run: Source, baseline: Path, force: bool = False) -> list[str]:
    """Write results to the baseline CSV atomically, without a comparison, and return the warnings of the runs.

    Args:
        run: A run directory, or several seeds, whose mean is written.
        baseline: The file; an existing results CSV is replaced.
        force: Whether to replace a file of another kind.
    """
    check_replaceable(baseline, has_header(RESULTS.names), "--baseline", force)
    runs = [RunDirectory.open(path) for path in ([run] if isinstance(run, str | Path) else run)]
    results = runs[0].read_results(groups=True) if len(runs) == 1 else pool(runs)[0]
    for directory in runs:
        check_finished(directory)
    with translate_os_errors(baseline):
        write_csv(RESULTS, results, baseline)
    return [f"{directory.path}: {warning}" for directory in runs for warning in directory.warnings]
