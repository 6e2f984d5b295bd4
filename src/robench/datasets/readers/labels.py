"""Conversion of the labels in files, class names or whole numbers, to classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from robench.datasets.dataset import LabelSets
from robench.errors import DatasetError
from robench.types import Ints

__all__ = [
    "IMAGE_COLUMNS",
    "LABEL_COLUMNS",
    "PATH_COLUMNS",
    "TrueClasses",
    "classes_of",
    "lower_keys",
    "numbered",
    "parse_json",
    "true_classes",
]

PATH_COLUMNS = (
    "file_name",
    "filename",
    "path",
    "image",
    "file",
    "image_path",
    "filepath",
    "file_path",
    "img",
    "img_path",
    "image_id",
    "imageid",
    "image_name",
    "imagename",
    "filenames",
    "images",
    "name",
    "id",
)
LABEL_COLUMNS = (
    "label",
    "fine_label",
    "labels",
    "class",
    "cls",
    "target",
    "category",
    "wnid",
    "class_name",
    "class_id",
    "label_id",
    "y",
    "gt",
    "ground_truth",
    "class_label",
    "label_name",
    "classname",
    "classid",
    "predictionstring",
)
IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
"""Names of columns with paths, labels and encoded images, by preference."""

_CLASSES = 1_000_000
"""Most classes; a label above is a mistake, or an attempt to fill the memory with class names."""


Convert = Callable[[Sequence[object], Callable[[int], str]], tuple[Ints, tuple[str, ...]]]
"""Converts labels to classes, as `classes_of` does."""


class TrueClasses(NamedTuple):
    """The classes of images.

    Attributes:
        labels: (n,) class of each image; one of them if it has several.
        names: Name of each class.
        sets: Classes of each image as in `ImageDataset`; None if each image has one.
    """

    labels: Ints
    names: tuple[str, ...]
    sets: LabelSets | None


def true_classes(labels: Sequence[object], where: Callable[[int], str], convert: Convert | None = None) -> TrueClasses:
    """Convert labels, some of them with several classes.

    Several classes are a list, or a text such as `3;7`, `cat|dog`, `3 7` or `["cat", "dog"]`. If one image has a list, an image
    with an empty list or without a label is left out.

    Args:
        labels: Labels in the file.
        where: Returns a description of the label at a position, for errors.
        convert: Converts single labels; None for `classes_of`.

    Raises:
        DatasetError: Labels are invalid, or no image has one.
    """
    convert = convert or classes_of
    lists = [_several(label) for label in labels]
    if all(one is None for one in lists):
        return TrueClasses(*convert(labels, where), None)
    items = [
        one if one is not None else [] if _is_blank(label) else [label]
        for one, label in zip(lists, labels, strict=True)
    ]
    owners = [position for position, one in enumerate(items) for _ in one]
    if not owners:
        raise DatasetError("no image has a label", "give at least one image a class")
    numbers, names = convert([item for one in items for item in one], lambda item: where(owners[item]))
    ends = np.cumsum([len(one) for one in items])
    sets = tuple(tuple(sorted(set(part.tolist()))) for part in np.split(numbers, ends[:-1]))
    # An image that is left out has a class that others have, so that it adds none.
    first = np.array([one[0] if one else numbers[0] for one in sets], dtype=np.int64)
    return TrueClasses(first, names, None if all(len(one) == 1 for one in sets) else sets)


def _several(label: object) -> list[object] | None:
    """Return the classes of a label that is a list; None for a single label."""
    if isinstance(label, list | tuple):
        return list(label)
    if not isinstance(label, str) or not _LIST.search(text := label.strip()):
        return None
    if text[0] == "[" and text[-1] == "]":
        for written in (text, text.replace("'", '"'), re.sub(r"(?<=\d)\s+(?=\d)", ",", text)):
            try:
                value = parse_json(written)
            except ValueError:
                continue
            return value if isinstance(value, list) else None
        return None
    if ";" in text or "|" in text:
        return [part.strip() for part in re.split("[;|]", text) if part.strip()]
    return list(re.split(r"[,\s]+", text)) if re.fullmatch(r"\d+([,\s]+\d+)+", text, re.ASCII) else None


_LIST = re.compile(r"[;|\[]|^\d+[,\s]")
"""Part of every text with several classes."""


def _is_blank(label: object) -> bool:
    return label is None or (isinstance(label, str) and not label.strip())


def classes_of(labels: Sequence[object], where: Callable[[int], str]) -> tuple[Ints, tuple[str, ...]]:
    """Convert labels to classes.

    Whole numbers, also as text, are class numbers; the classes are "0" to the largest. Texts are class names, which are sorted.

    Args:
        labels: Labels in the file.
        where: Returns a description of the label at a position, for errors.

    Returns:
        (n,) class of each label, and the name of each class.

    Raises:
        DatasetError: Labels are blank, negative, fractional or of mixed types.
    """
    for position, label in enumerate(labels):
        if _is_blank(label):
            raise DatasetError(f"{where(position)} has no label", "label every image")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DatasetError(
                f"{where(position)} has the label {_short(label)}", "write a class name or a whole number"
            )
    if all(isinstance(label, int) or _is_whole(str(label)) for label in labels):
        return numbered([int(str(label)) for label in labels], where)
    texts: list[str] = []
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise DatasetError(
                f"{where(position)} has the number {label} as its label, but others have names", "write only one kind"
            )
        texts.append(label.strip())
    if all(re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE) for text in texts):
        position = next(position for position, text in enumerate(texts) if not _is_whole(text))
        raise DatasetError(
            f"{where(position)} has the label {_short(texts[position])}", "write classes as whole numbers"
        )
    classes = sorted(set(texts))
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[text] for text in texts], dtype=np.int64), tuple(classes)


def numbered(
    labels: Sequence[int] | Ints, where: Callable[[int], str], names: Sequence[str] | None = None
) -> tuple[Ints, tuple[str, ...]]:
    """Check labels that are class numbers.

    Args:
        labels: Labels in the file.
        where: Returns a description of the label at a position, for errors.
        names: Names of the classes; None for "0" to the largest label.

    Returns:
        (n,) labels, and the name of each class.

    Raises:
        DatasetError: A label is not the number of a class.
    """
    count = _CLASSES if names is None else len(names)
    if not 0 <= min(labels) <= max(labels) < count:
        position = next(position for position, label in enumerate(labels) if not 0 <= label < count)
        if labels[position] >= count:
            raise DatasetError(
                f"{where(position)} has the label {labels[position]}, but the classes are 0 to {count - 1}",
                "correct the label, or the names of the classes",
            )
        raise DatasetError(
            f"{where(position)} has the label {labels[position]}, which means no label in many test splits",
            "give a split with labels, usually the validation images",
        )
    numbers = np.array(labels, dtype=np.int64)
    return numbers, tuple(map(str, range(int(numbers.max()) + 1))) if names is None else tuple(names)


def parse_json(text: str | bytes) -> object:
    """Parse JSON from an unknown source; raise ValueError if it is invalid."""
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def lower_keys(value: Mapping[str, object]) -> dict[str, object]:
    """Return a JSON object with stripped lower-case keys; the first of equal keys counts."""
    return {key.strip().lower(): value[key] for key in reversed(list(value))}


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d{1,12}\s*", text, re.ASCII) is not None


def _short(value: object) -> str:
    """Return a value as one short line."""
    text = repr(value) if isinstance(value, str | int | float | bool) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
