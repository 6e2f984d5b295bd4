"""Write the published results around a run, `src/robench/analysis/field/*.csv`, from the repositories that published them.

    git clone https://github.com/RobustBench/robustbench && git -C robustbench checkout 78fcc9e4
    git clone https://github.com/modestyachts/imagenet-testbed && git -C imagenet-testbed checkout 0170eec6
    python scripts/make_field.py robustbench imagenet-testbed

The script carries over numbers only. It also prints the table of docs/field.md: by corruption, the errors of the testbed's models on the
released files minus those on images in memory.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.field import SHIFTS
from robench.suites import CATEGORIES, SEVERITIES, category_of
from robench.suites.imagenet_c import CORRUPTIONS, EXTRA

OUT = Path(__file__).parents[1] / "src/robench/analysis/field"

_ABOUT = ("model", "source", "licence", "protocol", "images", "clean")

_ROBUSTBENCH = {
    "imagenet-c": ("imagenet", "unaggregated_results.csv", "released-224px", 5_000),
    "imagenet-3dcc": ("imagenet", "unaggregated_results_3d.csv", "released-224px", 5_000),
    "cifar10-c": ("cifar10", "unaggregated_results.csv", "released-arrays", 10_000),
    "cifar100-c": ("cifar100", "unaggregated_results.csv", "released-arrays", 10_000),
}
"""Folder, file, protocol and number of images of each field."""

_TESTBED = "released-224px+resize256-crop224"

Row = dict[str, Any]


def main() -> None:
    """Write all tables."""
    robustbench, testbed = map(Path, sys.argv[1:])
    published = pd.read_csv(testbed / "robustness_top1s.csv").set_index("model")
    for field, (folder, file, protocol, images) in _ROBUSTBENCH.items():
        rows = [*robustbench_rows(robustbench / "model_info" / folder / "corruptions", file, protocol, images)]
        if field == "imagenet-c":
            rows += testbed_rows(published)
        write(OUT / f"{field}.csv", rows)
    write(OUT / "shifts.csv", shift_rows(published))
    for line in jpeg_cost(published):
        print(line)


def robustbench_rows(folder: Path, file: str, protocol: str, images: int) -> Iterator[Row]:
    """Yield the models of one of RobustBench's tables of accuracies, whose header is a row of corruptions and one of severities."""
    table = pd.read_csv(folder / file, header=[0, 1], index_col=0)
    # One table leaves out an underscore of two names.
    described = {file.stem.replace("_", ""): json.loads(file.read_text()) for file in folder.glob("*.json")}
    for model, accuracies in sorted(table.iterrows()):
        clean = float(described[model.replace("_", "")]["clean_acc"])
        about = {"model": model, "source": "robustbench", "licence": "MIT", "protocol": protocol, "images": images}
        errors = {f"{name}_{severity}": 100 * (1 - value) for (name, severity), value in accuracies.items()}
        yield about | {"clean": 100 - clean} | errors


def testbed_rows(published: pd.DataFrame) -> Iterator[Row]:
    """Yield the testbed's models with errors in all cells of the released ImageNet-C."""
    cells = [(name, severity) for name in (*CORRUPTIONS, *EXTRA) for severity in SEVERITIES]
    columns = [f"imagenet-c.{name}.{severity}_on-disk" for name, severity in cells]
    for model, row in sorted(published.dropna(subset=columns).to_dict("index").items()):
        errors = {
            f"{name}_{severity}": 100 - row[column] for (name, severity), column in zip(cells, columns, strict=True)
        }
        yield _testbed(model, _TESTBED) | {"images": 50_000, "clean": 100 - row["val"]} | errors


def shift_rows(published: pd.DataFrame) -> Iterator[Row]:
    """Yield the testbed's models with their errors on natural shifts, and on the validation images of the same classes."""
    columns = dict.fromkeys(column for shift in SHIFTS.values() for column in (shift.column, shift.clean))
    for model, row in sorted(published.dropna(subset=["val"]).to_dict("index").items()):
        yield _testbed(model, "resize256-crop224") | {column: 100 - row[column] for column in columns}


def _testbed(model: str, protocol: str) -> Row:
    return {"model": model, "source": "imagenet-testbed", "licence": "MIT", "protocol": protocol}


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table, with percentages of four decimals and empty cells for missing values."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    columns.sort(key=lambda name: _ABOUT.index(name) if name in _ABOUT else len(_ABOUT))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(row.get(name)) for name in columns] for row in listed)


def _text(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if value != value else f"{value:.4f}".rstrip("0").rstrip(".")


def jpeg_cost(published: pd.DataFrame) -> Iterator[str]:
    """Yield rows of Markdown: by corruption, mean errors in memory and on the released files, and quantiles of the difference."""
    both = [name for name in (*CORRUPTIONS, *EXTRA) if f"imagenet-c.{name}.1_in-memory" in published]
    needed = [*_columns(CORRUPTIONS, "on-disk"), *_columns(both, "in-memory")]
    errors = 100 - published.dropna(subset=needed)
    both.sort(key=lambda name: [*CATEGORIES, "extra"].index("extra" if name in EXTRA else category_of(name)))
    for name in both:
        memory, disk = (errors[_columns([name], kind)].mean(axis=1) for kind in ("in-memory", "on-disk"))
        low, middle, high = (disk - memory).quantile([0.05, 0.5, 0.95])
        yield (
            f"| `{name}` | {memory.mean():.1f} | {disk.mean():.1f} | {(disk - memory).mean():+.1f} | {middle:+.1f} "
            f"| {low:+.1f} to {high:+.1f} |"
        )


def _columns(names: Sequence[str], kind: str) -> list[str]:
    return [f"imagenet-c.{name}.{severity}_{kind}" for name in names for severity in SEVERITIES]


if __name__ == "__main__":
    main()
