"""Sanity checks on records: permuted labels, chance-level accuracy, non-finite logits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from robench.analysis.metrics.intervals import wilson_interval
from robench.analysis.scoring.records import read_columns
from robench.runs.directory import RunDirectory
from robench.runs.files import translate_os_errors
from robench.suites import CLEAN
from robench.types import Ints, Results

__all__ = ["Permutation", "clean_warnings", "few_image_notes", "find_permutation", "nonfinite_warnings"]

_ERROR = 1e-9
"""Largest p-value of a sign test that another order of the classes is no better than the given order."""

_RATIO = 2
"""Least ratio of records that only the other order classifies correctly to those that only the given order does.

Classes that a model confuses have a ratio near 1.
"""

_CHANCE = 1.5
"""Largest accuracy, as a multiple of chance, that looks like guessing. With few images, the interval alone reaches chance."""

_NAMED = 3

_SUGGESTED = "class_map.suggested.txt"

_RAISED = 0.75
"""Part of a basic interval below its value from which on few images raise the value; it is one half without a bias."""

_CLASSES = 4000
"""Most classes for a search for another order. Its cost grows with their square."""


@dataclass(frozen=True)
class Permutation:
    """Another order of the classes, with which predictions fit the labels better.

    Attributes:
        accuracy: Accuracy with the given order.
        permuted: Accuracy with the other order, on images that had no part in the choice of it.
        label_of: Class of the dataset for each output of the model, (k,).
    """

    accuracy: float
    permuted: float
    label_of: Ints


def find_permutation(label: Ints, pred: Ints, classes: int) -> Permutation | None:
    """Find the order of the classes that fits predictions to labels best.

    Each half of the images of every class chooses an order, which the other half measures. An order that only follows chance is no
    better than the given one there.

    Args:
        label: True classes, (n,).
        pred: Predicted classes, (n,); negative for none.
        classes: Number of classes.

    Returns:
        The order, or None unless it fits clearly better than the given one.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.special import bdtrc

    if classes > _CLASSES:
        return None
    known = pred >= 0
    half = np.zeros(len(label), np.int64)
    for value in np.unique(label):
        half[label == value] = np.arange(np.count_nonzero(label == value)) % 2
    confusion = np.zeros((2, classes, classes), np.int64)
    np.add.at(confusion, (half[known], pred[known], label[known]), 1)
    identity = np.eye(classes, dtype=np.int64)  # Of orders that fit equally well, prefer that with the fewest changes.

    def best(counts: Ints) -> Ints:
        labels: Ints = linear_sum_assignment(counts * (classes + 1) + identity, maximize=True)[1]
        return labels

    outputs = np.arange(classes)
    gained = lost = 0
    for chosen, other in ((0, 1), (1, 0)):
        labels = best(confusion[chosen])
        changed = labels != outputs
        gained += int(confusion[other][outputs, labels][changed].sum())
        lost += int(np.diagonal(confusion[other])[changed].sum())
    if gained < _RATIO * lost or bdtrc(gained - 1, gained + lost, 0.5) > _ERROR:
        return None
    right = int((pred == label).sum())
    return Permutation(right / len(label), (right + gained - lost) / len(label), best(confusion.sum(axis=0)))


def clean_warnings(run: RunDirectory) -> list[str]:
    """Return one line for each likely mistake that the first finished clean condition shows.

    If the labels look permuted, the better order of the classes is written to class_map.suggested.txt in the run directory.
    """
    clean = next((condition for condition in run.finished() if condition.suite == CLEAN), None)
    if clean is None:
        return []
    records = read_columns(run, clean, ("label", "pred"))
    label, pred = (records[name].to_numpy().astype(np.int64) for name in ("label", "pred"))
    names = run.manifest["data"].get("classes", [])
    classes = max(len(names), int(label.max()) + 1, int(pred.max()) + 1)
    permutation = find_permutation(label, pred, classes)
    if permutation is not None:
        groups = run.manifest["data"].get("outputs") or []
        groups = groups if len(groups) == classes else [[output] for output in range(classes)]
        return [_permuted(permutation, groups, names, _suggest_map(run, permutation, groups, names))]
    right = int((pred == label).sum())
    low, high = wilson_interval(right, len(label))
    # Accuracy clearly below chance is no guessing: ImageNet-A has images that were chosen because models mistake them.
    if low <= 1 / classes <= high and right / len(label) <= _CHANCE / classes:
        return [
            f"accuracy on clean images is {100 * right / len(label):.1f} %, as by guessing among {classes} classes; check the "
            "order of the classes (--class-map), the model's input (--mean, --std, --input-range, --channels, --crop) and its "
            "architecture (--arch)"
        ]
    return []


def _suggest_map(run: RunDirectory, permutation: Permutation, groups: Sequence[Sequence[int]], names: list[str]) -> str:
    """Write the order of the classes for `--class-map`, and return what to give.

    Classes without names have no file, nor those that are not all of the model's outputs.
    """
    outputs = [output for group in groups for output in group]
    if sorted(outputs) != [*range(len(names))]:
        return "--class-map FILE with the classes in the model's order"
    name_of = dict(zip(outputs, (names[label] for label in permutation.label_of), strict=True))
    with translate_os_errors(run.path):
        (run.path / _SUGGESTED).write_text("".join(f"{name_of[output]}\n" for output in range(len(names))))
    return f"--class-map {_SUGGESTED}, a file of the run directory with that order"


def _permuted(permutation: Permutation, groups: Sequence[Sequence[int]], names: list[str], hint: str) -> str:
    labels = permutation.label_of.tolist()
    changed = [(groups[place][0], label) for place, label in enumerate(labels) if place != label]
    examples = ", ".join(
        f"output {output} is {names[label] if label < len(names) else label}" for output, label in changed[:_NAMED]
    )
    return (
        f"the labels look permuted: accuracy is {100 * permutation.accuracy:.1f} % as they are, "
        f"{100 * permutation.permuted:.1f} % in another order of the classes ({examples}, …); give {hint}"
    )


def nonfinite_warnings(results: Results) -> list[str]:
    """Name conditions with logits that are not finite. Metrics count such images as errors."""
    rows = results[results["metric"] == "nonfinite_rate"]
    lines = [
        f"{100 * row['value']:.3g} % of the outputs of {row['model']} under {row['suite']} {row['corruption']} {row['severity']} "
        "are not finite and count as errors"
        for row in rows.head(_NAMED).to_dict("records")
    ]
    if len(rows) > _NAMED:
        lines.append(f"the same holds for {len(rows) - _NAMED} more conditions; see nonfinite_rate in the results")
    return lines


def few_image_notes(results: Results) -> list[str]:
    """Say that few images raise the calibration errors, if half the length of an interval or more is due to that."""
    metrics: dict[str, list[str]] = {}
    for metric in ("ece", "rms_calibration_error", "adaptive_ece"):
        rows = results[
            (results["metric"] == metric) & (results["corruption"].isna() | (results["corruption"] == CLEAN))
        ]
        raised = rows[rows["value"] - rows["ci_low"] >= _RAISED * (rows["ci_high"] - rows["ci_low"])]
        if len(raised):
            metrics.setdefault(_listed(dict.fromkeys(raised["suite"])), []).append(metric)
    return [
        f"the {_listed(names)} of {suites} {'is' if len(names) == 1 else 'are'} biased upward: on few images, even a calibrated "
        "model has a value above 0"
        for suites, names in metrics.items()
    ]


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
