"""Labelled images, class maps, and the selection of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from robench.datasets.io.bounded import read_limited
from robench.errors import DatasetError, OptionError
from robench.suites.geometry import RGB, PixelFormat
from robench.types import Ints

__all__ = ["ImageDataset", "LabelSets", "Origin", "map_classes", "map_labels", "select"]

_LIST_BYTES = 2**30
"""Most bytes of a list of paths or classes; 20 million paths take less."""


LabelSets: TypeAlias = tuple[tuple[int, ...], ...]
"""Classes of each image."""

Origin: TypeAlias = tuple[str | Path, Path | None, bool]
"""Arguments of `open_dataset`."""


@dataclass(frozen=True)
class ImageDataset:
    """Labelled images, read as encoded bytes. The index of a sample is its position in `paths`.

    Attributes:
        name: Name in tables.
        paths: Unique paths of the images, sorted.
        labels: (n,) class of each image; one of them if it has several.
        classes: Name of each class.
        read: Returns the encoded image at a position; raises OSError.
        groups: Model outputs that each class corresponds to; None if the classes are the outputs.
        pixels: Bands and range of values with which the images are decoded.
        group_rule: How outputs of one class become its logit, as in `Classifier.group_rule`.
        border: Width in pixels of a frame around every image that is not part of it.
        label_sets: Classes of each image, ascending, if images have several, and any of them is right. An image without one is
            left out. None if every image has one class.
        file_labels: (n,) labels in the files if `labels` come from a class map, else None.
        root: File or folder of the dataset; None for an embedded one.
        origin: Arguments of `open_dataset` that open the dataset in another process; None for one that the caller made.
        notes: Messages for the user, for example about skipped files.
    """

    name: str
    paths: tuple[str, ...]
    labels: Ints
    classes: tuple[str, ...]
    read: Callable[[int], bytes]
    groups: tuple[tuple[int, ...], ...] | None = None
    group_rule: Literal["max", "mean"] = "max"
    border: int = 0
    pixels: PixelFormat = RGB
    label_sets: LabelSets | None = None
    file_labels: Ints | None = None
    root: Path | None = None
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def several_labels(self) -> LabelSets | None:
        """The classes of each image if an image has several, else None."""
        return self.label_sets if any(len(one) > 1 for one in self.label_sets or ()) else None

    @property
    def label_notes(self) -> list[str]:
        """Messages about images with several classes, and without one."""
        sets = self.label_sets or ()
        several, without = sum(len(one) > 1 for one in sets), sum(not one for one in sets)
        notes = [f"{several:,} of {len(sets):,} images have several classes; any of them is right"] if several else []
        return [*notes, *([f"{without:,} of {len(sets):,} images have no label and are left out"] if without else [])]


def map_classes(images: ImageDataset, class_map: Path) -> ImageDataset:
    """Relabel a dataset for a model with another order of classes, or with more classes.

    Args:
        images: The dataset.
        class_map: Text file with one class name a line; the line number, from 0, becomes the label. Classes without an image
            may be absent.
    """
    names = [line.strip() for line in _lines(class_map, "--class-map")]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise OptionError(
            f"--class-map {class_map}: line {names.index('') + 1} is blank", "write one class name a line"
        )
    index = {name: label for label, name in enumerate(names)}
    if len(index) != len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise OptionError(
            f"--class-map {class_map} contains the class {duplicate!r} more than once", "write each class on one line"
        )
    several = np.fromiter((label for labels in images.label_sets or () for label in labels), np.int64)
    present = np.unique(np.concatenate([images.labels, several]))
    unknown = [name for name in (images.classes[label] for label in present) if name not in index]
    if unknown:
        raise OptionError(
            f"--class-map {class_map} lacks {len(unknown)} of the dataset's classes, for example {unknown[0]!r}",
            "write one class name a line, spelled like the class folders",
        )
    return map_labels(images, [index.get(name, -1) for name in images.classes], names)


def map_labels(images: ImageDataset, places: Sequence[int], names: Sequence[str]) -> ImageDataset:
    """Return a dataset with other numbers of its classes, and their names in the new order."""
    labels, sets = np.array(places, dtype=np.int64)[images.labels], images.label_sets
    if sets is not None:
        sets = tuple(tuple(sorted(places[label] for label in one)) for one in sets)
    return replace(images, labels=labels, label_sets=sets, classes=tuple(names), groups=None, file_labels=images.labels)


def select(
    images: ImageDataset, *, limit: int | None = None, per_class: int | None = None, subset: Path | None = None
) -> Ints:
    """Select samples with a label by `subset`, then by `per_class`, then by `limit`.

    Args:
        images: The dataset.
        limit: Number of samples to keep, evenly spread: positions floor(k * n / limit) of the n remaining ones.
        per_class: Number of samples of each class to keep, the first ones.
        subset: Text file of paths relative to the dataset, one per line.

    Returns:
        Positions of the samples, ascending.
    """
    selected = np.arange(len(images)) if subset is None else _subset(images, Path(subset))
    if images.label_sets is not None:
        selected = selected[[bool(images.label_sets[position]) for position in selected.tolist()]]
        if not len(selected):
            raise OptionError("no selected image has a label", "select others, or label them")
    if per_class is not None:
        if per_class < 1:
            raise OptionError(f"--per-class must be at least 1, not {per_class}", "omit it for all samples")
        labels = images.labels[selected]
        selected = np.sort(np.concatenate([selected[labels == label][:per_class] for label in np.unique(labels)]))
    if limit is not None:
        if limit < 1:
            raise OptionError(f"--limit must be at least 1, not {limit}", "omit it for all images")
        if limit < len(selected):
            selected = selected[np.arange(limit) * len(selected) // limit]
    return selected


def _subset(images: ImageDataset, subset: Path) -> Ints:
    positions = {path: position for position, path in enumerate(images.paths)}
    requested = [line.strip().removeprefix("./") for line in _lines(subset, "--subset") if line.strip()]
    missing = [path for path in requested if path not in positions]
    if missing:
        raise OptionError(
            f"--subset {subset} names {len(missing)} paths that {images.name} does not have, for example {missing[0]!r}",
            f"write paths relative to the dataset, like {images.paths[0]!r}",
        )
    if not requested:
        raise OptionError(f"--subset {subset} names no paths", "write a path relative to the images on each line")
    return np.unique(np.array([positions[path] for path in requested], dtype=np.int64))


def _lines(file: Path, option: str) -> Sequence[str]:
    try:
        return read_limited(file, _LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{option} {file} is not UTF-8 text", "save it as UTF-8") from error
    except DatasetError as error:
        raise DatasetError(f"{option}: {error.problem}", error.hint) from error
