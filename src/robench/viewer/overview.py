"""Everything of the page but samples: the answer, the runs, the conditions, and heat maps. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.comparison.compare import compare
from robench.analysis.formatting import format_value
from robench.analysis.metrics import METRICS
from robench.analysis.report.charts import COLOURS, MARKS, cell_colours
from robench.analysis.report.words import WORDS, suite_words, without_folders, words
from robench.analysis.run_summary import headlines, verdict
from robench.analysis.verdict import pair_verdict
from robench.errors import OptionError
from robench.runs.conditions import ConditionEntry
from robench.suites import (
    CATEGORIES,
    CLEAN,
    EXTRA_CATEGORY,
    OTHER_CATEGORY,
    category_of,
    display_family,
    lookup_suite,
)
from robench.viewer.query import AGREEMENTS, ORDERS, OUTCOMES
from robench.viewer.samples import SampleTable

__all__ = ["overview"]

_MOST_FRAMES = 9
"""Columns of a heat map; of more frames, evenly spread ones are shown."""


def overview(table: SampleTable, images: str = "") -> dict[str, Any]:
    """Return the content of the page that does not depend on a query, in JSON's types.

    It computes all that queries share, so that the first one is as fast as the others.

    Args:
        table: The samples.
        images: Reason for missing images; empty otherwise.
    """
    maps = _maps(table)
    _ = table.flip, table.disagreement
    return {
        "runs": [
            {
                "name": name,
                "colour": COLOURS[number % len(COLOURS)],
                "mark": MARKS[number % len(MARKS)],
                "headlines": _headlines(table, number),
            }
            for number, name in enumerate(table.names)
        ],
        "answer": list(_answer(table)),
        "classes": table.classes,
        "samples": len(table.index),
        "dataset": table.runs[0].manifest["data"]["name"],
        "images": not images,
        "notes": [*map(without_folders, table.notes), *([f"no images: {images}"] if images else [])],
        "outcomes": OUTCOMES,
        "agreements": AGREEMENTS,
        "orders": {name: text for name, text in ORDERS.items() if len(table.names) > 1 or name != "disagreement"},
        "conditions": {name: condition_facts(entry) for name, entry in table.conditions.items()},
        "maps": [
            {key: value for key, value in one.items() if key != "values"} | {"scale": _scale(one)} for one in maps
        ],
        "suites": [_suite(table, suite, maps) for suite in _suites(table)],
    }


def condition_facts(entry: ConditionEntry) -> dict[str, Any]:
    """Return the facts of a condition that the page shows."""
    is_clean = entry.suite == CLEAN
    level = f", severity {entry.severity}" if not display_family(entry.suite).has_frames else ""
    return {
        "suite": entry.suite,
        "corruption": entry.corruption,
        "severity": entry.severity,
        "frames": entry.frames,
        "clean": entry.clean,
        "title": f"Clean, {entry.resolution} px" if is_clean else f"{_row_title(entry)}{level}",
    }


def _row_title(entry: ConditionEntry) -> str:
    """Return the name of a corruption, with the difficulty and the input size where a suite has several."""
    family, title = display_family(entry.suite), words(entry.corruption)
    if family.has_difficulties and entry.severity > 1:
        title += f" {entry.severity}"
    return f"{title} at {entry.resolution} px" if family.has_resolutions else title


def _answer(table: SampleTable) -> Iterator[str]:
    """Yield the sentences that answer: of each pair with the first run, or of one run."""
    first, *others = table.results
    for other, name in zip(others, table.names[1:], strict=True):
        try:
            differences = compare([first.name, other.name])
        except OptionError as error:
            yield f"{name} is not compared with {table.names[0]}, because {without_folders(error.problem)}."
        else:
            named = [replace(one, base_model=table.names[0], run_model=name) for one in differences]
            yield from pair_verdict(named, WORDS)
    if not others:
        yield from verdict(table.runs[0].read_results(), WORDS)


def _headlines(table: SampleTable, number: int) -> list[dict[str, str]]:
    rows = headlines(table.runs[number].read_results())
    return [
        {
            "label": f"{'clean' if row.suite == CLEAN else suite_words(row.suite)} {row.label}",
            "value": format_value(row.value, METRICS[row.metric].unit, digits=1),
        }
        for row in rows
    ]


def _maps(table: SampleTable) -> list[dict[str, Any]]:
    """Return the values of each plane that heat maps show, in percent, with their titles and ends of colours."""
    errors = 100 * (1 - table.right.mean(axis=2))
    maps: list[dict[str, Any]] = []
    if len(table.names) > 1:
        differ = 100 * np.stack([(plane != plane[0]).any(axis=0).mean() for plane in table.pred.swapaxes(0, 1)])
        maps.append(
            {
                "title": "disagreement",
                "unit": "images with different predictions, %",
                "values": differ,
                "domain": _rounded(differ),
                "is_change": False,
            }
        )
    for name, values in zip(table.names, errors, strict=True):
        maps.append(
            {
                "title": f"error of {name}",
                "unit": f"error of {name}, %",
                "values": values,
                "domain": (0, 100),
                "is_change": False,
            }
        )
    for name, values in zip(table.names[1:], errors[1:], strict=True):
        change = values - errors[0]
        most = _rounded(np.abs(change))[1]
        maps.append(
            {
                "title": f"{name} minus {table.names[0]}",
                "unit": f"error of {name} minus error of {table.names[0]}, pp",
                "values": change,
                "domain": (-most, most),
                "is_change": True,
            }
        )
    return maps


def _rounded(values: NDArray[Any]) -> tuple[int, int]:
    return 0, max(5 * math.ceil(float(values.max(initial=0)) / 5), 5)


def _scale(one: dict[str, Any]) -> list[str]:
    """Return eleven colours from one end of a map's domain to the other."""
    low, high = one["domain"]
    return [cell_colours(low + (high - low) * k / 10, one["domain"], is_change=one["is_change"])[0] for k in range(11)]


