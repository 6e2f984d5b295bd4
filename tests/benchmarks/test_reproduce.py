"""The script that reproduces papers: on published cells, on invented results, and end to end with a small stand-in."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from robench.cli.entry import app

FILE = Path(__file__).parents[2] / "benchmarks/reproduce.py"

STAND_IN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 1000))
"""


@pytest.fixture
def reproduce(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("reproduce_papers", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "reproduce_papers", module)
    spec.loader.exec_module(module)
    return module


def test_published_cells(reproduce: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert reproduce.main(["--cells"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 15 + 5 + 4
    monkeypatch.setattr(reproduce, "_MCE", {"Standard_R50": 76.7})
    assert reproduce.main(["--cells"]) == 1
    assert "mCE of Standard_R50" in next(line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line)


def test_every_command_is_one_of_the_command_line(reproduce: Any, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    for recipe in reproduce.RECIPES:
        verb, *arguments = recipe.command("val", Path("weights"), Path("runs"), 5000)
        assert verb == "evaluate"
        evaluate.make_context("evaluate", arguments)
    assert reproduce.main(["--list", "--only", "augmix-c"]) == 0
    assert "robench evaluate augmix.pth.tar --data imagenet/val" in capsys.readouterr().out
    page = (FILE.parents[1] / "docs/reproduce.md").read_text()
    assert not [recipe.name for recipe in reproduce.RECIPES if f"`{recipe.name}`" not in page]


def test_the_tolerance_is_beyond_half_the_interval(reproduce: Any) -> None:
    recipe = next(recipe for recipe in reproduce.RECIPES if recipe.name == "resnet50-c")
    rows: list[dict[str, object]] = [
        {"suite": "clean", "metric": "error_rate", "corruption": "clean", "unit": "fraction", "value": 0.2435},
        {"suite": "imagenet-c", "metric": "mce", "corruption": None, "unit": "percent", "value": 79.0},
    ]
    ends: list[dict[str, object]] = [{"ci_low": 0.2395, "ci_high": 0.2475}, {"ci_low": 78.0, "ci_high": 80.0}]
    results = pd.DataFrame(
        [row | end | {"axis": None, "axis_value": None} for row, end in zip(rows, ends, strict=True)]
    )
    clean, mce = reproduce.check(recipe, results)
    assert (clean.measured, clean.tolerance, clean.passed) == (pytest.approx(24.35), pytest.approx(0.5), True)
    assert (mce.measured, mce.tolerance, mce.passed) == (79, pytest.approx(1.8), False)
    _, absent = reproduce.check(recipe, results[:1])
    assert not absent.passed


@pytest.mark.nightly
def test_a_stand_in_is_evaluated_and_checked(
    reproduce: Any, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(STAND_IN)
    model = f"{tmp_path / 'net.py'}:build"
    names = ["resnet50-c", "resnet50-shift", "resnet50-p"]
    recipes = [replace(recipe, model=model) for recipe in reproduce.RECIPES if recipe.name in names]
    monkeypatch.setattr(reproduce, "RECIPES", recipes)
    arguments = ["--data", str(shared / "data/imagenet"), "-n", "1", "--out", str(tmp_path / "runs"), "--only", *names]
    assert reproduce.main(arguments) == 1
    table = re.findall(
        r"^resnet50-\S+: .*? +([\d.]+) +[\d.]+ +[\d.]+(?:  DIFFERS)?$", capsys.readouterr().out, re.MULTILINE
    )
    measured = list(map(float, table))
    assert len(measured) == 4
    values = iter(measured)
    exact = [
        replace(recipe, values=tuple(replace(one, value=next(values)) for one in recipe.values)) for recipe in recipes
    ]
    monkeypatch.setattr(reproduce, "RECIPES", exact)
    assert reproduce.main(arguments) == 0
