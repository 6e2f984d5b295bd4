"""The gate: rules, verdict, statistical power and output formats."""

from __future__ import annotations

from robench.analysis.gate.formats import FORMATS
from robench.analysis.gate.gate import Comparison, Verdict, update_baseline
from robench.analysis.gate.power import Power, PowerEstimate
from robench.analysis.gate.rules import FAIL_IF, HEADLINE_RULES, Rule, Rules, checked_rules, read_rules, rules_from

__all__ = [
    "FAIL_IF",
    "FORMATS",
    "HEADLINE_RULES",
    "Comparison",
    "Power",
    "PowerEstimate",
    "Rule",
    "Rules",
    "Verdict",
    "checked_rules",
    "read_rules",
    "rules_from",
    "update_baseline",
]
