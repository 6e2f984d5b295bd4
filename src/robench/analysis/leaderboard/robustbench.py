"""RobustBench's JSON, one model a file: clean and corruption accuracy on the released CIFAR-C and ImageNet-C."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from robench.analysis.leaderboard.rows import Row, percent
from robench.errors import TableError
from robench.runs.schema import SCHEMA_VERSION

__all__ = ["robustbench_rows"]

_SUITES = {"cifar10": "cifar-c", "cifar100": "cifar-c", "imagenet": "imagenet-c"}
"""Suite of each of its datasets."""

_ACCURACY = ("corruptions_acc", "corruptions_acc_2d")
_MCE = ("corruptions_mce", "corruptions_mce_2d")
"""Older and newer keys. Those that end in 3d are of other corruptions, which robench does not have."""


def robustbench_rows(path: Path, text: str) -> list[Row]:
    """The row of such a file; the model is called as the file, for `name` is its paper's title.

    Raises TableError for other JSON, and for the files of adversarial threat models, which have no corruption accuracy.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("dataset") not in tuple(_SUITES):
        raise TableError(f"{path} is not RobustBench's JSON of a model on {', '.join(_SUITES)}")
    accuracy = _figure(path, content, _ACCURACY)
    if accuracy is None:
        raise TableError(f"{path} has no {_ACCURACY[0]}: only RobustBench's files of corruptions have a place here")
    suite = _SUITES[content["dataset"]]
    row: Row = {
        "model": path.stem,
        "mean_error": percent(accuracy, complement=True),
        "dataset": content["dataset"],
        "source": "robustbench",
        "protocol": f"{suite} robustbench",
        "schema": SCHEMA_VERSION,
    }
    clean, mce = _figure(path, content, ("clean_acc",)), _figure(path, content, _MCE)
    if clean is not None:
        row |= {"top1": clean, "top1_err": percent(clean, complement=True)}
        row["protocol"] = f"clean robustbench; {row['protocol']}"
    if mce is not None:
        row |= {"mce": mce, "baseline": "alexnet"}
    return [row]


def _figure(path: Path, content: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    """The first of some figures that is there, in percent: as text it is one, as a number up to 1 it is a fraction."""
    found = next((content[key] for key in keys if content.get(key) not in (None, "")), None)
    if found is None:
        return None
    try:
        if isinstance(found, bool) or not isinstance(found, str | float | int):
            raise TypeError(f"{type(found).__name__} is not a number")
        value = float(found)
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite")
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{path}: {keys[0]}: {error}") from error
    return percent(100 * value if not isinstance(found, str) and value <= 1 else value)
