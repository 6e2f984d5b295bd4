"""A leaderboard as text: csv has every column, markdown and latex what a reader wants, a table a section."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robench.analysis.leaderboard.columns import ENDS, FIGURES, side_column, sides_of
from robench.analysis.leaderboard.ranking import Board
from robench.analysis.leaderboard.rows import Row

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """A form of a leaderboard.  mark: what a file of it begins with; only such a file is replaced by a new one."""

    text: Callable[[Board], str]
    mark: str = ""


_MARKDOWN, _LATEX = "<!-- robench leaderboard -->\n", "% robench leaderboard\n"

_ABOUT: dict[str, Callable[[Any], str]] = {"param_count": "{:,.2f}".format, "img_size": str}
"""Columns that say what the model is, and how a cell of theirs is written."""

_LEFT = ("model", "treatment")
_SHA = 8


def _csv(board: Board) -> str:
    text: str = board.frame.to_csv(index=False, lineterminator="\n")
    return text


def _markdown(board: Board) -> str:
    parts = []
    for section in board.sections:
        header, *lines = _grid(section)
        rule = ["---" if name in _LEFT else "---:" for name in header]
        rows = [[_in_markdown(cell) for cell in line] for line in (header, *lines)]
        rows.insert(1, rule)
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"{_in_markdown(_caption(section))}\n\n{table}\n")
    return _MARKDOWN + "\n" + "\n".join(parts)


def _latex(board: Board) -> str:
    parts = []
    for section in board.sections:
        header, *lines = _grid(section)
        rows = [" & ".join(map(_in_latex, line)) + r" \\" for line in (header, *lines)]
        rows.insert(1, r"\hline")
        begin = rf"\begin{{tabular}}{{{''.join('l' if name in _LEFT else 'r' for name in header)}}}"
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_in_latex(_caption(section))}}}",
                    begin,
                    *rows,
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return _LATEX + "\n\n".join(parts) + "\n"


FORMATS: dict[str, Format] = {
    "csv": Format(_csv),
    "markdown": Format(_markdown, _MARKDOWN),
    "latex": Format(_latex, _LATEX),
}
"""Forms of a leaderboard, by name."""


def _grid(section: tuple[Row, ...]) -> list[list[str]]:
    """Header and lines: rank, model, and the columns that some row of the section fills."""
    sides = sorted(set(sides_of([name for row in section for name in row])))
    figures = [*(figure.column for figure in FIGURES), *map(side_column, sides)]
    figures = [name for name in figures if any(name in row for row in section)]
    about = [name for name in _ABOUT if any(name in row for row in section)]
    treated = ["treatment"] if any("treatment" in row for row in section) else []
    lines = [
        [str(row.get("rank") or ""), _named(row, section), *(row.get(name, "") for name in treated)]
        + [_interval(row, name) for name in figures]
        + [_ABOUT[name](row[name]) if name in row else "" for name in about]
        for row in section
    ]
    return [["rank", "model", *treated, *figures, *about], *lines]


def _named(row: Row, section: tuple[Row, ...]) -> str:
    """The model, with the beginning of its weights' fingerprint where others of its name have other weights."""
    name, weights = str(row["model"]), row.get("weights_sha")
    others = {one.get("weights_sha") for one in section if one["model"] == name}
    return f"{name} ({weights[:_SHA]})" if weights and len(others) > 1 else name


def _interval(row: Row, name: str) -> str:
    if name not in row:
        return ""
    ends = [row.get(name + end) for end in ENDS]
    return f"{row[name]:.2f}" + ("" if None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]")


def _caption(section: tuple[Row, ...]) -> str:
    first = section[0]
    # Rows of a section may have more suites than others: together they name all.
    ways = dict.fromkeys(part for row in section for part in row["protocol"].split("; "))
    images = f", {first['images']:,} images" if "images" in first else ""
    base = next((f"; baseline {row['baseline']}" for row in section if "baseline" in row), "")
    return (
        f"{first['dataset']}{images}; {first['source']}; ranked by {first['rank_by']}; percentages with 95 % intervals{base}; "
        f"{'; '.join(ways)}"
    )


_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}  # fmt: skip


def _in_latex(text: str) -> str:
    # A bracket after the end of a line would be its length.
    escaped = "".join(_SPECIAL.get(character, character) for character in text)
    return "{" + escaped + "}" if escaped.startswith(("[", "*")) else escaped


def _in_markdown(text: str) -> str:
    """Markup as text; pages show the escaped characters alone."""
    escaped = re.sub(r"([\\`*_\[\]{}|~$#!])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
