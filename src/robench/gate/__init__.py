"""From results to a decision: rules, what two sides say about them, and the forms in which a verdict is printed. Torch-free.

rules.py     what may not become worse, and by how much
verdict.py   the rules applied to a run and its baseline
power.py     which drop they would catch, how often
formats.py   json, markdown, junit, github
"""

from __future__ import annotations

from robench.gate.formats import FORMATS
from robench.gate.power import Chance, Power, power
from robench.gate.rules import FAIL_IF, HEADLINE_RULES, Rule, read_rules, rules_from
from robench.gate.verdict import Comparison, Verdict, gate, update_baseline

__all__ = [
    "FAIL_IF",
    "FORMATS",
    "HEADLINE_RULES",
    "Chance",
    "Comparison",
    "Power",
    "Rule",
    "Verdict",
    "gate",
    "power",
    "read_rules",
    "rules_from",
    "update_baseline",
]
