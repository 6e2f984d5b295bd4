"""Filters and orders of samples. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.errors import OptionError, unknown_name
from robench.suites import CLEAN
from robench.viewer.samples import SampleTable

__all__ = [
    "AGREEMENTS",
    "ORDERS",
    "OUTCOMES",
    "Found",
    "Query",
    "class_number",
    "find",
    "first_query",
    "outcomes",
    "parse_query",
]

OUTCOMES: dict[str, str] = {
    "right": "right",
    "wrong": "wrong",
    "broken": "broken (right when clean)",
    "flip": "flip (changed class)",
}
"""Outcomes of a run on an image. A flip is a prediction that differs from that on the clean image or on the earlier frame."""

AGREEMENTS: dict[str, str] = {"differ": "differ", "agree": "agree"}
"""Relations between the predictions of all runs."""

ORDERS: dict[str, str] = {
    "disagreement": "strongest disagreement",
    "confidence": "most confident",
    "doubt": "least confident",
    "flips": "most flips",
    "sample": "dataset order",
}
"""Orders of samples. Of the images of a sample that match, the first in this order is shown."""


@dataclass(frozen=True)
class Query:
    """A selection of images, and their order. Empty fields select all.

    Attributes:
        suite: Name of the suite.
        corruption: Name of the corruption or perturbation.
        severity: Severity, or difficulty.
        condition: Name of the condition.
        frame: Number of the frame.
        label: True class.
        predicted: Class that at least one run predicts.
        outcome: A key of `OUTCOMES` for each run in order, empty for any.
        runs: A key of `AGREEMENTS`.
        low: Least confidence of the run `of`.
        high: Largest confidence of the run `of`.
        of: Number of the run whose confidence and flips count.
        order: A key of `ORDERS`.
    """

    suite: str = ""
    corruption: str = ""
    severity: int | None = None
    condition: str = ""
    frame: int | None = None
    label: int | None = None
    predicted: int | None = None
    outcome: tuple[str, ...] = ()
    runs: str = ""
    low: float = 0.0
    high: float = 1.0
    of: int = 0
    order: str = "sample"

    @property
    def text(self) -> dict[str, str]:
        """The fields that are not empty as texts, which `parse_query` reads."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["outcome"] = ",".join(self.outcome)
        defaults = {field.name: field.default for field in fields(self)} | {"outcome": ""}
        return {name: str(value) for name, value in values.items() if value != defaults[name]}


def first_query(table: SampleTable) -> Query:
    """Return the query that answers first: images on which the models disagree, or images that broke one model.

    Only corrupted images can be broken; of clean ones alone, it returns the wrong ones.
    """
    if len(table.names) > 1:
        return Query(runs="differ", order="disagreement")
    has_corruptions = any(entry.clean != name for name, entry in table.conditions.items())
    return Query(outcome=("broken" if has_corruptions else "wrong",), order="confidence")


@dataclass(frozen=True)
class Found:
    """Samples of a query in order.

    Attributes:
        images: Number of images that match.
        rows: (m,) row of each sample with such an image.
        planes: (m,) plane of the image that is shown of each sample.
        flips: (n,) number of flips of each sample of the table among the selected images, before the other filters.
    """

    images: int
    rows: NDArray[np.int64]
    planes: NDArray[np.int64]
    flips: NDArray[np.int64]


def parse_query(texts: Mapping[str, str], table: SampleTable) -> Query:
    """Read a query from texts by field, and check it.

    Args:
        texts: Texts by name of the field. Classes are numbers, see `class_number`. Fields of other names are ignored.
        table: The samples.

    Raises:
        OptionError: A text is no number in the range of its field, or an unknown name.
    """
    entries = [plane.condition for plane in table.planes]
    read: dict[str, Callable[[str], Any]] = {
        "suite": lambda text: _name("suite", text, {entry.suite for entry in entries}),
        "corruption": lambda text: _name("corruption", text, {entry.corruption for entry in entries}),
        "condition": lambda text: _name("condition", text, table.conditions),
        "severity": lambda text: _whole("--severity", text, 0, 10),
        "frame": lambda text: _whole("frame", text, 0, max(entry.frames for entry in entries) - 1),
        "label": lambda text: _whole("class", text, 0, len(table.classes) - 1),
        "predicted": lambda text: _whole("class", text, 0, len(table.classes) - 1),
        "outcome": lambda text: _outcomes(text, len(table.names)),
        "runs": lambda text: _name("agreement", text, AGREEMENTS),
        "low": lambda text: _share("confidence", text),
        "high": lambda text: _share("confidence", text),
        "of": lambda text: _whole("number of the run", text, 0, len(table.names) - 1),
        "order": lambda text: _name("order", text, ORDERS),
    }
    return Query(**{name: convert(text) for name, convert in read.items() if (text := texts.get(name, ""))})


