"""Images with a table or a list of labels, in the images' folder or above it: CSV, TSV, text or JSON lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from robench.datasets.dataset import ImageDataset, map_labels
from robench.datasets.io.bounded import read_image
from robench.datasets.io.directories import folders_in, image_suffixes, names_in
from robench.datasets.readers.base import Reader
from robench.datasets.readers.image_files import ImageFiles
from robench.datasets.readers.labels import true_classes
from robench.datasets.readers.splits import split_of
from robench.datasets.readers.table_rows import TABLE_SUFFIXES, Row, first_row, read_rows
from robench.errors import DatasetError

__all__ = ["IMAGE_FOLDERS", "LABEL_TABLE", "LabelTable", "is_flat", "labelled_images", "skipped_tables", "tables_of"]

_NAMES = tuple(f"{stem}{suffix}" for stem in ("labels", "metadata") for suffix in TABLE_SUFFIXES)
"""File names of tables; metadata.* is the convention of Hugging Face's image folders."""
_LIST_WORDS = {"label", "labels", "list", "annotation", "annotations", "gt", "solution"}
"""Words in the file names of lists of labels, besides names of splits."""
_KAGGLE = "LOC_val_solution.csv"
"""ImageNet's labels at Kaggle, up to four folders above its images."""
_KAGGLE_IMAGES = "ILSVRC/Data/CLS-LOC/val"
_OTHERS = {
    "ilsvrc2012_validation_ground_truth.txt",
    "imagenet_2012_validation_synset_labels.txt",
    "val_annotations.txt",
}
"""Published lists of another layout."""
_LIST_FOLDERS = {"meta", "annotation", "annotations", "labels", "lists", "splits", "imagesets"}
"""Folders of lists, next to the folder of images."""
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "data", "jpegimages"}
"""Folders of all images of a dataset, which are not classes."""
_TABLES = 64
"""Most files of a folder that are tried; more are usually captions or boxes of single images."""


class LabelTable(NamedTuple):
    """A table of labels and the images that it names."""

    file: Path
    images: ImageFiles


