"""Leaderboard as CSV with every column, and as Markdown or LaTeX for people."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from robench.analysis.leaderboard.grids import Cell, Grid, grids
from robench.analysis.leaderboard.ranking import Board, model_key
from robench.suites import find_suite

__all__ = ["CORRUPTIONS_HEADER", "FORMATS", "Format", "cell_text"]


@dataclass(frozen=True)
class Format:
    """A text format.

    Attributes:
        text: Writes a leaderboard; the second argument is one of `INTERVALS`.
        mark: Beginning of each file of the format, by which an existing file is recognised; empty for csv.
    """

    text: Callable[[Board, str], str]
    mark: str = ""


_MARKDOWN, _LATEX = "<!-- robench leaderboard -->\n", "% robench leaderboard\n"

CORRUPTIONS_HEADER = "rank,model,treatment,dataset,images,source,suite,"
"""Beginning of a CSV file with a column for each corruption."""


def _csv(board: Board, _: str) -> str:
    if not board.errors:
        text: str = board.frame.to_csv(index=False, lineterminator="\n")
        return text
    rows = []
    for row in board.rows:
        errors = board.errors[model_key(row)]
        about = {name: row.get(name) for name in CORRUPTIONS_HEADER.strip(",").split(",") if name != "suite"}
        prefix = find_suite(errors["suite"]).prefix
        means = {name: row.get(prefix + name) for name in ("mean_error", "mce")}
        by_name = errors["error"] | {f"{name}_ce": value for name, value in errors["ce"].items()}
        rows.append({**about, "suite": errors["suite"], "clean_error": row.get("top1_err"), **means, **by_name})
    table = pd.DataFrame(rows).astype({"rank": "Int64", "images": "Int64"})
    file = io.StringIO()
    table.to_csv(file, index=False, lineterminator="\n")
    return file.getvalue()


def cell_text(cell: Cell, intervals: str, plus_minus: str = "±") -> str:
    """Return a cell as text with its interval in one of the forms `INTERVALS`."""
    if math.isnan(cell.value):
        return cell.text
    text = cell.number
    if cell.ends is None or intervals == "none":
        return text
    low, high = cell.ends
    places = f".{cell.decimals}f"
    if intervals == "brackets":
        return f"{text} [{low:{places}}, {high:{places}}]"
    return f"{text} {plus_minus} {(high - low) / 2:{places}}"


def _markdown(board: Board, intervals: str) -> str:
    parts = []
    for grid in grids(board):
        header = [_in_markdown(f"{column.group} {column.heading}".strip()) for column in grid.columns]
        rule = ["---" if column.is_text else "---:" for column in grid.columns]
        rows = [[_bold_markdown(cell, intervals) for cell in row] for row in grid.rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
        protocols = _in_markdown("; ".join(grid.protocols))
        warnings = "".join(f"\n- {_in_markdown(text)}" for text in grid.warnings)
        notes = "".join(f"\n{_in_markdown(text)}\n" for text in grid.notes)
        parts.append(
            f"{_in_markdown(grid.caption)}\n\n{table}\n{warnings and warnings + chr(10)}{notes}\n<sub>{protocols}</sub>\n"
        )
    return _MARKDOWN + "\n" + "\n".join(parts)


def _bold_markdown(cell: Cell, intervals: str) -> str:
    text = _in_markdown(cell_text(cell, intervals))
    if cell.is_own:
        return f"**{text}**"
    return text.replace(cell.number, f"**{cell.number}**", 1) if cell.is_best else text


def _latex(board: Board, intervals: str) -> str:
    return (
        _LATEX
        + "% needs \\usepackage{booktabs}\n"
        + "\n\n".join(_latex_table(grid, intervals) for grid in grids(board))
        + "\n"
    )


def _latex_table(grid: Grid, intervals: str) -> str:
    lines = [
        *(f"% {protocol}" for protocol in grid.protocols),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_in_latex(grid.caption)}}}",
        rf"\label{{{grid.label}}}",
        rf"\begin{{tabular}}{{{''.join('l' if column.is_text else 'r' for column in grid.columns)}}}",
        r"\toprule",
    ]
    if any(column.group for column in grid.columns):
        spans, rules, start = [], [], 1
        for group, columns in groupby(column.group for column in grid.columns):
            width = len(list(columns))
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{group}}}" if group else " & ".join([""] * width))
            rules += [rf"\cmidrule(lr){{{start}-{start + width - 1}}}"] if group else []
            start += width
        lines += [" & ".join(spans) + r" \\", "".join(rules)]
    lines += [" & ".join(_in_latex(column.heading) for column in grid.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(_bold_latex(cell, intervals) for cell in row) + r" \\" for row in grid.rows]
    warnings = (rf"\par {_in_latex(text)}" for text in (*grid.warnings, *grid.notes))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *warnings, r"\end{table}"])


def _bold_latex(cell: Cell, intervals: str) -> str:
    if math.isnan(cell.value):
        return rf"\textbf{{{_in_latex(cell.text)}}}" if cell.is_own else _in_latex(cell.text)
    text = cell_text(cell, intervals, r"$\pm$")
    return text.replace(cell.number, rf"\textbf{{{cell.number}}}", 1) if cell.is_best else text


FORMATS: dict[str, Format] = {
    "csv": Format(_csv),
    "markdown": Format(_markdown, _MARKDOWN),
    "latex": Format(_latex, _LATEX),
}
"""Formats by name; the CLI adds `table`."""


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
