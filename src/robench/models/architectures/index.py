"""Index of architectures by fingerprint, which scripts/index_architectures.py writes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from robench.errors import CheckpointError
from robench.models.architectures.fingerprint import Fingerprint

__all__ = ["INDEX", "Structure", "indexed_versions", "load_index"]

INDEX = "architectures.csv"
"""Name of the file in this package: versions of the libraries in the first line, then a table of structures."""

_HINT = "install robench again"


@dataclass(frozen=True)
class Structure:
    """A fingerprint and the architectures that have it, as `family:name`."""

    fingerprint: Fingerprint
    archs: tuple[str, ...]


@cache
def load_index() -> tuple[Structure, ...]:
    """Return all structures, no two of them equal.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        _, *rows = _lines()
        return tuple(
            Structure(Fingerprint(row["structure"], bytes.fromhex(row["sketch"])), tuple(row["archs"].split()))
            for row in csv.DictReader(rows)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the index of architectures, {INDEX}, is damaged", _HINT) from error


def indexed_versions() -> dict[str, str]:
    """Return the versions of the libraries whose architectures are in the index, by name."""
    words = _lines()[0].removeprefix("# ").partition(":")[0].split(", ")
    return dict(word.split(" ") for word in words)


def _lines() -> list[str]:
    try:
        return files("robench.models.architectures").joinpath(INDEX).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CheckpointError(f"the index of architectures, {INDEX}, is missing", _HINT) from error
