"""Values, changes and p-values as text."""

from __future__ import annotations

import math
import re

__all__ = [
    "escape_markdown",
    "format_change",
    "format_interval",
    "format_p_value",
    "format_points",
    "format_value",
    "in_percent",
]


def format_value(value: float, unit: str, *, digits: int = 2) -> str:
    """Return a value as text: fractions and percentages in percent, others with their unit; NaN as an empty text."""
    if math.isnan(value):
        return ""
    return f"{in_percent(value, unit):.{digits}f} %" if _is_percent(unit) else f"{value:.3g} {unit}"


def format_change(change: float, unit: str, *, signed: bool = True, digits: int | None = 2) -> str:
    """Return a difference of two values as text: fractions and percentages in percentage points (pp).

    Args:
        change: The difference; NaN gives an empty text.
        unit: Unit of the values.
        signed: Whether a positive difference has a plus sign; zero never has one.
        digits: Decimals of percentage points; None for as many as it has.
    """
    if math.isnan(change):
        return ""
    if _is_percent(unit):
        change, unit, form = in_percent(change, unit), "pp", ".6g" if digits is None else f"z.{digits}f"
    else:
        form = ".3g"
    text = f"{change:{form}}"
    return f"{'+' if signed and float(text) > 0 else ''}{text} {unit}"


def format_interval(low: float, high: float, unit: str, *, digits: int = 2) -> str:
    """Return the interval of a change as text; empty without one."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{format_change(low, unit, digits=digits).partition(' ')[0]} to {format_change(high, unit, digits=digits)}"


def format_points(change: float, unit: str) -> str:
    """Return a change for a sentence, without a plus sign: `1.7 pp`, `-2.0 pp`, `0.04 pp`, `0.31 GFLOPs`."""
    if not _is_percent(unit):
        return f"{change:.2g} {unit}"
    points = in_percent(change, unit)
    digits = 1 if abs(points) >= 0.095 or not points else 2
    return f"{points:z.{digits}f} pp"


def format_p_value(p: float | None) -> str:
    """Return a p-value as text with three decimals, such as `.046`; empty for None."""
    if p is None:
        return ""
    return "< .001" if p < 0.0005 else "1" if p > 0.9995 else f"{p:.3f}".removeprefix("0")


def escape_markdown(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is, also in the cell of a table.

    A zero-width space keeps GitHub from notifying `@name`, and from linking `#12`, `https://` and `www.`.
    """
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = "".join(f"\\{character}" if character in "\\|`[]*_~" else character for character in plain)
    return re.sub(r"@(?=\w)|#(?=\d)|GH-(?=\d)|:(?=//)|www(?=\.)", r"\g<0>&#8203;", escaped, flags=re.IGNORECASE)


def _is_percent(unit: str) -> bool:
    return unit in ("fraction", "percent")


def in_percent(value: float, unit: str = "fraction") -> float:
    """Return a fraction or percentage in percent, rounded to nine decimals.

    Sums in another order differ in their last bits. The rounded values have the same text in every table.
    """
    return round(value * 100 if unit == "fraction" else value, 9)
