"""From results to a decision: rules, what two sides say about them, and the forms in which a verdict is printed. Torch-free.

rules.py     what may not become worse, and by how much
verdict.py   the rules applied to a run and its baseline
power.py     which drop they would catch, how often
formats.py   json, markdown, junit, github
"""

from __future__ import annotations

from robench.analysis.gate.formats import FORMATS
from robench.analysis.gate.gate import Comparison, Verdict, gate, update_baseline
from robench.analysis.gate.power import Power, PowerEstimate, power
from robench.analysis.gate.rules import FAIL_IF, HEADLINE_RULES, Rule, read_rules, rules_from

__all__ = [
    "FAIL_IF",
    "FORMATS",
    "HEADLINE_RULES",
    "Comparison",
    "Power",
    "PowerEstimate",
    "Rule",
    "Verdict",
    "gate",
    "power",
    "read_rules",
    "rules_from",
    "update_baseline",
]
