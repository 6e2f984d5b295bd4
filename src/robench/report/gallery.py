"""Images as the models saw them, with what they were taken for: examples of the classes that a run confuses most."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.errors import RobenchError, RunError
from robench.report.names import class_names
from robench.report.sections import Listing
from robench.report.subjects import Subject
from robench.rundir import PlannedCondition, RunDirectory
from robench.scoring.confusions import confused_samples, confusions
from robench.scoring.reading import read_columns
from robench.suites import CLEAN, Condition, find_suite

if TYPE_CHECKING:
    from robench.data import ImageSet
    from robench.types import Images

__all__ = ["Example", "Gallery", "gallery"]

_LISTED = 12
"""Confusions in the table."""

_SMALL = 64
"""Side in pixels up to which an image is kept as it is; larger ones are compressed a little."""


@dataclass(frozen=True)
class Example:
    """One image, clean and corrupted, as `data:` URIs. told: a line for each model, with what it takes the corrupted one for."""

    corruption: str
    severity: int
    label: str
    side: int
    clean: str
    corrupted: str
    told: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Gallery:
    """What one model confuses. note: why there are no images, where there are none."""

    model: str
    suite: str
    confusions: Listing
    examples: Sequence[Example]
    note: str = ""


def gallery(subjects: Sequence[Subject], data: str | Path | None, count: int) -> Iterator[Gallery]:
    """Yield what each run confuses under each suite of corruptions, with at most `count` images a run; the images are read again.

    data: where they are now; None for where they were. Without images the tables stay, and a note says why.
    """
    for subject in subjects:
        run = subject.run
        if run is None:
            continue
        suites = [name for name in dict.fromkeys(one.suite for one in run.finished()) if name != CLEAN]
        for suite in suites:
            pairs = confusions(run, suite)
            if not len(pairs):
                continue
            names = _classes(run)
            rows = [
                [
                    _name(names, row["label"]),
                    _name(names, row["pred"]),
                    f"{row['count']:,}",
                    f"{100 * row['share']:.1f} %",
                ]
                for row in pairs.head(_LISTED).to_dict("records")
            ]
            listing = Listing(("label", "taken for", "predictions", "of that label's"), rows, 2)
            try:
                chosen = pairs.head(count)[["label", "pred"]].to_dict("records")
                examples, note = list(_examples(subjects, run, suite, chosen, data)) if count else [], ""
            except RobenchError as error:
                examples, note = [], f"no images: {error}"
            yield Gallery(subject.label, suite, listing, examples, note)


def _examples(
    subjects: Sequence[Subject], run: RunDirectory, suite: str, pairs: Sequence[dict[str, Any]], data: str | Path | None
) -> Iterator[Example]:
    import numpy as np

    from robench.data import decode_few

    images, names = _open(run, data), _classes(run)
    conditions = {one.name: one for one in run.finished()}
    used: set[int] = set()
    for pair in pairs:
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
            label=_name(names, pair["label"]),
            side=clean.shape[-1],
            clean=_uri(clean),
            corrupted=_uri(_corrupted(clean, condition, sample, run.manifest["seed"])),
            told=[told for one in subjects if (told := _told(one, run, planned, sample)) is not None],
        )


def _open(run: RunDirectory, data: str | Path | None) -> ImageSet:
    """The dataset of a run, if it is still the one that was evaluated."""
    from robench.data import EMBEDDED, open_dataset

    known = run.manifest["data"]
    place = data if data is not None else known.get("root") or known["name"]
    if data is None and known.get("root") is None and known["name"] not in EMBEDDED:
        raise RunError("the run does not say where its images were; --data names the place")
    images = open_dataset(place)
    if len(images) != known.get("whole", len(images)) or any(
        images.paths[index] != path
        for index, path in zip(*(run.read_samples()[name] for name in ("index", "path")), strict=True)
    ):
        raise RunError(f"{place} holds other images than were evaluated; --data names the right place")
    return images


def _condition(run: RunDirectory, planned: PlannedCondition) -> Condition:
    """The condition as it was evaluated: the one of the suite's and the model's geometry that has its protocol."""
    from robench.models import Preprocessing
    from robench.plan import protocol

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
                if protocol(one, options.get("precision", "fp32")) == planned.protocol:
                    return one
    raise RunError(f"{planned.name} was evaluated from released files, or by another robench, and is not made again")


def _corrupted(clean: Any, condition: Condition, sample: int, seed: int) -> Images:
    import torch

    from robench.conditions import condition_images

    return condition_images(torch.from_numpy(clean), condition, torch.tensor([sample]), seed)


def _told(subject: Subject, run: RunDirectory, planned: PlannedCondition, sample: int) -> tuple[str, str, bool] | None:
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
    named = _name(_classes(other), int(row["pred"]))
    return subject.label, f"{named} ({100 * row['confidence']:.0f} %)", bool(row["pred"] == row["label"])


def _classes(run: RunDirectory) -> list[str]:
    return class_names(run.manifest["data"].get("classes", []))


def _name(classes: Sequence[str], index: int) -> str:
    return classes[index] if index < len(classes) else f"class {index}"


def _uri(pixels: Any) -> str:
    """(1, 3, h, w) uint8 as a `data:` URI."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels)[0].transpose(1, 2, 0))
    file = io.BytesIO()
    kind = "png" if max(picture.size) <= _SMALL else "jpeg"
    picture.save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
