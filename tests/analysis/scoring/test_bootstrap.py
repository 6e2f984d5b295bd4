"""Resampling a few conditions at a time. Oracle: all of them at once, and the definition of a resample by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from robench.analysis.metrics.intervals import resample_counts
from robench.analysis.scoring import score
from robench.analysis.scoring.curves import Curve, resampled
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from tests.analysis.gate.invented import write_run


@pytest.mark.parametrize(
    ("places", "cut"), [([40, 1, 700, 60, 1, 31], True), ([1] * 385, True), ([1000], True), ([350, 34], False)]
)
def test_a_few_curves_at_a_time_are_as_all_at_once(
    monkeypatch: pytest.MonkeyPatch, places: list[int], cut: bool
) -> None:
    rng = np.random.default_rng(0)
    planned = ConditionEntry("a", "s", "c", 1, 32, "p", "computed", "clean")
    curves = [
        Curve(planned, f"m{number}", "x", np.arange(k, dtype=float), rng.integers(0, 31, (k, 50)) / 30)
        for number, k in enumerate(places)
    ]
    found = resampled(iter(curves), 50, 3)
    monkeypatch.setattr(sys.modules[resampled.__module__], "_TOGETHER", 1000)
    whole = resampled(curves, 50, 3)
    assert [one.metric for one in found] == [curve.metric for curve in curves]
    counts = np.concatenate([np.ones((1, 50)), *resample_counts(50, 3)])
    for one, all_at_once, curve in zip(found, whole, curves, strict=True):
        # Where a matrix product is cut is for the processor to say: elsewhere a last bit may differ.
        assert cut or np.array_equal(one.distribution, all_at_once.distribution)
        assert np.allclose(one.distribution, all_at_once.distribution, rtol=1e-13)
        assert np.allclose(one.distribution, counts @ curve.values.T / 50, rtol=1e-13)


def test_a_few_cells_at_a_time_are_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cells = {(name, severity): rng.random(40) < 0.1 * severity for name in ("fog", "snow") for severity in (1, 2, 3)}
    run = RunDirectory.open(write_run(tmp_path / "run", {("clean", 0): rng.random(40) < 0.1, **cells}))
    whole = score(run, "none")
    monkeypatch.setattr(sys.modules[score.__module__], "_TOGETHER", 3)
    assert score(run, "none").to_csv() == whole.to_csv()
    wrong = np.mean([np.mean(one) for one in cells.values()])
    assert whole.set_index("metric")["value"]["mean_error"] == pytest.approx(wrong)
