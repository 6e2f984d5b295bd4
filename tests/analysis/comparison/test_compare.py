"""Oracles: runs whose wrong answers are counted by hand, and scipy's binomtest."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from robench.analysis.comparison import Key, ResultRow
from robench.analysis.comparison.compare import compare, costs, disagreement, flips, write_flips
from robench.cli.entry import run_cli
from robench.errors import OptionError, RunError
from robench.runs.directory import RunDirectory
from tests.analysis.gate.invented import first, write_run
from tests.builders import each

N = 100


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The second loses images 20 to 31 of fog 3 and gains 0 and 1; the third is the first again."""
    root = tmp_path_factory.mktemp("runs")
    cells = {("clean", 0): first(5, N), ("fog", 3): first(20, N), ("fog", 5): first(60, N)}
    fog = first(32, N).copy()
    fog[:2] = False
    return [
        write_run(root / "a", cells),
        write_run(root / "b", {**cells, ("fog", 3): fog}),
        write_run(root / "c", cells),
    ]


def test_differences(runs: list[Path]) -> None:
    found = {
        (key.suite, key.metric, key.corruption, key.severity): one
        for one in compare(runs[:2])
        for key in [one.paired.run.key]
    }
    assert list(found) == [
        ("clean", "accuracy", "clean", 0),
        ("cifar-c", "error_rate", "fog", 3),
        ("cifar-c", "error_rate", "fog", 5),
        ("cifar-c", "mean_error", None, None),
    ]
    fog = found["cifar-c", "error_rate", "fog", 3]
    assert fog.paired.change == pytest.approx(0.1)
    assert fog.method == "mcnemar"
    assert fog.p == pytest.approx(binomtest(12, 14, 0.5).pvalue)
    assert fog.p_holm == pytest.approx(3 * binomtest(12, 14, 0.5).pvalue)  # mean_error has the smaller one
    assert fog.paired.ci_low < 0.1 < fog.paired.ci_high
    mean = found["cifar-c", "mean_error", None, None]
    assert mean.method == "paired bootstrap"
    assert mean.paired.change == pytest.approx(0.05)
    assert found["cifar-c", "error_rate", "fog", 5].p == 1.0


def test_costs_are_those_of_the_conditions_that_both_have(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: 200 images in 2 + 2 seconds beside 200 in 1 + 7, of which the last condition is not the other's."""
    a, b = (RunDirectory.open(shutil.copytree(run, tmp_path / run.name)) for run in runs[:2])
    row = {
        "suite": "cifar-c",
        "corruption": "fog",
        "severity": 3,
        "resolution": 32,
        "images": 100,
        "images_per_second": 0.0,
    }
    for run, severity, seconds in ((a, 3, 2.0), (a, 5, 2.0), (b, 3, 1.0), (b, 5, 4.0), (b, 5, 3.0), (b, 1, 100.0)):
        run.add_timing({**row, "severity": severity, "seconds": seconds})
    (cost,) = costs([a.path, b.path])
    assert (cost.conditions, cost.base_rate, cost.run_rate) == (2, 200 / 4, 300 / 8)
    assert costs([runs[0], runs[1]]) == [], "not timed"
    assert costs([a.path, b.path / "results.csv"]) == [], "a table has no clock"
    assert run_cli(["compare", str(a.path), str(b.path)]) == 0
    assert "1.33x the time of" in " ".join(capsys.readouterr().out.split())


def test_flips_by_hand(runs: list[Path]) -> None:
    found = flips(runs)
    assert found["index"].tolist() == [0, 1, *range(20, 32)]
    assert found["change"].tolist() == ["positive_flip"] * 2 + ["negative_flip"] * 12
    assert found["path"].tolist()[:3] == ["0/0.png", "1/1.png", "0/20.png"]
    assert set(found["corruption"]) == {"fog"}
    assert disagreement(found)[["negative_flip", "positive_flip", "wrong_to_wrong", "all"]].to_numpy().tolist() == [
        [12, 2, 0, 14]
    ]


def test_command(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(run) for run in runs]
    assert run_cli(["compare", *names, "--flips", str(tmp_path / "flips.csv")]) == 0
    printed = capsys.readouterr()
    assert "cells with the most changed predictions" in printed.out
    assert "14 changed predictions" in printed.err
    assert len(pd.read_csv(tmp_path / "flips.csv")) == 14
    assert run_cli(["compare", *names, "--format", "json", "--metric", "ece,error_rate"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in rows} == {"ece", "error_rate"}
    assert len(rows) == 2 * (3 * 2 + 1)
    assert run_cli(["compare", names[0]]) == 2
    assert run_cli(["compare", *names, "--metric", "eror_rate"]) == 2
    assert run_cli(["compare", names[0], f"{names[1]}/results.csv"]) == 0
    assert "not paired" in capsys.readouterr().err


def test_without_the_list_of_samples(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs[0], tmp_path / "a")
    (tmp_path / "a" / "samples.parquet").unlink()
    line = ["compare", str(tmp_path / "a"), str(runs[1])]
    assert run_cli(line) == 0
    said = capsys.readouterr().err
    assert "no flips are counted: cannot read" in said
    assert "not paired" not in said
    assert run_cli([*line, "--flips", str(tmp_path / "flips.csv")]) == 2
    assert "give the same `robench evaluate` command again" in capsys.readouterr().err
    assert not (tmp_path / "flips.csv").exists()


def test_a_folder_that_takes_no_files(runs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flipped = flips(runs)
    monkeypatch.setattr(sys.modules[flips.__module__], "check_replaceable", lambda *_: (tmp_path / "there").rmdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*flips\.csv: its directory is gone"):
        write_flips(flipped, tmp_path / "there" / "flips.csv")


def test_what_cannot_be_compared(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no records of images"):
        flips([runs[0], runs[1] / "results.csv"])
    other = write_run(tmp_path / "seed", {("clean", 0): first(5, N)}, seed=1)
    with pytest.raises(OptionError, match=r'seed 1.*or gate them by rules with pairing = "unpaired"'):
        compare([runs[0], other])
    snow = write_run(tmp_path / "snow", {("snow", 1): first(5, N)})
    clean = write_run(tmp_path / "clean", {("clean", 0): first(5, N)})
    with pytest.raises(OptionError, match="no metric in common"):
        compare([snow, clean])


@each(
    ("metric", "ends", "half"),
    [("error_rate", (0.02, 0.1), 0.04), ("ece", (0.0, 0.05), 0.05), ("worst_class_error", (0.04, 0.15), 0.1)],
)
def test_the_longer_side_of_a_biased_interval_is_its_standard_error(
    metric: str, ends: tuple[float, float], half: float
) -> None:
    key = Key("clean", metric, None, None, "clean", 0, None, None, None, None, 32)
    row = ResultRow(key, {"value": 0.05, "ci_low": ends[0], "ci_high": ends[1]})
    assert row.error == pytest.approx(half / 1.959964)
