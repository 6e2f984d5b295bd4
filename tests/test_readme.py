"""The program and the quick start of README.md run, and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import robench
from tests.pages import ROOT, blocks, run_console

README = ROOT / "README.md"


def test_the_program_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the embedded model and images, a tenth of the conditions, and the run itself as its baseline."""
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert found is not None
    program = found[1]
    for written, used in (
        ('"cifar10/test"', '"demo"'),
        ("limit=500", "limit=20, severity=3"),
        ('"baseline.csv"', 'run.path / "results.csv"'),
        (".passed", ".passed or fail()"),
    ):
        assert written in program
        program = program.replace(written, used)
    demo = robench.load_classifier("demo")
    names: dict[str, object] = {
        "net": demo.module,
        "mean": demo.preprocessing.mean,
        "std": demo.preprocessing.std,
        "fail": lambda: pytest.fail("the gate"),
    }
    exec(program, names)
    run = names["run"]
    assert isinstance(run, robench.Run)
    assert run.suites == ["cifar-c"], "the default suite at 32 px"
    assert run.metrics["cifar-c/mean_error"] < 0.5
    assert "cifar-c mean error" in capsys.readouterr().out
    transformed = names["transform"](torch.full((3, 32, 32), 128, dtype=torch.uint8))  # type: ignore[operator]
    assert transformed.shape == (3, 32, 32)


@pytest.mark.slow(minutes=0.6)
def test_the_quick_start_prints_what_the_readme_shows(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On real images and weights, which the values of README.md are from."""
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoints/cifar10_resnet20.th", "cifar10"):
        (tmp_path / Path(name).name).symlink_to(shared / "data" / name)
    (quick_start,) = [block for block in blocks(README) if block.language == "console"]
    assert run_console(quick_start, capsys) == 0


def test_a_stranger_finds_every_file_that_the_readme_names() -> None:
    for target in re.findall(r"\]\(([^):]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target
