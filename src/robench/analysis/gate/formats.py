"""Verdict of the gate as JSON, Markdown, JUnit XML and GitHub annotations."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from robench.analysis.formatting import escape_markdown, format_change, format_interval, format_p_value, format_value
from robench.analysis.gate.gate import Comparison, Verdict
from robench.analysis.gate.power import Power, PowerEstimate

__all__ = [
    "FORMATS",
    "github",
    "interval",
    "junit",
    "markdown",
    "outcome",
    "power_json",
    "reason",
    "sentence",
    "verdict_json",
]


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
    named = {"name": row.name, "reason": reason(row)} if isinstance(row, Comparison) else {}
    cells = {**named, **asdict(row), "rule": str(row.rule)}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in cells.items()
    }


def markdown(verdict: Verdict, overview: Sequence[str] = ()) -> str:
    """Return a heading, a table of what failed, an overview, a folded table of what passed, and the notes.

    Args:
        verdict: The verdict.
        overview: Lines on the differences by corruption, as `overview` returns them.
    """
    lines = [
        f"### {'❌' if verdict.failed else '✅'} robench {outcome(verdict)}",
        "",
        "{} ({}) against {} ({})".format(
            *map(escape_markdown, (verdict.model, verdict.run, verdict.baseline_model, verdict.baseline))
        ),
        "",
    ]
    passed = [comparison for comparison in verdict.comparisons if not comparison.failed]
    if verdict.failed:
        lines += [*_markdown_table(verdict.failed), ""]
    lines += overview
    if passed:
        lines += ["<details><summary>", "", f"{len(passed)} passed", "", "</summary>", "", *_markdown_table(passed), ""]
        lines += ["</details>", ""]
    lines += [f"- **warning:** {escape_markdown(warning)}" for warning in verdict.warnings]
    return "\n".join([*lines, *(f"- {escape_markdown(note)}" for note in verdict.notes)]) + "\n"


def _markdown_table(comparisons: Sequence[Comparison]) -> list[str]:
    lines = [
        "| | metric | baseline | run | change | 95 % interval | reason | test |",
        "|---|---|--:|--:|--:|---|---|---|",
    ]
    for comparison in comparisons:
        unit = comparison.unit
        cells = (
            "**FAILED**" if comparison.failed else "ok",
            escape_markdown(comparison.name),
            format_value(comparison.base, unit),
            format_value(comparison.run, unit),
            format_change(comparison.change, unit),
            interval(comparison),
            escape_markdown(reason(comparison)),
            comparison.method,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


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
    return format_interval(comparison.ci_low, comparison.ci_high, comparison.unit)


def junit(verdict: Verdict) -> str:
    """Return JUnit XML with a test case for each comparison. The comparisons share the time of the gate equally."""
    total, failed = str(len(verdict.comparisons)), str(len(verdict.failed))
    counts = {"tests": total, "failures": failed, "errors": "0", "time": f"{verdict.seconds:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": "robench gate", **counts})
    stamp = verdict.started.removesuffix("+00:00")
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(verdict.run), **counts, "timestamp": stamp})
    properties = ElementTree.SubElement(suite, "properties")
    about = {name: getattr(verdict, name) for name in ("run", "baseline", "model", "baseline_model")}
    for name, value in (about | dict(verdict.facts)).items():
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    seen: Counter[tuple[str, str]] = Counter()
    for comparison in verdict.comparisons:
        class_name = ".".join(["robench", *(part.replace(".", "_") for part in (comparison.suite, comparison.metric))])
        seen[class_name, comparison.cell] += 1
        number = seen[class_name, comparison.cell]
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_xml(class_name),
            name=_xml(comparison.cell + (f" (rule {number} for it)" if number > 1 else "")),
            time=f"{verdict.seconds / len(verdict.comparisons):.6f}",
        )
        if comparison.failed:
            message = _xml(sentence(comparison))
            ElementTree.SubElement(case, "failure", type=comparison.rule.fail_if, message=message).text = message
        ElementTree.SubElement(case, "system-out").text = _xml(f"rule: {comparison.rule}\n{sentence(comparison)}")
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
    """Return a comparison as one sentence, with the reason of a failure."""
    unit = comparison.unit
    change = format_change(comparison.change, unit)
    return (
        f"{comparison.name} went from {format_value(comparison.base, unit)} to {format_value(comparison.run, unit)} "
        f"({change}): {reason(comparison)}; {comparison.method}"
    )


def reason(comparison: Comparison) -> str:
    """Return why a comparison failed, or why it passed."""
    unit, limit = comparison.unit, comparison.limit
    size = format_change(abs(limit), unit, signed=False, digits=None)
    corrected = comparison.p if comparison.p_holm is None else comparison.p_holm
    p = format_p_value(corrected)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if comparison.rule.margin is not None:
        worst, side, bound = (
            (comparison.ci_high, "upper", limit) if comparison.sign > 0 else (-comparison.ci_low, "lower", -limit)
        )
        if not comparison.failed:
            return f"shown to be within {size} ({p})"
        end = format_change(comparison.sign * worst, unit, signed=comparison.sign < 0, digits=1)
        if worst > limit:
            passes = "exceeds" if side == "upper" else "is below"
            wanted = format_change(bound, unit, signed=side == "lower", digits=None)
            return f"not shown to be within {size}: {side} bound {end} {passes} {wanted} ({p})"
        return f"not shown to be within {size} ({p} is above {comparison.rule.alpha:g})"
    loss = "improvement of" if limit < 0 else "limit"
    if comparison.p is None:
        return f"{'beyond' if comparison.failed else 'within'} the {loss} {size}"
    after = " after Holm's correction" if comparison.p_holm is not None else ""
    than = f" by more than {size}" if limit > 0 else f" than an improvement of {size}" if limit < 0 else ""
    return f"{'significantly' if comparison.failed else 'not significantly'} worse{than} ({p}{after})"


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
