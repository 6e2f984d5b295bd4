"""Most frequent confusions of classes for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from robench.analysis.report.class_names import class_names
from robench.analysis.report.grouping import ReportedRun
from robench.analysis.report.sections import TextTable
from robench.analysis.scoring.confusion import confusions
from robench.errors import RobenchError
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN

__all__ = ["Example", "ExampleFinder", "Gallery", "classes_of", "gallery", "name_of"]

_LISTED = 12
"""Number of confusions in the table."""


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


ExampleFinder: TypeAlias = Callable[
    [Sequence[ReportedRun], RunDirectory, str, Sequence[Mapping[str, Any]]], Iterator[Example]
]
"""Takes all runs of the page, a run, a suite, and rows with `label` and `pred`; yields at most one image for each row."""


@dataclass(frozen=True)
class Gallery:
    """Confusions of one model under one suite.

    Attributes:
        model: Label of the model.
        suite: Name of the suite.
        confusions: Table of the confusions.
        examples: Images of the first confusions.
        note: Reason for missing images; empty otherwise.
    """

    model: str
    suite: str
    confusions: TextTable
    examples: Sequence[Example]
    note: str = ""


def gallery(subjects: Sequence[ReportedRun], examples: ExampleFinder | None) -> Iterator[Gallery]:
    """Yield the confusions of each run under each suite of corruptions.

    Args:
        subjects: The runs of the page.
        examples: Finds images of the most frequent confusions; None for none. Its RobenchError becomes a note.
    """
    for subject in subjects:
        run = subject.run
        if run is None:
            continue
        suites = [name for name in dict.fromkeys(condition.suite for condition in run.finished()) if name != CLEAN]
        for suite in suites:
            pairs = confusions(run, suite)
            if not len(pairs):
                continue
            names = classes_of(run)
            rows = [
                [
                    name_of(names, row["label"]),
                    name_of(names, row["pred"]),
                    f"{row['count']:,}",
                    f"{100 * row['share']:.1f} %",
                ]
                for row in pairs.head(_LISTED).to_dict("records")
            ]
            table = TextTable(("label", "predicted as", "predictions", "share of class"), rows, 2)
            try:
                classes = pairs[["label", "pred"]].to_dict("records")
                images, note = list(examples(subjects, run, suite, classes)) if examples else [], ""
            except RobenchError as error:
                images, note = [], f"no images: {error}"
            yield Gallery(subject.label, suite, table, images, note)


def classes_of(run: RunDirectory) -> list[str]:
    """Return the names of a run's classes, ImageNet's in words."""
    return class_names(run.manifest["data"].get("classes", []))


def name_of(classes: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number where the run has no name for it."""
    return classes[index] if index < len(classes) else f"class {index}"
