"""Example images: where models disagree, and where a model is most confidently wrong; with the most frequent confusions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from robench.analysis.report.calibration import RECORDS
from robench.analysis.report.class_names import class_names
from robench.analysis.report.grouping import ReportedRun, comparable_groups
from robench.analysis.report.parts import TextTable
from robench.analysis.report.words import suite_words, without_folders
from robench.analysis.scoring.confusion import confusions
from robench.analysis.scoring.records import read_columns
from robench.errors import RobenchError
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, display_family
from robench.types import Floats

__all__ = [
    "Example",
    "ExampleFinder",
    "Gallery",
    "classes_of",
    "confident_errors",
    "disagreements",
    "galleries",
    "name_of",
    "varied",
]

_LISTED = 12
"""Number of confusions in the table."""
_MANY = 4
"""Number of runs above which each has fewer images."""


@dataclass(frozen=True)
class Example:
    """One image before and after corruption.

    Attributes:
        corruption: Name of the corruption.
        severity: Its severity.
        label: Name of the image's class.
        side: Side of the image in pixels.
        clean: The clean image as `data:` URI.
        corrupted: The corrupted image as `data:` URI.
        captions: Model, prediction, and whether it is right, for each model.
    """

    corruption: str
    severity: int
    label: str
    side: int
    clean: str
    corrupted: str
    captions: Sequence[tuple[str, str, bool]]


ExampleFinder: TypeAlias = Callable[[Sequence[ReportedRun], RunDirectory, pd.DataFrame], Iterator[Example]]
"""Takes all runs of the page, a run, and rows with the name of a `condition`, `sample` and `label`; yields an image for each row."""


@dataclass(frozen=True)
class Gallery:
    """Images of one kind under one suite.

    Attributes:
        title: The heading.
        examples: The images.
        confusions: Table of the confusions; None for none.
        note: Reason for missing images; empty otherwise.
    """

    title: str
    examples: Sequence[Example]
    confusions: TextTable | None = None
    note: str = ""


def galleries(subjects: Sequence[ReportedRun], finder: ExampleFinder | None, count: int) -> Iterator[Gallery]:
    """Yield for each suite of corruptions the images on which models disagree, then those of each run.

    Args:
        subjects: The runs of the page.
        finder: Makes the images; None for none. Its RobenchError becomes a note.
        count: Number of images of each gallery. Each run of more than four has fewer, with its own predictions only.
    """
    is_many = len(subjects) > _MANY
    count_each = math.ceil(count * _MANY / len(subjects)) if is_many else count
    finished = [condition for subject in subjects if subject.run for condition in subject.run.finished()]
    for suite in dict.fromkeys(condition.suite for condition in finished):
        family = display_family(suite)
        if suite == CLEAN or family.has_frames or not family.has_clean:
            continue
        for group in comparable_groups(suite, subjects):
            runs = {subject.label: subject.run for subject in group if subject.run is not None}
            disputed: list[pd.DataFrame] = []
            wrong: dict[str, list[pd.DataFrame]] = {label: [] for label in runs}
            for name, records in _records(runs, suite):
                disputed.append(disagreements(name, list(records.values()), count))
                for label, of_run in records.items():
                    wrong[label].append(confident_errors(name, of_run, count))
            seeds = {run.manifest["seed"] for run in runs.values()}
            if finder is not None and len(seeds) == 1 and len(chosen := varied(disputed, count)):
                title = f"{suite_words(suite)}: the models disagree"
                yield _gallery(title, subjects, next(iter(runs.values())), finder, chosen)
            for label, run in runs.items():
                if len(chosen := varied(wrong[label], count_each)):
                    title = f"{suite_words(suite)}: {label} is wrong with the highest confidence"
                    shown = [subject for subject in subjects if subject.label == label or not is_many]
                    yield _gallery(title, shown, run, finder, chosen, _confusions(run, suite))


def disagreements(condition: str, runs: Sequence[pd.DataFrame], count: int) -> pd.DataFrame:
    """Return the images that some models classify correctly and others not, with the highest confidence of both.

    Args:
        condition: Name of the condition.
        runs: Its records of each run, with the columns `RECORDS`.
        count: Number of images to choose from several conditions.

    Returns:
        Columns `condition`, `sample`, `label` and `score`, at most four times `count` rows.
    """
    first = runs[0]
    if any(not records["sample"].equals(first["sample"]) for records in runs[1:]):
        return _best(condition, first, np.full(len(first), -np.inf), count)
    right = np.stack([records["pred"] == records["label"] for records in runs])
    sure = np.stack([records["confidence"] for records in runs]).astype(np.float64)
    score = np.where(right, sure, -np.inf).max(axis=0) + np.where(right, -np.inf, sure).max(axis=0)
    return _best(condition, first, score, count)


def confident_errors(condition: str, records: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the images of wrong predictions with the highest confidence, as `disagreements` does."""
    wrong = (records["pred"] != records["label"]) & (records["pred"] >= 0)
    return _best(condition, records, np.where(wrong, records["confidence"], -np.inf), count)


def _best(condition: str, records: pd.DataFrame, score: Floats, count: int) -> pd.DataFrame:
    """Return the rows of a condition with the highest finite scores."""
    first = np.argsort(-score, kind="stable")[: 4 * count]
    first = first[np.isfinite(score[first])]
    return records[["sample", "label"]].iloc[first].assign(condition=condition, score=score[first])


def varied(found: Sequence[pd.DataFrame], count: int) -> pd.DataFrame:
    """Return the rows with the highest scores, each of another image, the best of each condition first."""
    rows = (
        pd.concat(found).sort_values("score", ascending=False, kind="stable") if found else pd.DataFrame({"sample": []})
    )
    rows = rows.drop_duplicates("sample")
    if len(rows) > count:
        rows = rows.iloc[rows.groupby("condition", sort=False).cumcount().argsort(kind="stable")]
    return rows.head(count)


def _records(runs: Mapping[str, RunDirectory], suite: str) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Yield the name of each condition of a suite that all runs have finished, and its records of each run."""
    finished = {label: {condition.name: condition for condition in run.finished()} for label, run in runs.items()}
    shared = [set(conditions) for conditions in finished.values()]
    for name, condition in next(iter(finished.values()), {}).items():
        if condition.suite == suite and name in set.intersection(*shared):
            yield name, {label: read_columns(run, finished[label][name], RECORDS) for label, run in runs.items()}


def _gallery(
    title: str,
    subjects: Sequence[ReportedRun],
    run: RunDirectory,
    finder: ExampleFinder | None,
    chosen: pd.DataFrame,
    table: TextTable | None = None,
) -> Gallery:
    try:
        return Gallery(title, list(finder(subjects, run, chosen)) if finder else [], table)
    except RobenchError as error:
        return Gallery(title, [], table, without_folders(f"no images: {error}"))


def _confusions(run: RunDirectory, suite: str) -> TextTable:
    names = classes_of(run)
    rows = [
        [
            name_of(names, row["label"]),
            name_of(names, row["pred"]),
            f"{row['count']:,}",
            f"{100 * row['share']:.1f} %",
        ]
        for row in confusions(run, suite).head(_LISTED).to_dict("records")
    ]
    return TextTable(("Label", "Predicted as", "Predictions", "Share of class"), rows, 2)


def classes_of(run: RunDirectory) -> list[str]:
    """Return the names of a run's classes, ImageNet's in words."""
    return class_names(run.manifest["data"].get("classes", []))


def name_of(classes: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number where the run has no name for it."""
    return classes[index] if index < len(classes) else f"class {index}"
