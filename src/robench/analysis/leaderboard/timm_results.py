"""timm's result files (results-imagenet.csv and its siblings): accuracies of published weights in the models' own geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robench.analysis.leaderboard.rows import Row
from robench.errors import TableError
from robench.runs.schema import SCHEMA_VERSION

__all__ = ["COLUMNS", "timm_rows"]

COLUMNS = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size")
"""What their header begins with; crop_pct (cropt_pct in old ones), interpolation and differences to others follow."""

_NUMBERS = ("top1", "top1_err", "top5", "top5_err", "param_count", "crop_pct")


def timm_rows(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[Row]:
    """Rows of such a file; TableError for cells that are no numbers. The dataset is what the file is called after."""
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
            # Thousands are separated in param_count, which is in millions.
            row |= {name: float(cells[name].replace(",", "")) for name in _NUMBERS if cells.get(name)}
            row["img_size"] = int(cells["img_size"])
        except ValueError as error:
            raise TableError(f"{path}, line {number}: {error}") from error
        rows.append(row | common)
    return rows
