"""Run directories whose right and wrong answers a test chooses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from robench.analysis.scoring import score_rows
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.schema import RESULTS, SCHEMA_VERSION, rows_to_frame
from robench.suites import CLEAN

CELLS = Mapping[tuple[str, int], ArrayLike]


def write_run(
    path: Path,
    cells: CELLS,
    *,
    data: str = "abc",
    seed: int = 0,
    metrics: Collection[str] | None = None,
    **facts: Any,
) -> Path:
    """A run of cifar-c whose cells ("clean", 0), ("fog", 3), … are wrong (n,) where the arrays say so; two classes.

    metrics: those that results.csv shall have, None for all; few are quicker.
    """
    protocol = facts.pop("protocol", "cifar#1")
    dataset = facts.pop("dataset", "pictures")
    clean = "clean-clean-0-32px"
    planned = [
        ConditionEntry(
            clean if name == CLEAN else f"cifar-c-{name}-{severity}-32px",
            CLEAN if name == CLEAN else "cifar-c",
            *(name, severity, 32, protocol, "computed", clean),
        )
        for name, severity in cells
    ]
    n = len(np.asarray(next(iter(cells.values()))))
    label = np.arange(n, dtype=np.int32) % 2
    manifest = {
        "schema": SCHEMA_VERSION,
        "model": {"label": path.name, "classes": 2},
        "data": {"name": dataset, "sha256": data, "samples": n},
        "identity": {},
        "options": {},
        "treatment": None,
        "seed": seed,
        "normalize_by": None,
        "conditions": [asdict(one) for one in planned],
    }
    samples = pd.DataFrame(
        {"index": np.arange(n), "path": [f"{one}/{i}.png" for i, one in enumerate(label)], "label": label, "sha": "0"}
    )
    run = RunDirectory.create(path, manifest | facts, samples)
    for one, wrong in zip(planned, cells.values(), strict=True):
        pred = np.where(np.asarray(wrong, bool), 1 - label, label).astype(np.int32)
        run.write_records(
            one.name,
            pd.DataFrame(
                {
                    "suite": one.suite,
                    "corruption": one.corruption,
                    "severity": np.int16(one.severity),
                    "axis_value": np.nan,
                    "dx": np.nan,
                    "dy": np.nan,
                    "frame": np.int32(0),
                    "resolution": np.int32(32),
                    "sample": np.arange(n),
                    "label": label,
                    "pred": pred,
                    "top5": list(np.stack([pred, 1 - pred], axis=1)),
                    "confidence": np.float32(0.75),
                    "prob_label": np.float32(0.5),
                    "max_logit": np.float32(2),
                    "entropy": np.float32(0.5),
                    "sum_p2": np.float32(0.5),
                    "gen": np.float32(1),
                }
            ),
        )
    wanted = None if metrics is None else {(suite, metric) for suite in (CLEAN, "cifar-c") for metric in metrics}
    rows = ({name: row.get(name) for name in RESULTS.names} for row in score_rows(run, "none", wanted))
    run.write_results(rows_to_frame(RESULTS, rows))
    return path


def first(wrong: int, n: int) -> np.ndarray:
    """The first `wrong` of n images."""
    return np.arange(n) < wrong
