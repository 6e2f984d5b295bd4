"""What the records themselves say against a run: labels in another order, accuracy as by guessing, logits that are no numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robench.analysis.metrics.intervals import wilson_interval
from robench.analysis.scoring.records import read_columns
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN
from robench.types import Ints, Results

__all__ = ["Permutation", "check_clean_records", "find_permutation", "nonfinite_notes"]

_ERROR = 1e-9
"""Chance, in a sign test, of the records that only the other order has right, if it is no better than the given one."""
_RATIO = 2
"""How many records only the other order must have right for one that only the given has: confused classes come near 1."""
_CHANCE = 1.5
"""How many times the accuracy of guessing still looks like it: of a few images an interval alone reaches down to it."""
_NAMED = 3
_CLASSES = 4000
"""Most classes of which an order is looked for: its cost grows with their square."""


@dataclass(frozen=True)
class Permutation:
    """Another order of the classes, under which predictions fit the labels better.

    accuracy: under the order as given.  permuted: under the other one, on images that it was not found on.
    label_of: (k,) the dataset's class that output number i of the model stands for.
    """

    accuracy: float
    permuted: float
    label_of: Ints


def find_permutation(label: Ints, pred: Ints, classes: int) -> Permutation | None:
    """Return the order of `classes` that fits `pred` (n,) to `label` (n,) best, None unless it fits clearly better.

    It is found on one half of the images of every class and measured on the other, and the other way round: an order that only
    follows chance does no better than the given one. An order is thus tested once, on records that had no part in its choice.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binom

    if classes > _CLASSES:
        return None
    known = pred >= 0
    half = np.zeros(len(label), np.int64)
    for one in np.unique(label):
        half[label == one] = np.arange(np.count_nonzero(label == one)) % 2
    confusion = np.zeros((2, classes, classes), np.int64)
    np.add.at(confusion, (half[known], pred[known], label[known]), 1)
    stays = np.eye(classes, dtype=np.int64)  # of orders that fit equally well, the one that moves the fewest classes

    def best(counts: Ints) -> Ints:
        found: Ints = linear_sum_assignment(counts * (classes + 1) + stays, maximize=True)[1]
        return found

    outputs = np.arange(classes)
    gained = lost = 0
    for seen, other in ((0, 1), (1, 0)):
        labels = best(confusion[seen])
        moved = labels != outputs
        gained += int(confusion[other][outputs, labels][moved].sum())
        lost += int(np.diagonal(confusion[other])[moved].sum())
    if gained < _RATIO * lost or binom.sf(gained - 1, gained + lost, 0.5) > _ERROR:
        return None
    right = int((pred == label).sum())
    return Permutation(right / len(label), (right + gained - lost) / len(label), best(confusion.sum(axis=0)))


def check_clean_records(run: RunDirectory) -> tuple[list[str], Permutation | None]:
    """Say in one line each what the finished clean images show to be wrong, and the order of the classes if it is that."""
    clean = next((one for one in run.finished() if one.suite == CLEAN), None)
    if clean is None:
        return [], None
    records = read_columns(run, clean, ("label", "pred"))
    label, pred = (records[name].to_numpy().astype(np.int64) for name in ("label", "pred"))
    names = run.manifest["data"].get("classes", [])
    classes = max(len(names), int(label.max()) + 1, int(pred.max()) + 1)
    found = find_permutation(label, pred, classes)
    if found is not None:
        return [_permuted(found, names)], found
    right = int((pred == label).sum())
    low, high = wilson_interval(right, len(label))
    # Clearly below chance is no guessing: ImageNet-A's images were chosen for being mistaken.
    if low <= 1 / classes <= high and right / len(label) <= _CHANCE / classes:
        return [
            f"accuracy on clean images is {100 * right / len(label):.1f} %, as by guessing among {classes} classes: check the "
            "order of the classes (--class-map), the model's input (--mean, --std, --crop) and its architecture (--arch)"
        ], None
    return [], None


def _permuted(found: Permutation, names: list[str]) -> str:
    moved = [output for output, label in enumerate(found.label_of.tolist()) if output != label]
    examples = ", ".join(
        f"output {output} is {names[label] if label < len(names) else label}"
        for output, label in ((output, int(found.label_of[output])) for output in moved[:_NAMED])
    )
    return (
        f"the labels look permuted: accuracy is {100 * found.accuracy:.1f} % as they are, {100 * found.permuted:.1f} % in another "
        f"order of the classes ({examples}, …): give --class-map FILE with the classes in the model's order"
    )


def nonfinite_notes(results: Results) -> list[str]:
    """Say where logits were not finite; such images are in every figure as errors."""
    rows = results[results["metric"] == "nonfinite_rate"]
    return [
        f"{100 * row['value']:.3g} % of the outputs of {row['model']} under {row['suite']} {row['corruption']} {row['severity']} "
        "are not finite: they count as errors"
        for row in rows.head(_NAMED).to_dict("records")
    ] + (
        [f"and so in {len(rows) - _NAMED} more conditions: nonfinite_rate in the results"] if len(rows) > _NAMED else []
    )
