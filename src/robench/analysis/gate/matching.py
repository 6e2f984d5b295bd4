"""Comparisons that the rules of a gate ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robench.analysis.comparison import (
    PairedDifference,
    ResultRow,
    ResultsSet,
    check_comparable,
    compare_pairs,
    match_results,
)
from robench.analysis.gate.rules import Rule

__all__ = ["RuleComparisons", "compare_by_rule"]

RuleComparisons = list[tuple[Rule, list[PairedDifference]]]


def compare_by_rule(run: ResultsSet, base: ResultsSet, rules: Sequence[Rule]) -> RuleComparisons:
    """Return each rule, in order, with the differences of the rows that it matches.

    Raises:
        OptionError: Run and baseline, or two rows of them, are not comparable.
    """
    differences: dict[str, list[PairedDifference]] = {}
    for pairing in sorted({rule.pairing for rule in rules}):
        paired = pairing == "paired"
        check_comparable(run, base, paired=paired)
        pairs = match_results(run, base, _any_matches([rule for rule in rules if rule.pairing == pairing]))
        differences[pairing] = compare_pairs(run, base, pairs, paired=paired)
    return [
        (rule, [difference for difference in differences[rule.pairing] if rule.matches(difference.run)])
        for rule in rules
    ]


def _any_matches(rules: Sequence[Rule]) -> Callable[[ResultRow], bool]:
    return lambda row: any(rule.matches(row) for rule in rules)
