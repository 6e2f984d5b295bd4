"""Example images of a run's confusions, clean and corrupted, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from robench.analysis.report.confusions import Example, classes_of, name_of
from robench.analysis.report.grouping import ReportedRun
from robench.analysis.scoring.confusion import confused_samples
from robench.analysis.scoring.records import read_columns
from robench.datasets import EMBEDDED, ImageDataset, decode_few, open_dataset
from robench.errors import RunError
from robench.evaluation.protocol import protocol
from robench.models import Preprocessing
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import Condition, find_suite
from robench.transforms.apply import condition_images
from robench.types import Images

__all__ = ["find_examples"]

_SMALL = 64
"""Side in pixels up to which an image is kept as it is; larger ones are compressed a little."""


def find_examples(
    subjects: Sequence[ReportedRun],
    run: RunDirectory,
    suite: str,
    pairs: Sequence[Mapping[str, Any]],
    *,
    data: str | Path | None,
    count: int,
) -> Iterator[Example]:
    """Yield one image for each of the first `count` confusions, read again from `data` or from where the run read it.

    Raises RunError where the images are gone, are others, or cannot be corrupted as the run did.
    """

    images, names = _open(run, data), classes_of(run)
    conditions = {one.name: one for one in run.finished()}
    used: set[int] = set()
    for pair in pairs[:count]:
        found = confused_samples(run, suite, pair["label"], pair["pred"])
        found = found[~found["sample"].isin(used)]
        # Those that the clean image shows to be the corruption's doing come first.
        better = found[found["was_right"].astype(bool)]
        if not len(found):
            continue
        row = (better if len(better) else found).iloc[0]
        planned, sample = conditions[row["condition"]], int(row["sample"])
        used.add(sample)
        condition = _condition(run, planned)
        clean = decode_few(images, np.array([sample]), condition.geometry)
        yield Example(
            corruption=planned.corruption,
            severity=planned.severity,
            label=name_of(names, pair["label"]),
            side=clean.shape[-1],
            clean=_uri(clean),
            corrupted=_uri(_corrupted(clean, condition, sample, run.manifest["seed"])),
            captions=[told for one in subjects if (told := _told(one, run, planned, sample)) is not None],
        )


def _open(run: RunDirectory, data: str | Path | None) -> ImageDataset:
    """The dataset of a run, if it is still the one that was evaluated."""

    known = run.manifest["data"]
    place = data if data is not None else known.get("root") or known["name"]
    if data is None and known.get("root") is None and known["name"] not in EMBEDDED:
        raise RunError("the run does not say where its images were; --data names the place")
    images = open_dataset(place)
    if len(images) != known.get("total_samples", len(images)) or any(
        images.paths[index] != path
        for index, path in zip(*(run.read_samples()[name] for name in ("index", "path")), strict=True)
    ):
        raise RunError(f"{place} holds other images than were evaluated; --data names the right place")
    return images


def _condition(run: RunDirectory, planned: ConditionEntry) -> Condition:
    """The condition as it was evaluated: the one of the suite's and the model's geometry that has its protocol."""

    suite, options = find_suite(planned.suite), run.manifest["options"]
    stated: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in run.manifest["model"]["preprocessing"].items()
    }
    for geometry in (suite.geometry, Preprocessing(**stated).geometry()):
        for jpeg in dict.fromkeys((suite.release_jpeg, None)):
            if geometry is not None:
                backend = options.get("backend", "torch")
                one = Condition(
                    suite.name, planned.corruption, planned.severity, geometry, suite.constants, jpeg, backend
                )
                if str(protocol(one, options.get("precision", "fp32"))) == planned.protocol:
                    return one
    raise RunError(f"{planned.name} was evaluated from released files, or by another robench, and is not made again")


def _corrupted(clean: Any, condition: Condition, sample: int, seed: int) -> Images:

    return condition_images(torch.from_numpy(clean), condition, torch.tensor([sample]), seed)


def _told(
    subject: ReportedRun, run: RunDirectory, planned: ConditionEntry, sample: int
) -> tuple[str, str, bool] | None:
    """What a run's model takes the same image for: label, class, whether that is right; None where it did not see it."""
    other = subject.run
    if other is None or other.manifest["data"]["sha256"] != run.manifest["data"]["sha256"]:
        return None
    same = [one for one in other.finished() if (one.name, one.protocol) == (planned.name, planned.protocol)]
    if not same or other.manifest["seed"] != run.manifest["seed"]:
        return None
    records = read_columns(other, same[0], ("sample", "label", "pred", "confidence"))
    row = records[records["sample"] == sample].iloc[0]
    if row["pred"] < 0:
        return subject.label, "no prediction", False
    named = name_of(classes_of(other), int(row["pred"]))
    return subject.label, f"{named} ({100 * row['confidence']:.0f} %)", bool(row["pred"] == row["label"])


def _uri(pixels: Any) -> str:
    """(1, 3, h, w) uint8 as a `data:` URI."""

    picture = Image.fromarray(np.asarray(pixels)[0].transpose(1, 2, 0))
    file = io.BytesIO()
    kind = "png" if max(picture.size) <= _SMALL else "jpeg"
    picture.save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
