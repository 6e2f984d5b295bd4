"""The estimate of the remaining time."""

from __future__ import annotations

from pathlib import Path

import pytest

import robench
from robench.evaluation import estimate
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.runs.observer import Observer, StartedRun


def test_a_machine_too_slow_for_the_measurement_has_an_estimate(
    classifier: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[float | None] = []

    class Estimating(Observer):
        def begin(self, run: StartedRun) -> None:
            found.append(run.estimate())

    monkeypatch.setattr(estimate, "_PATIENCE", 0.0)
    monkeypatch.setattr(estimate, "_SHORT", 0.0)
    options = Options(corruption=["contrast", "fog"], severity=[1], limit=4)
    robench.evaluate(classifier, picture_folder, "cifar-c", tmp_path / "run", options=options, progress=Estimating())
    (seconds,) = found
    assert seconds is not None
    assert seconds > 0
