"""Samples in JSON's types, as the page takes them. Needs no torch."""

from __future__ import annotations

from typing import Any

from robench.viewer.query import Found, outcomes
from robench.viewer.samples import SampleTable

__all__ = ["item", "items", "sample"]


def items(table: SampleTable, found: Found, start: int, count: int) -> list[dict[str, Any]]:
    """Return the samples of a query from number `start` on, each with the image that is shown of it."""
    pairs = zip(found.rows[start : start + count].tolist(), found.planes[start : start + count].tolist(), strict=True)
    return [item(table, row, plane, int(found.flips[row])) for row, plane in pairs]


def item(table: SampleTable, row: int, plane: int, flips: int) -> dict[str, Any]:
    """Return one image of a sample with the predictions of every run."""
    clean = table.clean[plane]
    return {
        "sample": int(table.index[row]),
        "label": int(table.label[row]),
        "condition": table.planes[plane].condition.name,
        "frame": table.planes[plane].frame,
        "flips": flips,
        "disagreement": round(float(table.disagreement[plane, row]), 4),
        "differ": len({int(pred) for pred in table.pred[:, plane, row]}) > 1,
        "runs": [
            {
                "pred": int(table.pred[run, plane, row]),
                "confidence": round(float(table.confidence[run, plane, row]), 6),
                "clean": int(table.pred[run, clean, row]),
                "outcomes": outcomes(table, run, plane, row),
            }
            for run in range(len(table.names))
        ],
    }


def sample(table: SampleTable, row: int) -> dict[str, Any]:
    """Return a sample with the predictions and confidences of every run, by condition and frame."""
    conditions: dict[str, dict[str, Any]] = {}
    for number, plane in enumerate(table.planes):
        entry = conditions.setdefault(plane.condition.name, {"pred": [], "confidence": [], "right": [], "axis": []})
        entry["pred"].append(table.pred[:, number, row].tolist())
        entry["confidence"].append([round(float(one), 6) for one in table.confidence[:, number, row]])
        entry["right"].append(table.right[:, number, row].tolist())
        entry["axis"].append(None if plane.axis_value != plane.axis_value else round(plane.axis_value, 4))
    return {
        "sample": int(table.index[row]),
        "path": table.paths[row],
        "label": int(table.label[row]),
        "conditions": conditions,
    }
