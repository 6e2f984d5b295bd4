"""Example images of a run, clean and corrupted, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from robench.analysis.report.grouping import ReportedRun
from robench.analysis.report.images import Example, classes_of, name_of
from robench.analysis.scoring.records import read_columns
from robench.evaluation.recompute import as_rgb, clean_image, condition_of, frame_images, open_images
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory

__all__ = ["find_examples"]

_LOSSLESS_SIZE = 64
"""Largest side in pixels of images that are embedded without loss."""


def find_examples(
    subjects: Sequence[ReportedRun], run: RunDirectory, chosen: pd.DataFrame, *, data: str | Path | None
) -> Iterator[Example]:
    """Yield the chosen images, clean and corrupted as in the run.

    Args:
        subjects: All runs of the report, whose predictions are captions of the image.
        run: The run.
        chosen: Rows with the name of a `condition`, `sample` and `label`.
        data: The images; None for the dataset of the run.

    Raises:
        RunError: The images are missing, have changed, or cannot be corrupted again as in the run.
    """
    images, names = open_images(run, data), classes_of(run)
    conditions = {entry.name: entry for entry in run.finished()}
    for name, sample, label in chosen[["condition", "sample", "label"]].itertuples(index=False):
        entry = conditions[name]
        condition = condition_of(run, entry)
        clean = clean_image(images, condition, sample)
        corrupted = next(frame_images(images, condition, sample, run.manifest["seed"]))
        captions = (_caption(subject, run, entry, sample) for subject in subjects)
        yield Example(
            corruption=entry.corruption,
            severity=entry.severity,
            label=name_of(names, label),
            side=clean.shape[-1],
            clean=_uri(clean),
            corrupted=_uri(corrupted),
            captions=[caption for caption in captions if caption is not None],
        )


def _caption(
    subject: ReportedRun, run: RunDirectory, entry: ConditionEntry, sample: int
) -> tuple[str, str, bool] | None:
    """Return label, predicted class and correctness of a run's model on a sample; None if the run has no such sample."""
    other = subject.run
    if other is None or other.manifest["data"]["sha256"] != run.manifest["data"]["sha256"]:
        return None
    same = [
        candidate
        for candidate in other.finished()
        if (candidate.name, candidate.protocol) == (entry.name, entry.protocol)
    ]
    if not same or other.manifest["seed"] != run.manifest["seed"]:
        return None
    records = read_columns(other, same[0], ("sample", "label", "pred", "confidence"))
    row = records[records["sample"] == sample].iloc[0]
    if row["pred"] < 0:
        return subject.label, "no prediction", False
    name = name_of(classes_of(other), int(row["pred"]))
    return (
        subject.label,
        f"{name} ({100 * row['confidence']:.0f}\N{NO-BREAK SPACE}%)",
        bool(row["pred"] == row["label"]),
    )


def _uri(pixels: NDArray[np.uint8]) -> str:
    """Return (bands, h, w) uint8 pixels as a `data:` URI."""
    image = Image.fromarray(as_rgb(pixels))
    file = io.BytesIO()
    kind = "png" if max(image.size) <= _LOSSLESS_SIZE else "jpeg"
    image.save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