def _suites(table: SampleTable) -> list[str]:
    names = list(dict.fromkeys(plane.condition.suite for plane in table.planes))
    return [name for name in names if name != CLEAN] or names


def _suite(table: SampleTable, suite: str, maps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the heat maps of a suite: a row for each corruption, with a cell for each severity or frame."""
    known = lookup_suite(suite)
    extra = known.extra if known is not None else ()
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    columns: list[str] = []
    entries = [entry for entry in table.conditions.values() if entry.suite == suite]
    frames = _spread(max(entry.frames for entry in entries))
    family = display_family(suite)
    first = {plane.condition.name: number for number, plane in reversed([*enumerate(table.planes)])}
    for entry in entries:
        cells = rows.setdefault((_row_title(entry), category_of(entry.corruption, extra)), [])
        for frame in frames:
            if frame >= entry.frames:
                break
            column = str(frame) if family.has_frames else str(entry.severity)
            columns += [] if column in columns else [column]
            cells.append(
                {
                    "condition": entry.name,
                    "column": column,
                    **({"frame": frame} if entry.frames > 1 else {}),
                    "values": [_cell(one, first[entry.name] + frame) for one in maps],
                }
            )
    order = (*CATEGORIES, EXTRA_CATEGORY, OTHER_CATEGORY)
    grouped = sorted(rows.items(), key=lambda row: order.index(row[0][1]))
    return {
        "name": suite,
        "title": suite_words(suite),
        "across": "frame" if family.has_frames else "severity",
        "columns": sorted(columns, key=int),
        "rows": [
            {
                "title": title,
                "corruption": table.conditions[cells[0]["condition"]].corruption,
                "condition": cells[0]["condition"] if family.has_frames else "",
                "category": category,
                "cells": cells,
            }
            for (title, category), cells in grouped
        ],
    }


def _cell(one: dict[str, Any], plane: int) -> dict[str, str]:
    value = float(one["values"][plane])
    background, ink = cell_colours(value, one["domain"], is_change=one["is_change"])
    text = f"{value:+.0f}" if one["is_change"] else f"{value:.0f}"
    return {
        "text": "0" if text in ("+0", "-0") else text.replace("-", "\N{MINUS SIGN}"),
        "back": background,
        "ink": ink,
    }


def _spread(count: int) -> list[int]:
    """Return at most `_MOST_FRAMES` evenly spread numbers below `count`, the first and the last included."""
    if count <= _MOST_FRAMES:
        return list(range(count))
    return sorted({round(k * (count - 1) / (_MOST_FRAMES - 1)) for k in range(_MOST_FRAMES)})
