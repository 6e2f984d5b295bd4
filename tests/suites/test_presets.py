"""Presets choose what they say, and give way to what is asked for beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from robench.cli.entry import run_cli
from robench.runs.directory import RunDirectory
from robench.suites import PRESETS, SUITES, default_suite


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda one: one.name)
def test_presets_name_what_there_is(preset: object) -> None:
    from robench.suites import Preset

    assert isinstance(preset, Preset)
    for _, name in preset.suites:
        assert set(preset.corruptions) <= set(SUITES[name].corruptions)
        assert set(preset.severities) <= set(SUITES[name].severities)


@pytest.mark.parametrize(
    ("side", "suite"),
    [
        (32, "cifar-c"),
        (64, "tiny-imagenet-c"),
        (224, "imagenet-c"),
        (299, "imagenet-c-299"),
        (384, "imagenet-c"),
    ],
)
def test_the_suite_fits_the_model(side: int, suite: str) -> None:
    assert PRESETS["ci"].suite(side) == suite
    default = default_suite(side)
    assert default is not None
    assert default.name == suite


def test_a_run_of_the_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "ci"
    assert run_cli(["evaluate", "demo", "--preset", "ci", "--limit", "40", "--out", str(out)]) == 0
    conditions = RunDirectory.open(out).finished()
    assert {(c.corruption, c.severity) for c in conditions if c.suite == "cifar-c"} == {
        (name, 3) for name in PRESETS["ci"].corruptions
    }
    assert RunDirectory.open(out).manifest["data"]["samples"] == 40
    few = tmp_path / "few"
    arguments = ["evaluate", "demo", "--preset", "ci", "--limit", "20", "--corruption", "fog", "--severity", "1"]
    assert run_cli([*arguments, "--out", str(few)]) == 0
    assert [c.name for c in RunDirectory.open(few).finished() if c.suite == "cifar-c"] == ["cifar-c-fog-1-32px"]
    capsys.readouterr()
    assert run_cli(["evaluate", "demo", "--preset", "ci", "--suite", "shift"]) == 2
    assert "omit --suite" in capsys.readouterr().err
    assert run_cli(["evaluate", "demo", "--preset", "c1"]) == 2
    assert "ci" in capsys.readouterr().err
    assert run_cli(["list", "presets"]) == 0
    assert "gaussian_noise" in capsys.readouterr().out
