"""Leaderboard as CSV with every column, and as Markdown or LaTeX with the main columns and a table for each section."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robench.analysis.leaderboard.columns import ENDS, metric_columns
from robench.analysis.leaderboard.ranking import Board
from robench.analysis.leaderboard.rows import Row

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """A text format.

    Attributes:
        text: Writes a leaderboard.
        mark: Beginning of each file of the format, by which an existing file is recognised; empty for csv.
    """

    text: Callable[[Board], str]
    mark: str = ""


_MARKDOWN, _LATEX = "<!-- robench leaderboard -->\n", "% robench leaderboard\n"

_ABOUT: dict[str, Callable[[Any], str]] = {"param_count": "{:,.2f}".format, "img_size": str}
"""Columns with properties of the model, and their format."""

_MARK = " (!)"
"""Mark of a row with warnings, which are below the table."""

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
        warnings = "".join(f"\n- {_in_markdown(text)}" for text in _footnotes(section))
        parts.append(f"{_in_markdown(_caption(section))}\n\n{table}\n{warnings and warnings + chr(10)}")
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
                    *(rf"\par {_in_latex(text)}" for text in _footnotes(section)),
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
"""Formats by name."""


def _grid(section: tuple[Row, ...]) -> list[list[str]]:
    """Return header and lines: rank, model, and the columns that some row of the section fills."""
    filled = {name for row in section for name in row}
    metrics = [column.column for column in metric_columns(filled) if column.column in filled]
    about = [name for name in _ABOUT if name in filled]
    treated = ["treatment"] if "treatment" in filled else []
    lines = [
        [str(row.get("rank") or ""), _label(row, section), *(row.get(name, "") for name in treated)]
        + [_interval(row, name) for name in metrics]
        + [_ABOUT[name](row[name]) if name in row else "" for name in about]
        for row in section
    ]
    return [["rank", "model", *treated, *metrics, *about], *lines]


def _label(row: Row, section: tuple[Row, ...]) -> str:
    """Return the model, with the start of its weights' fingerprint if models of this name have different weights."""
    name, weights = str(row["model"]), row.get("weights_sha")
    others = {other.get("weights_sha") for other in section if other["model"] == name}
    label = f"{name} ({weights[:_SHA]})" if weights and len(others) > 1 else name
    return label + _MARK * ("warnings" in row)


def _footnotes(section: tuple[Row, ...]) -> list[str]:
    """Return the warnings of each marked row."""
    return [f"{_label(row, section)}: {row['warnings']}" for row in section if "warnings" in row]


def _interval(row: Row, name: str) -> str:
    if name not in row:
        return ""
    ends = [row.get(name + end) for end in ENDS]
    return f"{row[name]:.2f}" + ("" if None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]")


def _caption(section: tuple[Row, ...]) -> str:
    first = section[0]
    protocols = dict.fromkeys(part for row in section for part in row["protocol"].split("; "))
    images = f", {first['images']:,} images" if "images" in first else ""
    baseline = next((f"; baseline {row['baseline']}" for row in section if "baseline" in row), "")
    return (
        f"{first['dataset']}{images}; {first['source']}; ranked by {first['rank_by']}; percentages with 95 % intervals{baseline}; "
        f"{'; '.join(protocols)}"
    )


_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}  # fmt: skip


def _in_latex(text: str) -> str:
    # LaTeX reads a bracket after the end of a line as an option.
    escaped = "".join(_SPECIAL.get(character, character) for character in text)
    return "{" + escaped + "}" if escaped.startswith(("[", "*")) else escaped


def _in_markdown(text: str) -> str:
    """Escape text for Markdown."""
    escaped = re.sub(r"([\\`*_\[\]{}|~$#!])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
