"""Write the published results around a run, `src/robench/analysis/field/*.csv`, from the repositories that published them.

    git clone https://github.com/RobustBench/robustbench && git -C robustbench checkout 78fcc9e4
    git clone https://github.com/modestyachts/imagenet-testbed && git -C imagenet-testbed checkout 0170eec6
    python scripts/make_field.py robustbench imagenet-testbed

The script carries over numbers only. It also prints the table of docs/measurements.md on JPEG and a second resize.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from robench.analysis.field import ROBUSTBENCH, SHIFTS, published_models
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
    """Yield rows of Markdown by corruption: errors in memory and on the released files, of all models and of those of both sources.

    RobustBench does not resize the released files, the testbed does. Seven models are in both, so that their errors separate the cost
    of JPEG (RobustBench minus in memory) from that of the second resize (testbed minus RobustBench).
    """
    names = [name for name in (*CORRUPTIONS, *EXTRA) if f"imagenet-c.{name}.1_in-memory" in published]
    errors = 100 - published.dropna(subset=[*_columns(CORRUPTIONS, "on-disk"), *_columns(names, "in-memory")])
    once = {model.model: model for model in published_models("imagenet-c") if model.source == ROBUSTBENCH}
    names.sort(key=lambda name: [*CATEGORIES, "extra"].index("extra" if name in EXTRA else category_of(name)))
    for name in names:
        memory, disk = (errors[_columns([name], kind)].mean(axis=1) for kind in ("in-memory", "on-disk"))
        low, high = (disk - memory).quantile([0.05, 0.95])
        cells = [f"`{name}`", f"{memory.mean():.1f}", f"{disk.mean():.1f}"]
        cells += [f"{(disk - memory).mean():+.1f}", f"{low:+.1f} to {high:+.1f}"]
        if name in CORRUPTIONS:
            same = [
                (100 * once[ours].mean_error((name, s) for s in SEVERITIES), theirs) for ours, theirs in _SAME.items()
            ]
            cells += [f"{fmean(value - memory[model] for value, model in same):+.1f}"]
            cells += [f"{fmean(disk[model] - value for value, model in same):+.1f}"]
        else:
            cells += ["", ""]
        yield f"| {' | '.join(cells)} |"


_SAME = {
    "AlexNet": "alexnet",
    "Standard_R50": "resnet50",
    "Hendrycks2020AugMix": "resnet50_augmix",
    "Hendrycks2020Many": "resnet50_deepaugment_augmix",
    "Geirhos2018_SIN": "resnet50_trained_on_SIN",
    "Geirhos2018_SIN_IN": "resnet50_trained_on_SIN_and_IN",
    "Geirhos2018_SIN_IN_IN": "resnet50_trained_on_SIN_and_IN_then_finetuned_on_IN",
}
"""Names of the same weights at RobustBench and in the testbed."""


def _columns(names: Sequence[str], kind: str) -> list[str]:
    return [f"imagenet-c.{name}.{severity}_{kind}" for name in names for severity in SEVERITIES]


if __name__ == "__main__":
    main()
