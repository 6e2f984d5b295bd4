"""Differences by corruption between a run and its baseline, as Markdown for a pull request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from robench.analysis.comparison import Source, load_results
from robench.analysis.comparison.compare import CORRUPTION, Difference, compare_sets
from robench.analysis.formatting import escape_markdown, format_change, format_interval, format_p_value, format_value
from robench.analysis.verdict import pair_verdict, place
from robench.errors import RobenchError
from robench.suites import category_of, display_family, lookup_suite

__all__ = ["overview"]

_SQUARES = "⬜🟨🟧🟥⬛"
"""Colours of errors, whose lightness falls evenly, so that they read without colour vision."""
_LIMITS = (0.1, 0.25, 0.5, 0.75)
"""Least error of each colour after the first."""
_MORE, _FEWER, _SAME = "🔺", "🔽", "➖"


def overview(run: Source, baseline: Source) -> list[str]:
    """Return lines of Markdown: the sentences of `robench compare`, and each suite's corruptions before and after.

    Args:
        run: The judged results, as `gate` takes them.
        baseline: The results to compare with.
    """
    theirs, ours = load_results(baseline), load_results(run)
    paired = (ours.seed, ours.data_sha) == (theirs.seed, theirs.data_sha)
    try:
        differences = compare_sets([theirs, ours], paired=paired)
    except RobenchError as error:  # The verdict, of fewer values, is worth more than its overview.
        return [f"No comparison by corruption: {escape_markdown(error.problem)}.", ""]
    first, *others = [escape_markdown(sentence) for sentence in pair_verdict(differences)] or [""]
    lines = [line for text in (f"**{first}**" if first else "", *others) if text for line in (text, "")]
    suites: dict[str, list[Difference]] = {}
    for one in differences:
        if one.level == CORRUPTION and not display_family(one.paired.run.key.suite).has_frames:
            suites.setdefault(one.paired.run.key.suite, []).append(one)
    strips = [line for suite, group in suites.items() for line in _strip(suite, group)]
    tables = [line for suite, group in suites.items() for line in _table(suite, group)]
    return [*lines, *strips, *([_LEGEND, ""] if strips else []), *tables]


_ENDS = [f"{100 * limit:.0f} %" for limit in _LIMITS]
_LEGEND = (
    f"<sub>Error {', '.join(f'{square} < {end}' for square, end in zip(_SQUARES, _ENDS, strict=False))}, "
    f"{_SQUARES[-1]} more; {_MORE} significantly more errors, {_FEWER} fewer, {_SAME} neither</sub>"
)


def _strip(suite: str, group: Sequence[Difference]) -> list[str]:
    """Return a table with the categories as columns, and a square for each corruption in their cells."""
    categories: dict[str, list[Difference]] = {}
    whole = lookup_suite(suite)
    for one in group:
        name = category_of(one.paired.run.key.corruption or "", () if whole is None else whole.extra)
        categories.setdefault(name, []).append(one)
    rows = {
        escape_markdown(suite): list(categories),
        "---": ["---"] * len(categories),
        "before": ["".join(_square(one.paired.base.value) for one in cells) for cells in categories.values()],
        "after": ["".join(_square(one.paired.run.value) for one in cells) for cells in categories.values()],
        "change": ["".join(map(_arrow, cells)) for cells in categories.values()],
    }
    return [*(f"| {' | '.join((name, *cells))} |" for name, cells in rows.items()), ""]


def _square(error: float) -> str:
    return _SQUARES[bisect_right(_LIMITS, error)]


def _arrow(one: Difference) -> str:
    return (_FEWER if one.gain > 0 else _MORE) if one.is_significant else _SAME


def _table(suite: str, group: Sequence[Difference]) -> list[str]:
    """Return the numbers of a strip as a folded table."""
    lines = [
        f"<details><summary>{escape_markdown(suite)}: error by corruption</summary>",
        "",
        "| corruption | before | after | change | 95 % interval | p (Holm) |",
        "|---|--:|--:|--:|---|--:|",
    ]
    for one in group:
        paired, unit = one.paired, str(one.paired.run.row["unit"])
        cells = (
            escape_markdown(place(one)),
            *(format_value(row.value, unit, digits=1) for row in (paired.base, paired.run)),
            f"{format_change(paired.change, unit, digits=1)} {_arrow(one).replace(_SAME, '')}".strip(),
            format_interval(paired.ci_low, paired.ci_high, unit, digits=1),
            format_p_value(one.p_holm),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", "</details>", ""]
