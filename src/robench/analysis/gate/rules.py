"""Rules of the gate."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from robench.analysis.comparison import HEADLINE_METRICS, ResultRow
from robench.analysis.formatting import format_change
from robench.analysis.metrics import METRICS
from robench.errors import OptionError, one_line, unknown_name
from robench.runs.files import decode_text
from robench.suites import ADVERSARIAL, CLEAN, OOD, WORST

__all__ = ["FAIL_IF", "HEADLINE_RULES", "REQUIRE", "Rule", "Rules", "checked_rules", "read_rules", "rules_from"]

FAIL_IF = ("worse", "significantly worse", "not significantly non-inferior")
REQUIRE = {"non-inferior": FAIL_IF[2]}
"""Values of the key `require`, and the `fail_if` that each of them means."""

_PAIRINGS = ("paired", "unpaired")
_PATTERNS = ("suite", "corruption", "severity", "resolution", "axis", "method")


@dataclass(frozen=True)
class Rule:
    """A requirement on the values of a metric.

    Attributes:
        metric: Name of a metric (`robench list metrics`).
        suite: Patterns (`*`, `?`, `[1-3]`); one of them must match. An empty cell matches "".
        corruption: Patterns of the same form, like severity, resolution and axis.
        severity: Patterns.
        resolution: Patterns.
        axis: Patterns.
        method: Patterns of the score behind a value of the suite ood, such as energy.
        group: Patterns of a group of images, or of the name of a set of the suite ood. Without any, a rule covers no group,
            and all sets.
        allowed: Allowed change for the worse, in the metric's unit; a negative number demands an improvement.
        margin: The same for "not significantly non-inferior"; None for other tests.
        relative: Whether `allowed` and `margin` are fractions of the baseline's value.
        fail_if: "worse", "significantly worse" or "not significantly non-inferior".
        alpha: Significance level.
        pairing: "paired" demands the same samples and the same seed; "unpaired" does not.
        optional: Whether the rule may match nothing.
    """

    metric: str
    suite: tuple[str, ...] = ("*",)
    corruption: tuple[str, ...] = ("*",)
    severity: tuple[str, ...] = ("*",)
    resolution: tuple[str, ...] = ("*",)
    axis: tuple[str, ...] = ("*",)
    method: tuple[str, ...] = ("*",)
    group: tuple[str, ...] = ()
    allowed: float = 0.0
    margin: float | None = None
    relative: bool = False
    fail_if: str = "significantly worse"
    alpha: float = 0.05
    pairing: str = "paired"
    optional: bool = False

    @property
    def limit(self) -> float:
        """The margin if there is one, else the allowed change."""
        return self.allowed if self.margin is None else self.margin

    def matches(self, row: ResultRow) -> bool:
        """Return whether a row has this metric and matches the patterns."""
        cells = {name: "" if (cell := getattr(row.key, name)) is None else str(cell) for name in _PATTERNS}
        subset = row.key.subset
        if not (_any(subset or "", self.group) if self.group else subset is None or row.key.suite == OOD):
            return False
        return row.key.metric == self.metric and all(_any(cells[name], getattr(self, name)) for name in _PATTERNS)

    def __str__(self) -> str:
        """Return a text such as `error_rate, suite imagenet-c, corruption *noise: fail if significantly worse by more than 1 pp`."""
        # The patterns of the built-in rules, which are optional, pick the aggregates; their names would not help a reader.
        shown = ("suite",) if self.optional else _PATTERNS
        patterns = [
            f"{name} {'|'.join(getattr(self, name)) or 'none'}" for name in shown if getattr(self, name) != ("*",)
        ]
        patterns += [f"group {'|'.join(self.group)}"] if self.group else []
        unit = METRICS[self.metric].unit
        size = (
            f"{100 * self.limit:g} %" if self.relative else format_change(self.limit, unit, signed=False, digits=None)
        )
        if self.margin is not None:
            return ", ".join([self.metric, *patterns]) + f": require {next(iter(REQUIRE))} within {size}"
        limit = f" by more than {size}" if self.limit else ""
        return ", ".join([self.metric, *patterns]) + f": fail if {self.fail_if}{limit}"


def _any(cell: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(cell, pattern) for pattern in patterns)


HEADLINE_RULES = (
    Rule("accuracy", suite=(CLEAN,), optional=True),
    *(
        Rule(metric, axis=("", "difficulty"), corruption=("",) if metric == "accuracy_auc" else ("*",), optional=True)
        for metric in HEADLINE_METRICS
    ),
    Rule("accuracy", suite=("resolution",), corruption=("network",), optional=True),
    Rule("accuracy", suite=(ADVERSARIAL.name,), method=(WORST,), optional=True),
)
"""Default rules: clean accuracy and the headline metrics of the suites must not be significantly worse."""


Rules: TypeAlias = "Sequence[Rule | Mapping[str, Any]] | Path | str | None"
"""Rules, tables of rules, a TOML file, or None for those of `read_rules()`."""


def checked_rules(rules: Rules) -> tuple[Rule, ...]:
    """Return rules that are given in any form.

    Raises:
        OptionError: The file cannot be read, there is no rule, or one is invalid.
    """
    if rules is None or isinstance(rules, str | Path):
        return read_rules(rules)
    if rules and all(isinstance(rule, Rule) for rule in rules):
        return tuple(rule for rule in rules if isinstance(rule, Rule))
    return rules_from([rule for rule in rules if not isinstance(rule, Rule)] if isinstance(rules, list | tuple) else [])


def read_rules(file: Path | str | None = None) -> tuple[Rule, ...]:
    """Read the rules of a TOML file from its [[rules]] or [[tool.robench.gate.rules]].

    Args:
        file: The file; None for the rules of ./pyproject.toml, or `HEADLINE_RULES` if it has none.

    Raises:
        OptionError: The file cannot be read, has no rules, or has an invalid one.
    """
    path = Path("pyproject.toml" if file is None else file)
    if file is None and not path.is_file():
        return HEADLINE_RULES
    try:
        content: Any = tomllib.loads(decode_text(path.read_bytes()))
    except OSError as error:
        raise OptionError(f"cannot read the rules of {path}: {error.strerror}", "check the path of --rules") from error
    except ValueError as error:  # An invalid encoding or invalid TOML.
        raise OptionError(f"{path} is not TOML ({one_line(error)})", "correct it, and save it as UTF-8") from error
    gate = content
    for name in ("tool", "robench", "gate"):
        gate = gate.get(name) if isinstance(gate, dict) else None
    if gate is None:
        gate = {} if file is None else content
    if not isinstance(gate, dict):
        raise OptionError(f"{path}: tool.robench.gate is not a table", "write the rules as [[tool.robench.gate.rules]]")
    if "rules" in gate:
        return rules_from(gate["rules"], str(path))
    if file is None and not gate:
        return HEADLINE_RULES
    raise OptionError(f"{path} has no [[rules]] for the gate", "write one, or omit --rules")


def rules_from(tables: Sequence[Mapping[str, Any]], source: str = "the rules") -> tuple[Rule, ...]:
    """Check rules that are given as tables.

    Args:
        tables: At least one table with the attributes of `Rule`.
        source: Origin of the tables; errors begin with it.

    Raises:
        OptionError: There is no rule, or one is invalid.
    """
    if not isinstance(tables, list | tuple) or not tables:
        raise OptionError(f"{source}: there is no rule", "write each as a [[rules]] table with a metric")
    return tuple(_rule(table, f"{source}, rule {number}") for number, table in enumerate(tables, 1))


def _rule(table: Mapping[str, Any], source: str) -> Rule:
    if not isinstance(table, Mapping):
        raise OptionError(f"{source} is not a table", "write each as a [[rules]] table with a metric")
    known = ["require", *(field.name for field in fields(Rule) if field.name != "optional")]
    for name in table:
        if name not in known:
            problem, hint = unknown_name("key", name, known)
            raise OptionError(f"{source}: {problem}", hint)
    metric = table.get("metric")
    if not isinstance(metric, str) or metric not in METRICS:
        problem, hint = unknown_name("metric", str(metric), METRICS)
        raise OptionError(f"{source}: {problem}", hint)
    if metric == "nonfinite_rate":
        raise OptionError(
            f"{source}: nonfinite_rate has no row if it is 0", "gate error_rate, which counts such images"
        )
    cells: dict[str, Any] = dict(table)
    for name in (*_PATTERNS, "group"):
        if name in cells:
            cells[name] = _patterns(cells[name], f"{source}: {name}")
    for name in ("allowed", "margin", "alpha"):
        if name in cells:
            cells[name] = _number(cells[name], f"{source}: {name}")
    if "require" in cells and "fail_if" in cells:
        raise OptionError(f"{source} has both require and fail_if", "keep one of them")
    for name, choices in (("require", REQUIRE), ("fail_if", FAIL_IF), ("pairing", _PAIRINGS)):
        if name in cells and cells[name] not in choices:
            problem, hint = unknown_name(name, str(cells[name]), choices)
            raise OptionError(f"{source}: {problem}", hint)
    if not isinstance(cells.get("relative", False), bool):
        raise OptionError(
            f"{source}: relative must be true or false", "give the size of the change as `allowed` or `margin`"
        )
    stated = next(
        (f'{name} = "{cells[name]}"' for name in ("require", "fail_if") if name in cells), "a rule without require"
    )
    if "require" in cells:
        cells["fail_if"] = REQUIRE[cells.pop("require")]
    rule = Rule(**cells)
    if not 0 < rule.alpha < 1:
        raise OptionError(f"{source}: alpha must be between 0 and 1, not {rule.alpha:g}", "omit it for 0.05")
    if METRICS[metric].unit == "fraction" and not rule.relative and abs(rule.limit) >= 1:
        raise OptionError(
            f"{source}: {metric} is a fraction and cannot change by {rule.limit:g}", "write one point as 0.01"
        )
    needs_margin = rule.fail_if == FAIL_IF[2]
    if needs_margin and (rule.margin is None or rule.margin <= 0 or "allowed" in table):
        raise OptionError(f"{source}: {stated} needs a margin above 0, and no `allowed`", "such as margin = 0.02")
    if rule.margin is not None and not needs_margin:
        raise OptionError(f"{source}: {stated} has no margin", 'give `allowed`, or require = "non-inferior"')
    return rule


def _patterns(value: Any, source: str) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise OptionError(
            f"{source} must be a pattern, a number, or a list of them, not {value!r}", 'write a text such as "*noise"'
        )
    return tuple(str(item) for item in values)


def _number(value: Any, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        raise OptionError(f"{source} must be a number in the metric's unit, not {value!r}", "write one such as 0.01")
    return float(value)
