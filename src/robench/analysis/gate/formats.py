"""Verdict of the gate as JSON, Markdown, JUnit XML and GitHub annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from robench.analysis.gate.gate import Comparison, Verdict
from robench.analysis.gate.power import Power, PowerEstimate

__all__ = [
    "FORMATS",
    "format_p_value",
    "format_value",
    "github",
    "interval",
    "junit",
    "markdown",
    "outcome",
    "power_json",
    "sentence",
    "verdict_json",
]


def format_value(value: float, unit: str, *, signed: bool = False) -> str:
    """Return a value as text: fractions and percentages in percent, others with their unit; NaN as an empty text."""
    if math.isnan(value):
        return ""
    sign = "+" if signed else ""
    if unit in ("fraction", "percent"):
        return f"{value * (100 if unit == 'fraction' else 1):{sign}.2f} %"
    return f"{value:{sign}.3g} {unit}"


def format_p_value(p: float | None) -> str:
    """Return a p-value as text; empty for None."""
    return "" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def outcome(verdict: Verdict) -> str:
    """Return one line with the number of failed comparisons."""
    total, failed = len(verdict.comparisons), len(verdict.failed)
    return f"gate failed: {failed} of {total} comparisons" if failed else f"gate passed: {total} comparisons"


def verdict_json(verdict: Verdict) -> str:
    """Return the whole verdict as JSON; missing values are null."""
    content: dict[str, Any] = {
        "passed": not verdict.failed,
        "run": verdict.run,
        "baseline": verdict.baseline,
        "model": verdict.model,
        "baseline_model": verdict.baseline_model,
        "notes": list(verdict.notes),
        "warnings": list(verdict.warnings),
        "comparisons": [_json_cells(comparison) for comparison in verdict.comparisons],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _json_cells(row: Comparison | PowerEstimate) -> dict[str, Any]:
    cells = {**asdict(row), "rule": str(row.rule)}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in cells.items()
    }


def markdown(verdict: Verdict) -> str:
    """Return a heading, a table and the notes."""
    lines = [
        f"### robench {outcome(verdict)}",
        "",
        f"{_cell(verdict.model)} ({_cell(verdict.run)}) against {_cell(verdict.baseline_model)} ({_cell(verdict.baseline)})",
        "",
        "| | metric | baseline | run | change | 95 % interval | limit | p | test |",
        "|---|---|--:|--:|--:|---|--:|--:|---|",
    ]
    for comparison in verdict.comparisons:
        unit = comparison.unit
        cells = (
            "**FAILED**" if comparison.failed else "ok",
            _cell(comparison.name),
            format_value(comparison.base, unit),
            format_value(comparison.run, unit),
            format_value(comparison.change, unit, signed=True),
            interval(comparison),
            format_value(comparison.limit, unit),
            format_p_value(comparison.p if comparison.p_holm is None else comparison.p_holm),
            comparison.method,
        )
        lines.append("| " + " | ".join(cells) + " |")
    warnings = [f"- **warning:** {_cell(warning)}" for warning in verdict.warnings]
    return "\n".join([*lines, "", *warnings, *(f"- {_cell(note)}" for note in verdict.notes)]) + "\n"


def power_json(power: Power) -> str:
    """Return the statistical power as JSON; missing values are null."""
    content: dict[str, Any] = {
        "model": power.model,
        "images": power.images,
        "notes": list(power.notes),
        "warnings": list(power.warnings),
        "metrics": [_json_cells(estimate) for estimate in power.chances],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def interval(comparison: Comparison) -> str:
    """Return the interval of the change as text; empty without one."""
    if math.isnan(comparison.ci_low):
        return ""
    low, high = (format_value(end, comparison.unit, signed=True) for end in (comparison.ci_low, comparison.ci_high))
    return f"{low} … {high}"


def junit(verdict: Verdict) -> str:
    """Return JUnit XML with a test case for each comparison."""
    total, failed = str(len(verdict.comparisons)), str(len(verdict.failed))
    suites = ElementTree.Element("testsuites", name="robench gate", tests=total, failures=failed)
    suite = ElementTree.SubElement(
        suites, "testsuite", name=_xml(verdict.run), tests=total, failures=failed, errors="0"
    )
    for comparison in verdict.comparisons:
        rule = comparison.rule
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(str(rule)), name=_xml(comparison.name))
        if comparison.failed:
            message = sentence(comparison)
            failure = ElementTree.SubElement(case, "failure", type=rule.fail_if, message=_xml(message))
            failure.text = _xml(f"{message}\nrule: {rule}")
    output = ElementTree.SubElement(suite, "system-out")
    output.text = _xml("\n".join([*(f"warning: {warning}" for warning in verdict.warnings), *verdict.notes]))
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def github(verdict: Verdict) -> str:
    """Return GitHub's workflow commands: an error for each failure, the warnings, a notice for the outcome and for each note."""
    errors = [
        f"::error title={_property(f'robench gate: {comparison.name}')}::{_data(sentence(comparison))}"
        for comparison in verdict.failed
    ]
    warnings = [f"::warning title=robench gate::{_data(text)}" for text in verdict.warnings]
    notices = [f"::notice title=robench gate::{_data(text)}" for text in (outcome(verdict), *verdict.notes)]
    return "".join(f"{line}\n" for line in [*errors, *warnings, *notices])


def sentence(comparison: Comparison) -> str:
    """Return a comparison as one sentence."""
    unit, is_corrected = comparison.unit, comparison.p_holm is not None
    p = format_p_value(comparison.p_holm if is_corrected else comparison.p)
    p = f", p {'' if p.startswith('<') else '= '}{p}" if p else ""
    return (
        f"{comparison.name} went from {format_value(comparison.base, unit)} to {format_value(comparison.run, unit)} "
        f"({format_value(comparison.change, unit, signed=True)}, limit {format_value(comparison.limit, unit)}{p}"
        f"{' after Holm correction' if is_corrected else ''}; {comparison.method})"
    )


def _cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{character}" if character in "\\|`[]*_" else character for character in plain)


def _xml(text: str) -> str:
    """Replace characters that XML does not allow."""
    return "".join(
        c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in text
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Verdict], str]] = {
    "json": verdict_json,
    "markdown": markdown,
    "junit": junit,
    "github": github,
}
"""Machine-readable formats by name; the CLI adds `table`."""
