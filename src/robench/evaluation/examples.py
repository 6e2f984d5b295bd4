"""Example images of a run, clean and corrupted, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from robench.analysis.report.grouping import ReportedRun
from robench.analysis.report.images import Example, classes_of, name_of
from robench.analysis.scoring.records import read_columns
from robench.datasets import EMBEDDED, ImageDataset, decode_few, open_dataset
from robench.errors import RunError
from robench.evaluation.protocol import protocol
from robench.models import Preprocessing
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import Condition, find_suite
from robench.transforms.apply import condition_images

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
    images, names = _open(run, data), classes_of(run)
    conditions = {entry.name: entry for entry in run.finished()}
    for name, sample, label in chosen[["condition", "sample", "label"]].itertuples(index=False):
        entry = conditions[name]
        condition = _condition(run, entry)
        clean = decode_few(images, np.array([sample]), condition.geometry)
        corrupted = condition_images(torch.from_numpy(clean), condition, torch.tensor([sample]), run.manifest["seed"])
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


def _open(run: RunDirectory, data: str | Path | None) -> ImageDataset:
    """Open the dataset of a run and check that it has not changed."""
    known = run.manifest["data"]
    path = data if data is not None else known.get("root") or known["name"]
    if data is None and known.get("root") is None and known["name"] not in EMBEDDED:
        raise RunError("the run does not record the path of its images", "give --data")
    images, samples = open_dataset(path), run.read_samples()
    if len(images) != known.get("total_samples", len(images)) or any(
        images.paths[index] != name for index, name in zip(samples["index"], samples["path"], strict=True)
    ):
        raise RunError(f"{path} has other images than the run evaluated", "give their path with --data")
    return images


def _condition(run: RunDirectory, entry: ConditionEntry) -> Condition:
    """Return the condition as it was evaluated, identified by its protocol."""
    suite, options = find_suite(entry.suite), run.manifest["options"]
    preprocessing: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in run.manifest["model"]["preprocessing"].items()
    }
    backend, precision = options.get("backend", "torch"), options.get("precision", "fp32")
    for geometry in (suite.geometry, Preprocessing(**preprocessing).geometry()):
        for jpeg in dict.fromkeys((suite.release_jpeg, None)):
            if geometry is not None:
                condition = Condition(
                    suite.name, entry.corruption, entry.severity, geometry, suite.constants, jpeg, backend
                )
                if str(protocol(condition, precision)) == entry.protocol:
                    return condition
    raise RunError(f"{entry.name} was evaluated from released files or by another robench version", "give --examples 0")


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
    return subject.label, f"{name} ({100 * row['confidence']:.0f} %)", bool(row["pred"] == row["label"])


def _uri(pixels: Any) -> str:
    """Return (1, 3, h, w) uint8 pixels as a `data:` URI."""
    image = Image.fromarray(np.asarray(pixels)[0].transpose(1, 2, 0))
    file = io.BytesIO()
    kind = "png" if max(image.size) <= _LOSSLESS_SIZE else "jpeg"
    image.save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
