"""Datasets in several files: selection of one split."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from robench.errors import DatasetError

__all__ = ["SPLITS", "choose_name", "choose_split", "split_of"]

_VALIDATION = ("validation", "valid", "val", "dev")
SPLITS = ("test", *_VALIDATION, "train", "training")
"""Names of splits in the names of files and arrays."""


def split_of(name: str) -> str:
    """Return the split in the name of a file or folder: test, validation, train or an empty text."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)  # also of trainLabels
    word = next((word for word in map(str.lower, words) if word in SPLITS), "")
    return "validation" if word in _VALIDATION else "train" if word == "training" else word


def choose_split(files: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """Choose the files of the test split, else of the validation split.

    Args:
        files: All files of a folder.

    Returns:
        The sorted files of the split, and a note if other splits are left out.

    Raises:
        DatasetError: The file names do not tell the splits apart, or a numbered file is missing.
    """
    splits: dict[str, list[Path]] = {}
    for file in sorted(files):
        words = re.split(r"[^a-z]+", file.name.lower())
        splits.setdefault(next((word for word in words if word in SPLITS), ""), []).append(file)
    split = choose_name(splits)
    if split is None:
        examples = ", ".join(files[0].name for _, files in sorted(splits.items()))
        raise DatasetError(
            f"{files[0].parent} holds several datasets ({examples})", "give one file, or a folder with one"
        )
    _check_complete(splits[split])
    if len(splits) == 1:
        return splits[split], ()
    others = ", ".join(sorted(other for other in splits if other != split))
    return splits[split], (f"only the {split} files; give a file to evaluate another split ({others})",)


def choose_name(splits: Collection[str]) -> str | None:
    """Choose the only split, else the test split, else the validation split; None if the names do not tell them apart.

    Args:
        splits: Names of splits; an empty text is data without a split.
    """
    if len(splits) == 1:
        return next(iter(splits))
    if "" in splits:
        return None
    if "test" in splits:
        return "test"
    validation = [split for split in splits if split in _VALIDATION]
    return validation[0] if len(validation) == 1 else None


def _check_complete(files: Sequence[Path]) -> None:
    """Raise DatasetError if one of the files named `…-00000-of-00002…` is missing."""
    matches = [match for file in files if (match := re.search(r"-(\d{1,9})-of-(\d{1,9})", file.name))]
    if not matches:
        return
    totals = {int(match[2]) for match in matches}
    numbers = {int(match[1]) for match in matches}
    if len(totals) > 1 or not len(numbers) == len(matches) == len(files):
        raise DatasetError(
            f"{files[0].parent} holds files of several datasets, for example {files[0].name}", "give one file"
        )
    total = totals.pop()
    if len(numbers) != total:
        missing = next((number for number in range(total) if number not in numbers), total)
        raise DatasetError(
            f"{files[0].parent} has {len(numbers)} of {total} files; number {missing} is missing",
            "copy the missing files",
        )
