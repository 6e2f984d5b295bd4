"""Conversion of the labels in files, class names or whole numbers, to classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from robench.errors import DatasetError
from robench.types import Ints

__all__ = ["IMAGE_COLUMNS", "LABEL_COLUMNS", "PATH_COLUMNS", "classes_of", "lower_keys", "numbered", "parse_json"]

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
        if label is None or (isinstance(label, str) and not label.strip()):
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
