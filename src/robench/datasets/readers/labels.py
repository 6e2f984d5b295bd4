"""Labels as files hold them, class names or whole numbers, made classes."""

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
)
IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
"""What columns are called that hold paths, labels, image bytes; the first that is there is taken."""

_CLASSES = 1_000_000
"""A label above this is a mistake, or somebody's way to fill the memory with names of classes."""


def classes_of(labels: Sequence[object], where: Callable[[int], str]) -> tuple[Ints, tuple[str, ...]]:
    """Return the class of every label, and the names of the classes.

    Whole numbers, also written as text, are classes as they are ("0" to the largest); texts are names, sorted.
    where: says which label is meant by a position, for errors. DatasetError for blank, negative, fractional, mixed labels.
    """
    for position, label in enumerate(labels):
        if label is None or (isinstance(label, str) and not label.strip()):
            raise DatasetError(f"{where(position)} has no label: every image needs one")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DatasetError(f"{where(position)} has the label {_shown(label)}: give a class name or a whole number")
    if all(isinstance(label, int) or _is_whole(str(label)) for label in labels):
        return numbered([int(str(label)) for label in labels], where)
    texts: list[str] = []
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise DatasetError(
                f"{where(position)} has a number as its label, {label}, and others have names: choose one"
            )
        texts.append(label.strip())
    if all(re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE) for text in texts):
        position = next(position for position, text in enumerate(texts) if not _is_whole(text))
        raise DatasetError(f"{where(position)} has the label {_shown(texts[position])}: write classes as whole numbers")
    classes = sorted(set(texts))
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[text] for text in texts], dtype=np.int64), tuple(classes)


def numbered(
    labels: Sequence[int] | Ints, where: Callable[[int], str], names: Sequence[str] | None = None
) -> tuple[Ints, tuple[str, ...]]:
    """Return labels that are classes, and the classes' names: the given ones, else "0" to the largest label."""
    count = _CLASSES if names is None else len(names)
    if not 0 <= min(labels) <= max(labels) < count:
        position = next(position for position, label in enumerate(labels) if not 0 <= label < count)
        if labels[position] >= count:
            raise DatasetError(f"{where(position)} has the label {labels[position]}: the classes are 0 to {count - 1}")
        raise DatasetError(
            f"{where(position)} has the label {labels[position]}: it stands for none, as in the test part of many sets; "
            "give a part with labels, mostly the validation images"
        )
    found = np.array(labels, dtype=np.int64)
    return found, tuple(map(str, range(int(found.max()) + 1))) if names is None else tuple(names)


def parse_json(text: str | bytes) -> object:
    """Parse JSON that someone else wrote; ValueError for whatever is wrong with it."""
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def lower_keys(value: Mapping[str, object]) -> dict[str, object]:
    """Return an object of JSON with its keys in lower case and without spaces around; the first of equal ones, as in headers."""
    return {key.strip().lower(): value[key] for key in reversed(list(value))}


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d{1,12}\s*", text, re.ASCII) is not None


def _shown(value: object) -> str:
    """A value as one short line."""
    text = repr(value) if isinstance(value, str | int | float | bool) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