def find(table: SampleTable, query: Query) -> Found:
    """Return the samples with an image that matches, each with its first image in the order of the query."""
    count = len(table.index)
    best = np.full(count, -np.inf, np.float32)
    plane_of = np.full(count, -1, np.int64)
    flips = np.zeros(count, np.int64)
    images = 0
    by_sample = (table.label == query.label) if query.label is not None else np.ones(count, bool)
    for number in _selected(table, query):
        flips += table.flip[query.of, number]
        matches = by_sample & _matches(table, query, number)
        images += int(np.count_nonzero(matches))
        score = _score(table, query, number)
        matches &= score > best
        np.copyto(best, score, where=matches)
        np.copyto(plane_of, number, where=matches)
    rows = np.flatnonzero(plane_of >= 0)
    key = flips if query.order == "flips" else best
    rows = rows[np.argsort(-key[rows], kind="stable")]
    return Found(images, rows, plane_of[rows], flips)


def outcomes(table: SampleTable, run: int, plane: int, row: int) -> list[str]:
    """Return the outcomes of a run on one image."""
    return [name for name in OUTCOMES if _has_outcome(table, run, plane, name, row)]


def _selected(table: SampleTable, query: Query) -> list[int]:
    """Return the numbers of the planes that the query selects; clean images only by their own name."""
    names_clean = CLEAN in (query.suite, query.corruption) or query.severity == 0
    names_clean |= all(entry.clean == name for name, entry in table.conditions.items())
    chosen = []
    for number, plane in enumerate(table.planes):
        entry = plane.condition
        is_clean = entry.clean == entry.name
        wanted = (
            (query.suite, entry.suite),
            (query.corruption, entry.corruption),
            (query.condition, entry.name),
        )
        if any(text and text != own for text, own in wanted):
            continue
        if is_clean and not names_clean and query.condition != entry.name:
            continue
        if query.severity not in (None, entry.severity) or query.frame not in (None, plane.frame):
            continue
        chosen.append(number)
    return chosen


def _matches(table: SampleTable, query: Query, plane: int) -> NDArray[np.bool_]:
    """Return whether the image of each sample passes the filters of predictions."""
    pred, confidence = table.pred[:, plane], table.confidence[query.of, plane]
    found = np.ones(len(table.index), bool)
    if query.low > 0:
        found &= confidence >= np.float32(query.low)
    if query.high < 1:
        found &= confidence <= np.float32(query.high)
    if query.predicted is not None:
        found &= (pred == query.predicted).any(axis=0)
    if query.runs:
        found &= (pred == pred[0]).all(axis=0) == (query.runs == "agree")
    for run, outcome in enumerate(query.outcome):
        if outcome:
            found &= _has_outcome(table, run, plane, outcome)
    return found


def _has_outcome(table: SampleTable, run: int, plane: int, outcome: str, rows: slice | int = slice(None)) -> Any:
    right = table.right[run]
    if outcome == "flip":
        return table.flip[run, plane, rows]
    if outcome == "right":
        return right[plane, rows]
    wrong = ~right[plane, rows]
    return wrong & right[table.clean[plane], rows] if outcome == "broken" else wrong


def _score(table: SampleTable, query: Query, plane: int) -> NDArray[np.float32]:
    """Return the key by which the images of a sample, and the samples, are in descending order."""
    if query.order == "confidence":
        return np.asarray(table.confidence[query.of, plane])
    if query.order == "doubt":
        return np.asarray(-table.confidence[query.of, plane])
    if query.order == "disagreement":
        return np.asarray(table.disagreement[plane])
    if query.order == "flips":  # The first image with a flip.
        return np.asarray(table.flip[query.of, plane], np.float32)
    return np.zeros(len(table.index), np.float32)


def _name(kind: str, text: str, known: Any) -> str:
    if text not in known:
        raise OptionError(*unknown_name(kind, text, known))
    return text


def _whole(name: str, text: str, least: int, most: int) -> int:
    # Digits of other scripts and endless ones are no numbers of this product.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise OptionError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise OptionError(f"{name} must be from 0 to 1, not {text!r}", "give a range such as 0.9-1")
    return value


def class_number(text: str, table: SampleTable) -> int:
    """Return the number of a class by its name, or else by its number.

    Raises:
        OptionError: There is no such class.
    """
    names = table.classes
    if text in names:
        return names.index(text)
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(names):
        return int(text)
    raise OptionError(*unknown_name("class", text, names if len(names) <= 30 else names[:5]))


def _outcomes(text: str, runs: int) -> tuple[str, ...]:
    parts: Sequence[str] = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in ("", "any"):
            _name("outcome", part, OUTCOMES)
    if len(parts) > runs:
        raise OptionError(
            f"{len(parts)} outcomes are given for {runs} run{'' if runs == 1 else 's'}",
            "give one for each run, in their order",
        )
    return tuple(",".join("" if part == "any" else part for part in parts).rstrip(",").split(","))
