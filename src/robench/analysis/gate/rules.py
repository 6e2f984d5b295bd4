"""Rules: which figures may not become worse, by how much, and how sure of it one must be."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from robench.analysis.comparison import HEADLINE_METRICS, ResultRow
from robench.analysis.metrics import METRICS
from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN

__all__ = ["FAIL_IF", "HEADLINE_RULES", "Rule", "read_rules", "rules_from"]

FAIL_IF = ("worse", "significantly worse", "not significantly non-inferior")
_PAIRINGS = ("paired", "unpaired")
_PATTERNS = ("suite", "corruption", "severity", "resolution", "axis")


@dataclass(frozen=True)
class Rule:
    """One demand on the figures of a metric.

    suite, corruption, severity, resolution, axis: patterns (`*`, `?`, `[1-3]`), any of several; empty cells match "".
    allowed: how much worse a figure may be, in the metric's unit, or with `relative` as a fraction of the baseline's; negative
    demands an improvement.  margin: the same, for "not significantly non-inferior".  alpha: of the test.
    pairing: "paired" demands the same samples and seed.  optional: may match nothing.
    """

    metric: str
    suite: tuple[str, ...] = ("*",)
    corruption: tuple[str, ...] = ("*",)
    severity: tuple[str, ...] = ("*",)
    resolution: tuple[str, ...] = ("*",)
    axis: tuple[str, ...] = ("*",)
    allowed: float = 0.0
    margin: float | None = None
    relative: bool = False
    fail_if: str = "significantly worse"
    alpha: float = 0.05
    pairing: str = "paired"
    optional: bool = False

    @property
    def limit(self) -> float:
        """The margin, where there is one, else what is allowed."""
        return self.allowed if self.margin is None else self.margin

    def matches(self, figure: ResultRow) -> bool:
        """Whether a figure is of this metric and its place fits the patterns."""
        found = figure.key._asdict()
        return figure.key.metric == self.metric and all(
            any(
                fnmatchcase("" if found[name] is None else str(found[name]), pattern) for pattern in getattr(self, name)
            )
            for name in _PATTERNS
        )

    def __str__(self) -> str:
        """`error_rate, suite imagenet-c, corruption *noise: fail if significantly worse by more than 0.01`."""
        where = [
            f"{name} {'|'.join(getattr(self, name)) or 'none'}" for name in _PATTERNS if getattr(self, name) != ("*",)
        ]
        size = f"{100 * self.limit:g} %" if self.relative else f"{self.limit:g}"
        beyond = f" within {size}" if self.margin is not None else f" by more than {size}" if self.limit else ""
        return ", ".join([self.metric, *where]) + f": fail if {self.fail_if}{beyond}"


HEADLINE_RULES = (
    Rule("accuracy", suite=(CLEAN,), optional=True),
    *(
        Rule(metric, axis=("", "difficulty"), corruption=("",) if metric == "accuracy_auc" else ("*",), optional=True)
        for metric in HEADLINE_METRICS
    ),
    Rule("accuracy", suite=("resolution",), corruption=("network",), optional=True),
)
"""What is demanded where no rules are given: that clean accuracy and the suites' headlines are not significantly worse."""


def read_rules(file: Path | str | None = None) -> tuple[Rule, ...]:
    """Read the rules of a TOML file, its [[rules]] or [[tool.robench.gate.rules]].

    Without a file, those of ./pyproject.toml, where it has any, else HEADLINE_RULES. OptionError says what is wrong with one.
    """
    given = file is not None
    path = Path("pyproject.toml" if file is None else file)
    if not given and not path.is_file():
        return HEADLINE_RULES
    try:
        with path.open("rb") as stream:
            found = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot read the rules of {path}: {error}") from error
    gate: Any = found
    for name in ("tool", "robench", "gate"):
        gate = gate.get(name) if isinstance(gate, dict) else None
    if gate is None:
        gate = found if given else {}
    if not isinstance(gate, dict):
        raise OptionError(f"{path}: tool.robench.gate is a table with [[tool.robench.gate.rules]] in it")
    if "rules" not in gate:
        if given or gate:
            raise OptionError(f"{path} has no [[rules]] for the gate: write one, or leave --rules out")
        return HEADLINE_RULES
    return rules_from(gate["rules"], str(path))


def rules_from(tables: Sequence[Mapping[str, Any]], source: str = "the rules") -> tuple[Rule, ...]:
    """Check rules given as tables; OptionError unless there is one, and each is whole."""
    if not isinstance(tables, list | tuple) or not tables:
        raise OptionError(f"{source}: `rules` is a list of tables, at least one")
    return tuple(_rule(table, f"{source}, rule {number}") for number, table in enumerate(tables, 1))


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} is not a table")
    known = [field.name for field in fields(Rule) if field.name != "optional"]
    for name in table:
        if name not in known:
            raise OptionError(f"{where}: {unknown_name('key', name, known)}")
    metric = table.get("metric")
    if not isinstance(metric, str) or metric not in METRICS:
        raise OptionError(f"{where}: {unknown_name('metric', str(metric), METRICS)}")
    if metric == "nonfinite_rate":
        raise OptionError(
            f"{where}: nonfinite_rate has a row only where it is not 0: gate error_rate, where they count"
        )
    found: dict[str, Any] = dict(table)
    for name in _PATTERNS:
        if name in found:
            found[name] = _patterns(found[name], f"{where}: {name}")
    for name in ("allowed", "margin", "alpha"):
        if name in found:
            found[name] = _number(found[name], f"{where}: {name}")
    for name, choices in (("fail_if", FAIL_IF), ("pairing", _PAIRINGS)):
        if name in found and found[name] not in choices:
            raise OptionError(f"{where}: {unknown_name(name, str(found[name]), choices)}")
    if not isinstance(found.get("relative", False), bool):
        raise OptionError(f"{where}: relative is true or false, the change itself is `allowed` or `margin`")
    rule = Rule(**found)
    if not 0 < rule.alpha < 1:
        raise OptionError(f"{where}: alpha is a chance between 0 and 1, not {rule.alpha:g}")
    if METRICS[metric].unit == "fraction" and not rule.relative and abs(rule.limit) >= 1:
        raise OptionError(
            f"{where}: {metric} is a fraction, so that a change of {rule.limit:g} cannot be: one point is 0.01"
        )
    inferior = rule.fail_if == FAIL_IF[2]
    if inferior and (rule.margin is None or rule.margin <= 0 or "allowed" in table):
        raise OptionError(f'{where}: fail_if = "{rule.fail_if}" needs a margin above 0, and no `allowed`')
    if rule.margin is not None and not inferior:
        raise OptionError(f'{where}: margin belongs to fail_if = "{FAIL_IF[2]}"; for "{rule.fail_if}" give `allowed`')
    return rule


def _patterns(value: Any, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in values):
        raise OptionError(f"{where} is a pattern, a number, or a list of them, not {value!r}")
    return tuple(str(one) for one in values)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        raise OptionError(f"{where} is a number in the metric's unit, not {value!r}")
    return float(value)
