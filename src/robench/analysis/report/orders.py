"""Orders of corruptions in a chart: by category, and by effect."""

from __future__ import annotations

from collections.abc import Mapping

from robench.analysis.report.charts import CATEGORY_MARK
from robench.suites import CATEGORIES, EXTRA_CATEGORY, OTHER_CATEGORY, category_of, lookup_suite

__all__ = ["BY_CATEGORY", "BY_EFFECT", "orders"]

BY_CATEGORY, BY_EFFECT = "category", "effect"


def orders(suite: str, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the rows of a chart from top to bottom in each order.

    Args:
        suite: Name of the suite.
        names: Corruption of each row by the row's name, in the order of the effect.

    Returns:
        The names by category, with headings, and by effect. Corruptions of one category have no order by category.
    """
    known = lookup_suite(suite)
    extra = known.extra if known is not None else ()
    groups: dict[str, list[str]] = {name: [] for name in (*CATEGORIES, EXTRA_CATEGORY, OTHER_CATEGORY)}
    for name, corruption in names.items():
        groups[category_of(corruption, extra)].append(name)
    used = {category: rows for category, rows in groups.items() if rows}
    by_effect = {BY_EFFECT: list(names)}
    if len(used) < 2:
        return by_effect
    rows = [row for category, rows in used.items() for row in (category.capitalize() + CATEGORY_MARK, *rows)]
    return {BY_CATEGORY: rows, **by_effect}
