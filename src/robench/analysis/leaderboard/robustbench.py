"""RobustBench's JSON files, each with one model's accuracy on clean images and on the released CIFAR-C or ImageNet-C."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from robench.analysis.leaderboard.rows import Row, percent
from robench.errors import TableError
from robench.runs.schema import SCHEMA_VERSION

__all__ = ["robustbench_rows"]

_SUITES = {"cifar10": "cifar-c", "cifar100": "cifar-c", "imagenet": "imagenet-c"}
"""Suite of each dataset of RobustBench."""

_ACCURACY = ("corruptions_acc", "corruptions_acc_2d")
_MCE = ("corruptions_mce", "corruptions_mce_2d")
"""Older and newer keys. Keys that end in 3d belong to corruptions that robench does not have."""


def robustbench_rows(path: Path, content: Any) -> list[Row]:
    """Return the row of a file. The file name becomes the model's label, because `name` is the title of a paper.

    Raises:
        TableError: The JSON is of another kind, or belongs to an adversarial threat model and has no corruption accuracy.
    """
    dataset = str(content.get("dataset")).lower().replace("-", "") if isinstance(content, dict) else None
    if dataset not in _SUITES:
        raise TableError(
            f"{path} is not RobustBench's JSON of a model for {', '.join(_SUITES)}",
            "name one of these, or timm's JSON, whose rows have a model and its top1",
        )
    accuracy = _percentage(path, content, _ACCURACY)
    if accuracy is None:
        raise TableError(f"{path} has no {_ACCURACY[0]}", "name a file of RobustBench's threat model corruptions")
    suite = _SUITES[dataset]
    row: Row = {
        "model": path.stem,
        "mean_error": percent(accuracy, complement=True),
        "dataset": dataset,
        "source": "robustbench",
        "protocol": f"{suite} robustbench",
        "schema": SCHEMA_VERSION,
    }
    clean, mce = _percentage(path, content, ("clean_acc",)), _percentage(path, content, _MCE)
    if clean is not None:
        row |= {"top1": clean, "top1_err": percent(clean, complement=True)}
        row["protocol"] = f"clean robustbench; {row['protocol']}"
    if mce is not None:
        row |= {"mce": mce, "baseline": "alexnet"}
    return [row]


def _percentage(path: Path, content: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    """Return the first value under the keys in percent. A text is a percentage; a number of at most 1 is a fraction."""
    stated = next((content[key] for key in keys if content.get(key) not in (None, "")), None)
    if stated is None:
        return None
    try:
        if isinstance(stated, bool) or not isinstance(stated, str | float | int):
            raise TypeError(f"{type(stated).__name__} is not a number")
        value = float(stated.strip().removesuffix("%") if isinstance(stated, str) else stated)
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite")
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{path}: {keys[0]}: {error}", "correct the number, or leave the file out") from error
    return percent(100 * value if not isinstance(stated, str) and value <= 1 else value)
