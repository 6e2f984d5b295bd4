"""Sets in several files: the files of one split, all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from robench.errors import DatasetError

__all__ = ["choose_split"]

_SPLITS = ("test", "validation", "valid", "val", "dev", "train", "training")
_VALIDATION = ("validation", "valid", "val", "dev")


def choose_split(files: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """Return the files of the test split, else of the validation split, sorted, and a note if others were left out.

    DatasetError where the names do not say clearly which those are, or where one of a numbered set is missing.
    """
    splits: dict[str, list[Path]] = {}
    for file in sorted(files):
        words = re.split(r"[^a-z]+", file.name.lower())
        splits.setdefault(next((word for word in words if word in _SPLITS), ""), []).append(file)
    chosen = _choose(list(splits))
    if chosen is None:
        shown = ", ".join(files[0].name for _, files in sorted(splits.items()))
        raise DatasetError(f"{files[0].parent} holds several sets ({shown}): name one file, or a folder with one set")
    _check_complete(splits[chosen])
    if len(splits) == 1:
        return splits[chosen], ()
    others = ", ".join(sorted(split for split in splits if split != chosen))
    return splits[chosen], (f"the {chosen} files alone; name a file to evaluate another split ({others})",)


def _choose(splits: Sequence[str]) -> str | None:
    if len(splits) == 1:
        return splits[0]
    if "" in splits:
        return None
    if "test" in splits:
        return "test"
    validation = [split for split in splits if split in _VALIDATION]
    return validation[0] if len(validation) == 1 else None


def _check_complete(files: Sequence[Path]) -> None:
    """Files that are called `…-00000-of-00002…` are all there."""
    found = [match for file in files if (match := re.search(r"-(\d{1,9})-of-(\d{1,9})", file.name))]
    if not found:
        return
    totals = {int(match[2]) for match in found}
    numbers = sorted(int(match[1]) for match in found)
    if len(totals) > 1 or len(found) < len(files) or len(set(numbers)) < len(numbers):
        raise DatasetError(f"{files[0].parent} holds files of several sets, for example {files[0].name}: name one file")
    total = totals.pop()
    if len(numbers) != total:
        missing = next((number for number in range(total) if number not in numbers), total)
        raise DatasetError(
            f"{files[0].parent} has {len(numbers)} of {total} files; number {missing} is missing: copy it"
        )