def tables_of(folder: Path) -> list[LabelTable]:
    """Return the tables in a folder, else above it, whose first row names an image of the folder.

    Tables above a folder of class folders are not considered. labels.* and metadata.* exclude other tables of the same
    folder. A list of training images counts only if there is no other table, and never for class folders.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - keep links
    found = [LabelTable(file, images) for file in _candidates(folder) if (images := _images(file, _roots(file)))]
    if not found and is_flat(folder):
        found = _tables_above(folder)
    named = [table for table in found if table.file.name in _NAMES]
    others = [table for table in found if split_of(table.file.stem) != "train"]
    return named or others or (found if is_flat(folder) else [])


def _tables_above(folder: Path) -> list[LabelTable]:
    parent, split = folder.parent, split_of(folder.name)
    places = [parent, *(parent / name for name in folders_in(parent) if name.lower() in _LIST_FOLDERS)]
    files = [file for place in places for file in _candidates(place) if split_of(file.stem) in ("", split) or not split]
    files += [file for place in folder.parents[1:5] if (file := place / _KAGGLE).is_file()]
    return [LabelTable(file, images) for file in files if (images := _images_of(folder, file))]


def _images_of(folder: Path, file: Path) -> ImageFiles | None:
    """Return the image files of a table above a folder; None if its first row names no image of the folder."""
    images = _images(file, [folder, *_image_folders(folder)])
    if images is not None:
        return images
    images = _images(file, [folder.parent])
    return images if images and _first_path(file, images).startswith(f"{folder.name}/") else None


def skipped_tables(folder: Path) -> list[str]:
    """Return a note for each file of a folder of class folders that is named like a table of labels."""
    notes = []
    for file in _candidates(folder, likely=True):
        reason = _misfit(file)
        advice = f" because {reason}" if reason else ": give that file to use its labels"
        notes.append(f"classes from folders; {file.name} was skipped{advice}")
    return notes


def is_flat(folder: Path) -> bool:
    """Return whether a folder has no subfolder but `images` or the like."""
    return all(name.lower() in IMAGE_FOLDERS for name in folders_in(folder))


def labelled_images(
    given: Path, table: LabelTable, rows: Iterable[Row], notes: Iterable[str], names: Sequence[str] = ()
) -> ImageDataset:
    """List the images of a table.

    Args:
        given: Path that the user gave: the table, or a folder.
        table: The table.
        rows: Its rows.
        notes: Notes of the dataset.
        names: Names of the classes; they count if they include all labels.

    Raises:
        DatasetError: A row is invalid, or an image is missing.
    """
    file, images = table
    folder = Path(os.path.abspath(given if given.is_dir() else file.parent))  # noqa: PTH100 - keep links
    lines: dict[str, int] = {}
    labels: dict[str, object] = {}
    for line, name, label, may_lack_suffix in rows:
        where = f"{file.name}, line {line}"
        path = images.find(name, where, may_lack_suffix)
        if path in lines:
            raise DatasetError(f"{where}: {path!r} is already in line {lines[path]}", "label each image once")
        images.check(path, where)
        if given.is_dir() and images.root == folder.parent and not path.startswith(f"{folder.name}/"):
            raise DatasetError(f"{where}: {path!r} is not in {folder}", f"give {file} itself for all of its images")
        lines[path], labels[path] = line, label
    if not lines:
        raise DatasetError(f"{file} labels no image", "write one line for each image, its path and its label")
    paths = sorted(lines)
    truth = true_classes(
        [labels[path] for path in paths], lambda position: f"{file.name}, line {lines[paths[position]]}"
    )
    inner = images.root.relative_to(folder).as_posix() if images.root.is_relative_to(folder) else "."
    images_of_table = ImageDataset(
        name=folder.resolve().name if given.is_dir() or file.name in _NAMES else file.stem,
        paths=tuple(path if inner == "." else f"{inner}/{path}" for path in paths),
        labels=truth.labels,
        classes=truth.names,
        label_sets=truth.sets,
        read=lambda position: read_image(images.root / paths[position]),
        notes=tuple(notes),
    )
    if {*names} >= {*truth.names}:
        index = {name: number for number, name in enumerate(names)}
        places = [index[name] for name in truth.names]
        return replace(map_labels(images_of_table, places, names), file_labels=None)
    return images_of_table


def _matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in TABLE_SUFFIXES
    if not path.is_dir():
        return False
    # A table without images of this folder is an error only if there are no class folders.
    return bool(tables_of(path)) or (is_flat(path) and bool(_candidates(path, likely=True)))


def _read(path: Path) -> ImageDataset:
    if path.is_file():
        file = Path(os.path.abspath(path))  # noqa: PTH100 - keep links
        tables = [LabelTable(file, _images(file, _roots(file)) or ImageFiles(file.parent))]
    else:
        tables = tables_of(path) or [LabelTable(file, ImageFiles(path)) for file in _candidates(path, likely=True)]
    if len(tables) > 1:
        names = " and ".join(table.file.name for table in tables[:3])
        raise DatasetError(f"{tables[0].file.parent} holds {names}", f"give one of the files, such as {tables[0].file}")
    return labelled_images(path, tables[0], read_rows(tables[0].file, tables[0].images.has), _notes(path, tables[0]))


def _notes(given: Path, table: LabelTable) -> list[str]:
    file, root = table.file, table.images.root
    if root != file.parent:
        return [f"labels from {file}, images from {root}"]
    if given.is_dir() and folders_in(root):
        return [f"labels from {file.name}, not from folders: move it away to make every folder a class"]
    return [] if file.name in _NAMES or not given.is_dir() else [f"labels from {file.name}"]


def _candidates(folder: Path, likely: bool = False) -> list[Path]:
    """Return the files of a folder that may be tables of labels; with `likely`, those that are named like one."""
    entries = [os.path.splitext(name) for name in names_in(folder)]  # noqa: PTH122
    images = {stem for stem, suffix in entries if suffix.lower() in image_suffixes()}
    files = [folder / f"{stem}{suffix}" for stem, suffix in entries if suffix.lower() in TABLE_SUFFIXES]
    files = [
        file
        for file in files
        if file.name in _NAMES
        or (
            file.suffix.lower() != ".json"
            and file.stem not in images
            and file.name.lower() not in _OTHERS
            and not file.name.startswith(".")
        )
    ]
    for is_likely in (_is_likely, _is_named):
        if likely or len(files) > _TABLES:
            files = [file for file in files if is_likely(file)]
            likely = False
    return [file for file in files if file.is_file()]


def _is_named(file: Path) -> bool:
    return file.name in _NAMES


def _is_likely(file: Path) -> bool:
    words = set(re.split(r"[^a-z]+", file.stem.lower()))
    return _is_named(file) or bool(words & _LIST_WORDS) or split_of(file.stem) != ""


def _image_folders(folder: Path) -> list[Path]:
    return [folder / name for name in folders_in(folder) if name.lower() in IMAGE_FOLDERS]


def _roots(file: Path) -> list[Path]:
    """Return the folders that the paths of a table may be relative to, by preference."""
    roots = []
    split, parent = split_of(file.stem), file.parent
    for base in (parent, parent.parent) if parent.name.lower() in _LIST_FOLDERS else (parent,):
        images = _image_folders(base)
        own = [
            place / name
            for place in (base, *images)
            for name in folders_in(place)
            if name == file.stem or (split and split_of(name) == split)
        ]
        roots += [base, *own, *(inner for folder in own for inner in _image_folders(folder)), *images]
    return [*roots, parent / _KAGGLE_IMAGES] if file.name == _KAGGLE else roots


def _images(file: Path, roots: Iterable[Path]) -> ImageFiles | None:
    """Return the image files of the first folder that has the image in the first row of a table; None if none has."""
    for root in roots:
        images = ImageFiles(root)
        try:
            if _first_path(file, images):
                return images
        except DatasetError:
            continue
    return None


def _first_path(file: Path, images: ImageFiles) -> str:
    """Return the path in the first row of a table; empty if there is no such file."""
    row = first_row(file, images.has)
    exists = row is not None and images.has(row.name, row.may_lack_suffix)
    return images.find(row.name, "", row.may_lack_suffix) if row is not None and exists else ""


def _misfit(file: Path) -> str:
    """Return why a table labels no image; empty if its first row does."""
    if _images(file, _roots(file)) is not None:
        return ""
    try:
        row = first_row(file, ImageFiles(file.parent).has)
    except DatasetError as error:
        return error.problem
    return "it is empty" if row is None else f"line {row.line} names no file, {row.name!r}"


LABEL_TABLE = Reader(
    "table",
    "images with labels.csv or metadata.csv (also .tsv, .txt, .jsonl, .json; columns file_name and label), or with a list such as "
    "val.txt or LOC_val_solution.csv in the folder or above it; or such a file",
    _matches,
    _read,
)
