"""A verdict in the forms that machines read: JSON, Markdown, JUnit XML, GitHub's annotations."""

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
    """A figure as a person reads it: fractions in percent, percentages as they are, others with their unit."""
    if math.isnan(value):
        return ""
    sign = "+" if signed else ""
    if unit in ("fraction", "percent"):
        return f"{value * (100 if unit == 'fraction' else 1):{sign}.2f} %"
    return f"{value:{sign}.3g} {unit}"


def format_p_value(p: float | None) -> str:
    """A p-value; empty where there is none."""
    return "" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def outcome(verdict: Verdict) -> str:
    """One line: how many of the comparisons failed."""
    total, failed = len(verdict.comparisons), len(verdict.failed)
    return f"gate failed: {failed} of {total} comparisons" if failed else f"gate passed: {total} comparisons"


def verdict_json(verdict: Verdict) -> str:
    """All of a verdict; what does not exist is null."""
    found: dict[str, Any] = {
        "passed": not verdict.failed,
        "run": verdict.run,
        "baseline": verdict.baseline,
        "model": verdict.model,
        "baseline_model": verdict.baseline_model,
        "notes": list(verdict.notes),
        "comparisons": [_figure(one) for one in verdict.comparisons],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _figure(one: Comparison | PowerEstimate) -> dict[str, Any]:
    cells = {**asdict(one), "rule": str(one.rule)}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in cells.items()
    }


def markdown(verdict: Verdict) -> str:
    """A heading, a table and the notes."""
    lines = [
        f"### robench {outcome(verdict)}",
        "",
        f"{_cell(verdict.model)} ({_cell(verdict.run)}) against {_cell(verdict.baseline_model)} ({_cell(verdict.baseline)})",
        "",
        "| | figure | baseline | run | change | 95 % interval | allowed | p | test |",
        "|---|---|--:|--:|--:|---|--:|--:|---|",
    ]
    for one in verdict.comparisons:
        cells = (
            "**FAILED**" if one.failed else "ok",
            _cell(one.name),
            format_value(one.base, one.unit),
            format_value(one.run, one.unit),
            format_value(one.change, one.unit, signed=True),
            interval(one),
            format_value(one.limit, one.unit),
            format_p_value(one.p if one.p_holm is None else one.p_holm),
            one.method,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {_cell(note)}" for note in verdict.notes)]) + "\n"


def power_json(found: Power) -> str:
    """All of what `gate --power` says; what does not exist is null."""
    whole: dict[str, Any] = {
        "model": found.model,
        "images": found.images,
        "notes": list(found.notes),
        "figures": [_figure(one) for one in found.chances],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def interval(one: Comparison) -> str:
    """The interval of the change; empty where there is none."""
    if math.isnan(one.ci_low):
        return ""
    return f"{format_value(one.ci_low, one.unit, signed=True)} … {format_value(one.ci_high, one.unit, signed=True)}"


def junit(verdict: Verdict) -> str:
    """One test case a comparison, as JUnit's XML."""
    total, failed = str(len(verdict.comparisons)), str(len(verdict.failed))
    suites = ElementTree.Element("testsuites", name="robench gate", tests=total, failures=failed)
    suite = ElementTree.SubElement(
        suites, "testsuite", name=_xml(verdict.run), tests=total, failures=failed, errors="0"
    )
    for one in verdict.comparisons:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(str(one.rule)), name=_xml(one.name))
        if one.failed:
            failure = ElementTree.SubElement(case, "failure", type=one.rule.fail_if, message=_xml(sentence(one)))
            failure.text = _xml(f"{sentence(one)}\nrule: {one.rule}")
    output = ElementTree.SubElement(suite, "system-out")
    output.text = _xml("\n".join(verdict.notes))
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def github(verdict: Verdict) -> str:
    """GitHub's workflow commands: an error for each failure, a notice for the outcome and each note."""
    lines = [
        f"::error title={_property(f'robench gate: {one.name}')}::{_data(sentence(one))}" for one in verdict.failed
    ]
    texts = (outcome(verdict), *verdict.notes)
    return "".join(f"{line}\n" for line in [*lines, *(f"::notice title=robench gate::{_data(one)}" for one in texts)])


def sentence(one: Comparison) -> str:
    """A comparison in one sentence."""
    found = format_p_value(one.p if one.p_holm is None else one.p_holm)
    p = f", p {'' if found.startswith('<') else '= '}{found}" if found else ""
    holm = " after Holm's correction" if one.p_holm is not None else ""
    return (
        f"{one.name} went from {format_value(one.base, one.unit)} to {format_value(one.run, one.unit)} "
        f"({format_value(one.change, one.unit, signed=True)}, allowed {format_value(one.limit, one.unit)}{p}{holm}; {one.method})"
    )


def _cell(text: str) -> str:
    """Text that is no markup in a cell of a Markdown table."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{character}" if character in "\\|`[]*_" else character for character in plain)


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
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
"""Forms for machines, by name; `table` is the human one."""
