"""What every dataset reader returns: a sorted list of labelled images that are read as bytes, and the choice of some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robench.datasets.io.bounded import read_limited
from robench.errors import DatasetError, OptionError
from robench.types import Ints

__all__ = ["ImageDataset", "map_classes", "select"]

_LISTING_BYTES = 2**30
"""Of a list of paths or classes; 20 million paths take less."""


@dataclass(frozen=True)
class ImageDataset:
    """A labelled set of images; the position in `paths` is a sample's index, whatever part of the set is evaluated.

    name: for tables.  paths: unique and sorted.  labels: (n,) class of each.  classes: their names, position = class.
    read: encoded bytes of the image at a position; OSError where that fails.
    groups: which of a model's outputs each class stands for; None where the classes are the outputs.
    border: width in pixels of a frame around every picture that is not part of it.
    stored: (n,) the labels of the files where `labels` are those of a class map; None where they are the same.
    root: the file or folder that it was read from, None where it is embedded.
    origin: arguments of `open_dataset` that open it again elsewhere; None where a caller made it.
    notes: what a user should know about the set, for example files that were passed over.
    """

    name: str
    paths: tuple[str, ...]
    labels: Ints
    classes: tuple[str, ...]
    read: Callable[[int], bytes]
    groups: tuple[tuple[int, ...], ...] | None = None
    border: int = 0
    file_labels: Ints | None = None
    root: Path | None = None
    origin: tuple[str | Path, Path | None] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def map_classes(images: ImageDataset, class_map: Path) -> ImageDataset:
    """Relabel by a file with one class name a line, line number (from 0) = class.

    For models with another class order, and for sets that hold only some of a model's classes. Classes without an image need
    no line.
    """
    names = [line.strip() for line in _lines(class_map, "--class-map")]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise OptionError(
            f"--class-map {class_map}: line {names.index('') + 1} is blank, and a line is a class: name it"
        )
    index = {name: position for position, name in enumerate(names)}
    if len(index) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"--class-map {class_map}: the class {twice!r} is there more than once")
    unknown = [name for name in (images.classes[label] for label in np.unique(images.labels)) if name not in index]
    if unknown:
        raise OptionError(
            f"--class-map {class_map} lacks {len(unknown)} of the dataset's classes, for example {unknown[0]!r}: "
            "it needs one class name a line, spelled as the folders are"
        )
    labels = np.array([index.get(name, -1) for name in images.classes], dtype=np.int64)[images.labels]
    return replace(images, labels=labels, classes=tuple(names), groups=None, file_labels=images.labels)


def select(
    images: ImageDataset, *, limit: int | None = None, per_class: int | None = None, subset: Path | None = None
) -> Ints:
    """Return the positions to evaluate, ascending.

    subset: a file of paths, one a line, relative to the dataset; then per_class: the first so many of every class; then
    limit: so many, evenly spread (positions floor(k * n / limit) of what is left).
    """
    chosen = np.arange(len(images)) if subset is None else _subset(images, Path(subset))
    if per_class is not None:
        if per_class < 1:
            raise OptionError(f"--per-class must be at least 1, not {per_class}")
        labels = images.labels[chosen]
        chosen = np.sort(np.concatenate([chosen[labels == label][:per_class] for label in np.unique(labels)]))
    if limit is not None:
        if limit < 1:
            raise OptionError(f"--limit must be at least 1, not {limit}")
        if limit < len(chosen):
            chosen = chosen[np.arange(limit) * len(chosen) // limit]
    return chosen


def _subset(images: ImageDataset, subset: Path) -> Ints:
    position = {path: index for index, path in enumerate(images.paths)}
    wanted = [line.strip().removeprefix("./") for line in _lines(subset, "--subset") if line.strip()]
    missing = [path for path in wanted if path not in position]
    if missing:
        raise OptionError(
            f"--subset {subset} names {len(missing)} paths that {images.name} does not have, for example {missing[0]!r}: "
            f"write them relative to the dataset, like {images.paths[0]!r}"
        )
    if not wanted:
        raise OptionError(f"--subset {subset} names no paths")
    return np.unique(np.array([position[path] for path in wanted], dtype=np.int64))


def _lines(file: Path, option: str) -> Sequence[str]:
    try:
        return read_limited(file, _LISTING_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{option} {file} is not UTF-8 text: save it as that") from error
    except DatasetError as error:
        raise DatasetError(f"{option}: {error}") from error
