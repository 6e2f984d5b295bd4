"""timm's result files, such as results-imagenet.csv: accuracies of published weights in the models' own geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robench.analysis.leaderboard.rows import Row
from robench.errors import TableError
from robench.runs.schema import SCHEMA_VERSION

__all__ = ["COLUMNS", "timm_rows"]

COLUMNS = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size")
"""First columns of these files; crop_pct (cropt_pct in old files), interpolation and differences follow."""

_NUMBERS = ("top1", "top1_err", "top5", "top5_err", "param_count", "crop_pct")


def timm_rows(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[Row]:
    """Return the rows of a file; the dataset is part of the file name.

    Args:
        path: The file, named `results-DATASET.csv`.
        header: Its first line.
        lines: The other lines.

    Raises:
        TableError: A cell is not a number.
    """
    names = ["crop_pct" if name == "cropt_pct" else name for name in header]
    common = {
        "dataset": path.stem.removeprefix("results-"),
        "source": "timm",
        "protocol": "clean timm",
        "schema": SCHEMA_VERSION,
    }
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = dict(zip(names, line, strict=True))
        row: Row = {"model": cells["model"] or None, "interpolation": cells.get("interpolation") or None}
        try:
            # param_count is in millions and has separators of thousands.
            row |= {name: float(cells[name].replace(",", "")) for name in _NUMBERS if cells.get(name)}
            row["img_size"] = int(cells["img_size"])
        except ValueError as error:
            raise TableError(f"{path}, line {number}: {error}") from error
        rows.append(row | common)
    return rows
