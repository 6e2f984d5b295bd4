"""Dots with intervals, drawn in the characters of a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from robench.analysis.formatting import in_percent

__all__ = ["LEAST_FOREST", "Span", "forest", "glyphs", "number", "plain"]

LEAST_FOREST = 13
"""Least width of a forest in characters; it is left out where less remains."""

_GLYPHS = {"low": "├", "line": "─", "high": "┤", "zero": "│", "yes": "●", "no": "○"}
_ASCII = {"low": "|", "line": "-", "high": "|", "zero": ":", "yes": "#", "no": "o"}


class Span(NamedTuple):
    """A value with its interval, whose ends are NaN for none, and whether its dot is filled."""

    low: float
    high: float
    value: float
    is_filled: bool


def forest(
    spans: Sequence[Span], width: int, unit: str, console: Console, *, sign: str = "", zero: bool = True
) -> tuple[Text, list[str]]:
    """Draw values and intervals on a common axis: the axis, and one line for each value.

    Args:
        spans: The values.
        width: Width of the axis in characters, at least `LEAST_FOREST`.
        unit: Unit of the values.
        console: The console for which the forest is drawn.
        sign: `+` for signs on the axis' labels.
        zero: Whether the axis includes zero, as an axis of differences does.
    """
    marks = glyphs(console)
    numbers = [*([0.0] if zero else []), *(end for span in spans for end in span[:3] if math.isfinite(end))]
    low, high = min(numbers), max(numbers)
    scale = (width - 1) / ((high - low) or 1.0)

    def at(value: float) -> int:
        return round((value - low) * scale)

    lines = []
    for span in spans:
        line = [" "] * width
        if zero:
            line[at(0.0)] = marks["zero"]
        if math.isfinite(span.low) and math.isfinite(span.high):
            first, last = at(min(span.low, span.high)), at(max(span.low, span.high))
            line[first : last + 1] = marks["line"] * (last - first + 1)
            line[first], line[last] = marks["low"], marks["high"]
        line[at(span.value)] = marks["yes" if span.is_filled else "no"]
        lines.append("".join(line))
    axis = [" "] * width
    for value, text in (
        (low, number(low, unit, sign)),
        (high, number(high, unit, sign)),
        *([(0.0, "0")] if zero else []),
    ):
        start = min(max(at(value) - len(text) // 2, 0), width - len(text))
        if (zero and value == 0.0) or all(
            character == " " for character in axis[max(start - 1, 0) : start + len(text) + 1]
        ):
            axis[start : start + len(text)] = text
    return Text("".join(axis)), lines


def number(value: float, unit: str, sign: str = "") -> str:
    """Return a value without its unit, fractions in percent; NaN as an empty text.

    Args:
        value: The value.
        unit: Its unit.
        sign: `+` for the sign of positive values.
    """
    if math.isnan(value):
        return ""
    if unit in ("fraction", "percent"):
        value = in_percent(value, unit)
        return f"{value:{sign}.1f}" if abs(value) >= 0.05 else "0.0"
    return f"{value:{sign}.3g}"


def glyphs(console: Console) -> dict[str, str]:
    """Return the characters of a forest that the console has."""
    return _GLYPHS if console.encoding.startswith("utf") else _ASCII


def plain(text: str, console: Console) -> str:
    """Return a text whose mathematical signs the console has."""
    return text if console.encoding.startswith("utf") else text.replace("≤", "<=")
