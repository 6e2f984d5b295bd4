"""Labels from another file than the images: a table of paths, or a list in the order of the images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from robench.datasets.dataset import ImageDataset
from robench.datasets.io.bounded import read_limited
from robench.datasets.readers.labels import PATH_COLUMNS, classes_of, parse_json, true_classes
from robench.datasets.readers.parquet import read_columns
from robench.datasets.readers.table_rows import TABLE_BYTES, TABLE_SUFFIXES, read_rows
from robench.errors import DatasetError, one_line
from robench.runs.sample_names import SampleNames
from robench.types import Ints

__all__ = ["relabel"]

_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
"""File names of ImageNet's validation images, which count from 1."""


def relabel(images: ImageDataset, file: Path) -> ImageDataset:
    """Return a dataset with the labels of a file. An image without a label is left out.

    Names of classes are those of the dataset, unless none of them is. Numbers count its classes, or are those of the model's outputs
    if there are more.

    Args:
        images: The dataset.
        file: A .csv, .tsv, .txt, .jsonl, .json or .parquet file with a path and a label in each row. A .json file may also hold an
            object with the labels of each path. ImageNet's ReaL labels are a list with the labels of each image.

    Raises:
        DatasetError: The file cannot be read, or does not fit the images.
    """
    labels, where, notes = _labels(images, file)

    def convert(single: Sequence[object], place: Callable[[int], str]) -> tuple[Ints, tuple[str, ...]]:
        numbers, names = classes_of(single, place)
        index = {name: number for number, name in enumerate(images.classes)}
        unknown = [names[number] for number in np.unique(numbers) if names[number] not in index]
        if unknown and names == tuple(map(str, range(len(names)))):
            return numbers, names if len(names) > len(images.classes) else images.classes
        if not index or len(unknown) == len(names):
            return numbers, names
        if unknown:
            raise DatasetError(
                f"{file} has the class {unknown[0]!r}, which {images.name} does not have",
                "spell it as the dataset does",
            )
        return np.array([index.get(name, -1) for name in names], dtype=np.int64)[numbers], images.classes

    truth = true_classes(labels, where, convert)
    keeps = truth.names == images.classes
    return replace(
        images,
        labels=truth.labels,
        classes=truth.names,
        label_sets=truth.sets,
        groups=images.groups if keeps else None,
        file_labels=None,
        notes=(*images.notes, f"labels from {file}", *notes),
    )


_Where = Callable[[int], str]


def _labels(images: ImageDataset, file: Path) -> tuple[Sequence[object], _Where, list[str]]:
    """Return the label of each image, an empty list for none; a description of the label at a position; and notes."""
    names = SampleNames(images.paths)
    suffix = file.suffix.lower()
    if suffix == ".json":
        try:
            content = parse_json(read_limited(file, TABLE_BYTES))
        except ValueError as error:
            raise DatasetError(f"{file} is not JSON ({one_line(error)})", "save it again") from error
        if isinstance(content, list) and not all(isinstance(one, dict) for one in content):
            return _in_order(images, file, content)
    if suffix == ".parquet":
        paths, found = read_columns(file, PATH_COLUMNS)
        if paths is None:
            return _in_order(images, file, found)
        rows: Iterator[tuple[str, str, object]] = (
            (f"{file.name}, row {row}", str(name), label)
            for row, (name, label) in enumerate(zip(paths, found, strict=True))
        )
    elif suffix in TABLE_SUFFIXES:
        table = read_rows(file, lambda name: names.find(name) is not None)
        rows = ((f"{file.name}, line {row.line}", row.name, row.label) for row in table)
    else:
        raise DatasetError(f"{file} is no file of labels", f"give a {', '.join(TABLE_SUFFIXES)} or .parquet file")
    labels: list[object] = [[] for _ in images.paths]
    places: dict[int, str] = {}
    others = 0
    for place, name, label in rows:
        position = names.find(name)
        if position is None:
            others += 1
        elif position in places:
            raise DatasetError(
                f"{place}: {name!r} is already in {places[position]}", "write all classes of an image in one row"
            )
        else:
            labels[position], places[position] = label, place
    if not places:
        raise DatasetError(f"{file} names no image of {images.name}", f"write paths such as {images.paths[0]}")
    notes = [f"{others:,} rows of {file.name} name no image of {images.name}"] if others else []
    return labels, lambda position: places[position], notes


def _in_order(images: ImageDataset, file: Path, labels: Sequence[object]) -> tuple[Sequence[object], _Where, list[str]]:
    """Return the labels of a list: by the numbers in ImageNet's file names, else one for each image in the order of its paths."""
    notes: list[str] = []
    numbers = [_VALIDATION.search(path) for path in images.paths]
    order = [int(number[1]) - 1 for number in numbers if number is not None]
    if len(order) < len(images):
        if len(labels) != len(images):
            raise DatasetError(
                f"{file} lists the labels of {len(labels):,} images, {images.name} has {len(images):,}",
                "write a table of paths and labels",
            )
        order = list(range(len(images)))
        notes = [f"{file.name} has no paths: its labels are taken in the order of the images' paths"]
    if max(order) >= len(labels):
        raise DatasetError(
            f"{file} lists the labels of {len(labels):,} images, but {images.name} has number {max(order) + 1:,}",
            "give the labels of all validation images",
        )
    return [labels[place] for place in order], lambda position: f"{file.name}, image {order[position]}", notes
