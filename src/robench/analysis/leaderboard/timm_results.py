"""timm's result files, such as results-imagenet.csv, and those of its validate.py: accuracies in the models' own geometry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.analysis.leaderboard.rows import Row, percent
from robench.errors import TableError
from robench.runs.csv import parse_number
from robench.runs.schema import SCHEMA_VERSION

__all__ = ["is_timm", "timm_rows"]

_NUMBERS = ("top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct")

_LARGEST = 10_000
"""Millions of parameters that no model has; a larger param_count is not in millions."""


def is_timm(names: Iterable[str]) -> bool:
    """Return whether columns are those of a result file of timm: the model and its accuracy, in any order."""
    known = set(names)
    return "model" in known and not known.isdisjoint(("top1", "top1_err"))


def timm_rows(path: Path, lines: Sequence[tuple[str, Mapping[str, Any]]], *, thousands: bool = True) -> list[Row]:
    """Return the rows of a file; the dataset is part of the file name.

    Args:
        path: The file, named `results-DATASET.csv`.
        lines: Place of each row in the file, and its cells by column.
        thousands: Whether a comma before three digits separates thousands.

    Raises:
        TableError: A cell is not a number, or a row has no accuracy.
    """
    common = {
        "dataset": path.stem.removeprefix("results-"),
        "source": "timm",
        "protocol": "clean timm",
        "schema": SCHEMA_VERSION,
    }
    return [_row(place, cells, thousands) | common for place, cells in lines]


def _row(place: str, cells: Mapping[str, Any], thousands: bool) -> Row:
    stated = {
        "crop_pct" if name == "cropt_pct" else name: str(cell).strip()
        for name, cell in cells.items()
        if cell is not None
    }
    row: Row = {name: stated.get(name) or None for name in ("model", "interpolation")}
    for name in _NUMBERS:
        if cell := stated.get(name):
            try:
                row[name] = parse_number(cell, thousands=thousands)
            except ValueError:
                raise TableError(f"{place}: {name} is {cell!r}, not a number", "correct the cell") from None
    for name in ("top1", "top5"):
        value, error = row.get(name), row.get(f"{name}_err")
        if value is None and error is not None:
            row[name] = percent(error, complement=True)
        elif value is not None and error is None:
            row[f"{name}_err"] = percent(value, complement=True)
    if "top1" not in row:
        raise TableError(f"{place} has no top1 of {row['model']}", "leave the row out")
    if (count := row.get("param_count")) is not None and count >= _LARGEST:
        row["param_count"] = count / 1e6
    size = row.get("img_size")
    if size is not None and not float(size).is_integer():
        raise TableError(f"{place}: img_size is {stated['img_size']!r}, not a whole number", "correct the cell")
    return row if size is None else row | {"img_size": int(size)}
