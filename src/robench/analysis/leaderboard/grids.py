"""Tables for people: the columns that some row fills, or a column for each corruption as papers print them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robench.analysis.leaderboard.columns import ENDS, MetricColumn, metric_columns
from robench.analysis.leaderboard.ranking import Board, model_key
from robench.analysis.leaderboard.rows import Row
from robench.analysis.variants import differing
from robench.suites import CATEGORIES, OTHER_CATEGORY, category_of, find_suite
from robench.suites.protocol import SuiteProtocol

__all__ = ["COLUMNS", "INTERVALS", "Cell", "Column", "Grid", "grids"]

COLUMNS = ("metrics", "corruptions", "uncertainty")
"""Choices of columns."""

INTERVALS = ("brackets", "pm", "none")
"""Forms of an interval: its ends in brackets, half its width, or nothing."""

_SHA = 8
_MARK = " (!)"
"""Mark of a row with warnings, which are below the table."""

_HEADINGS = {
    "top1": "clean accuracy",
    "top5": "top-5 accuracy",
    "mean_error": "mean error",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "effective_robustness": "effective robustness, pp",
    "c_bar_mean_error": "C-bar mean error",
    "c_bar_mce": "C-bar mCE",
    "3dcc_2d_mean_error": "3DCC 2-D mean error",
    "3dcc_2d_mce": "3DCC 2-D mCE",
    "3dcc_2d_effective_robustness": "effective robustness, pp",
    "mean_flip_rate": "flip rate",
    "mfr": "mFR",
    "circular_consistency": "circular consistency",
    "scale_consistency": "scale consistency",
    "accuracy_auc": "noise AUC",
    "occlusion_accuracy_auc": "occlusion AUC",
    **{
        prefix + metric: words + text
        for prefix, words in (("", "clean "), ("corrupted_", "corrupted "))
        for metric, text in (("nll", "NLL, nats"), ("brier", "Brier"), ("ece", "ECE"), ("aurc", "AURC"))
    },
}
_SHORT = {
    "gaussian_noise": "Gauss.",
    "shot_noise": "Shot",
    "impulse_noise": "Impulse",
    "defocus_blur": "Defocus",
    "glass_blur": "Glass",
    "motion_blur": "Motion",
    "zoom_blur": "Zoom",
    "brightness": "Bright",
    "elastic_transform": "Elastic",
    "jpeg_compression": "JPEG",
}
"""Names of corruptions as papers shorten them; others have their own name with a capital."""

_ABOUT: dict[str, tuple[str, Callable[[Any], str]]] = {
    "param_count": ("params, M", "{:,.2f}".format),
    "img_size": ("size, px", str),
}
"""Columns with properties of the model, with their heading and format."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Its heading.
        group: Heading over neighbouring columns; empty for none.
        is_text: Whether the cells are texts instead of numbers.
        is_ranked: Whether the rows are ranked by this column.
    """

    heading: str
    group: str = ""
    is_text: bool = False
    is_ranked: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: A text; empty for a number.
        value: A number; NaN for a text or an empty cell.
        ends: Ends of its interval; None without one.
        is_best: Whether no other row of several has a better value.
        is_signed: Whether the number is a difference.
        decimals: Decimals of the number.
        is_own: Whether the text names a run among published models.
    """

    text: str = ""
    value: float = math.nan
    ends: tuple[float, float] | None = None
    is_best: bool = False
    is_signed: bool = False
    decimals: int = 1
    is_own: bool = False

    @property
    def number(self) -> str:
        """The number with its decimals."""
        return f"{self.value:{'+z' if self.is_signed else ''}.{self.decimals}f}"


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        caption: What the table shows, in a sentence or two.
        label: Short name for references.
        protocols: The protocol of each suite.
        columns: The columns.
        rows: The cells of each row.
        warnings: The warnings of each marked row.
        notes: Reservations about the rows.
    """

    caption: str
    label: str
    protocols: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def grids(board: Board) -> list[Grid]:
    """Return a table for each section of a leaderboard; the last one has the notes."""
    found = [
        _corruptions(section, board.errors) if board.errors else _metrics(section, board.columns == COLUMNS[2])
        for section in board.sections
    ]
    return [*found[:-1], replace(found[-1], notes=board.notes)]


def _metrics(section: Sequence[Row], of_uncertainty: bool) -> Grid:
    # Among published models, columns that only runs fill would take the place of the others.
    published = [row for row in section if "data_sha" not in row] if _is_mixed(section) else []
    filled = {name for row in published or section for name in row}
    ranked_by = section[0]["rank_by"]
    metrics = [
        column
        for column in metric_columns(filled)
        if column.column in filled and (column.is_headline != of_uncertainty or column.column in (ranked_by, "top1"))
    ]
    about = [] if of_uncertainty else [name for name in _ABOUT if name in filled]
    columns = [
        *_model_columns(section),
        *(Column(_heading(column), is_ranked=column.column == ranked_by) for column in metrics),
        *(Column(_ABOUT[name][0]) for name in about),
    ]
    cells = [_values([_metric_cell(row, column) for row in section], column.higher_is_better) for column in metrics]
    rows = [
        (
            *_model_cells(row, section),
            *(of_metric[index] for of_metric in cells),
            *(Cell(_ABOUT[name][1](row[name]) if name in row else "") for name in about),
        )
        for index, row in enumerate(section)
    ]
    ranked = next((_heading(column) for column in metrics if column.column == ranked_by), "clean accuracy")
    return _grid(section, columns, rows, f"in percent with 95 % intervals, ranked by {ranked}")


def _corruptions(section: Sequence[Row], errors: Mapping[tuple[str, ...], Any]) -> Grid:
    """Return the table of papers: clean error, mCE with CE if all rows have them, else errors, and each corruption."""
    of_rows = [errors[model_key(row)] for row in section]
    metric, mean = ("ce", "mce") if all(one["ce"] for one in of_rows) else ("error", "mean_error")
    suite = find_suite(of_rows[0]["suite"])
    names = [name for name in suite.names if any(name in one[metric] for one in of_rows)]
    names.sort(key=lambda name: [*CATEGORIES, OTHER_CATEGORY].index(category_of(name)))
    by_name = [_values([Cell(value=one[metric].get(name, math.nan)) for one in of_rows], False) for name in names]
    ahead = [
        _values([Cell(value=row.get("top1_err", math.nan)) for row in section], False),
        _values([Cell(value=row.get(suite.prefix + mean, math.nan)) for row in section], False),
    ]
    columns = [
        *_model_columns(section),
        Column("Clean"),
        Column("mCE" if mean == "mce" else "Mean", is_ranked=section[0]["rank_by"] == suite.prefix + mean),
        *(
            Column(_SHORT.get(name, name.capitalize().replace("_", " ")), category_of(name).capitalize())
            for name in names
        ),
    ]
    rows = [
        (*_model_cells(row, section), *(cells[index] for cells in (*ahead, *by_name)))
        for index, row in enumerate(section)
    ]
    what = (
        "Clean error, mCE and CE of each corruption"
        if mean == "mce"
        else "Clean error, mean error and error by corruption"
    )
    return _grid(section, columns, rows, f"{what} over its severities, in percent")


def _grid(section: Sequence[Row], columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], what: str) -> Grid:
    first = section[0]
    protocols = dict.fromkeys(part for row in section for part in row["protocol"].split("; "))
    subsets = [
        f"; {protocol.suite}: {protocol.subset.strip('()').partition('#')[0]}"
        for protocol in SuiteProtocol.parse_all("; ".join(protocols))
        if protocol.subset
    ]
    if _is_mixed(section):
        own = sum("data_sha" in row for row in section)
        runs = f"{own} run{'s' * (own != 1)} among " if own else ""
        images, origin = "", f", {runs}{len(section) - own} published models"
    else:
        images = f", {first['images']:,} images" if "images" in first else ""
        origin = "" if first["source"] == "computed" else f", {first['source']}"
    baseline = next((f"; baseline {row['baseline']}" for row in section if row.get("baseline")), "")
    what = f"{what[0].upper()}{what[1:]}" if what[0].isupper() else f"Robustness {what}"
    caption = f"{what}. {first['dataset']}{images}{origin}{''.join(dict.fromkeys(subsets))}{baseline}."
    warnings = tuple(f"{_label(row, section)}: {row['warnings']}" for row in section if "warnings" in row)
    label = re.sub(r"[^a-z0-9]+", "-", f"robench-{first['dataset']}".lower()).strip("-")
    return Grid(caption, f"tab:{label}", tuple(protocols), tuple(columns), tuple(rows), warnings)


def _heading(column: MetricColumn) -> str:
    if column.subset:
        return f"{column.metric.upper()} {column.subset}"
    return _HEADINGS.get(
        column.column, f"{column.resolution} px" if column.resolution else column.column.replace("_", " ")
    )


def _model_columns(section: Sequence[Row]) -> list[Column]:
    treated = [Column("treatment", is_text=True)] if any(row.get("treatment") for row in section) else []
    sources = [Column("source", is_text=True)] if _is_mixed(section) else []
    return [Column("rank"), Column("model", is_text=True), *treated, *sources]


def _is_mixed(section: Sequence[Row]) -> bool:
    """Return whether rows of several sources share a section."""
    return len({row["source"] for row in section}) > 1


def _model_cells(row: Row, section: Sequence[Row]) -> list[Cell]:
    """Return rank, model and treatment. The label of a treated model ends with its treatment, which has a column of its own."""
    treated = any(other.get("treatment") for other in section)
    mixed = _is_mixed(section)
    return [
        Cell(str(row.get("rank") or "")),
        Cell(_label(row, section), is_own=mixed and "data_sha" in row),
        *([Cell(row.get("treatment") or "")] if treated else []),
        *([Cell(row["source"])] if mixed else []),
    ]


def _label(row: Row, section: Sequence[Row]) -> str:
    """Return the model, marked if it has warnings; with its fingerprint or input if those of models of this name differ."""
    name, weights = _name(row), row.get("weights_sha")
    same = [other for other in section if (_name(other), other.get("treatment")) == (name, row.get("treatment"))]
    several = len({other.get("weights_sha") for other in same}) > 1
    parts = [weights[:_SHA]] if weights and several else []
    if own := _input(row):
        parts += filter(None, [differing([own, *filter(None, map(_input, same))])[0]])
    return name + (f" ({', '.join(parts)})" if parts else "") + _MARK * ("warnings" in row)


def _input(row: Row) -> dict[str, str]:
    """Return the settings of `model_input` by name; empty if the input of the row is unknown."""
    parts = (part.partition(" ") for part in str(row.get("model_input") or "").split("; "))
    return {name: text for name, _, text in parts if name}


def _name(row: Row) -> str:
    return str(row["model"]).removesuffix(f"+{row.get('treatment')}")


def _metric_cell(row: Row, column: MetricColumn) -> Cell:
    ends = [row.get(column.column + end) for end in ENDS]
    interval = None if ends[0] is None or ends[1] is None else (float(ends[0]), float(ends[1]))
    decimals = 1 if column.is_headline or column.is_rate else 3
    return Cell(value=row.get(column.column, math.nan), ends=interval, is_signed=column.is_signed, decimals=decimals)


def _values(cells: Sequence[Cell], higher: bool) -> list[Cell]:
    """Mark the best of several numbers, as they are printed."""
    printed = [round(cell.value, cell.decimals) for cell in cells if not math.isnan(cell.value)]
    best = (max if higher else min)(printed, default=None)
    several = len(printed) > 1
    return [replace(cell, is_best=several and round(cell.value, cell.decimals) == best) for cell in cells]
