"""The suite of a run without `--suite`, and suites that a filter empties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import robench
from robench.cli.entry import run_cli
from robench.errors import OptionError
from robench.evaluation.jobs import make_jobs
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing
from robench.runs.directory import RunDirectory
from tests.builders import each, mistake

NETWORK = """
from torch import nn

def build():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
"""
"""A network that takes any input size."""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    return "net.py:build"


@pytest.mark.parametrize(
    ("side", "suite"),
    [
        (28, "clean"),
        (32, "cifar-c"),
        (64, "tiny-imagenet-c"),
        (96, "clean"),
        (224, "imagenet-c"),
        (299, "imagenet-c-299"),
        (384, "imagenet-c"),
    ],
)
def test_the_default_is_the_published_suite_of_the_input_size(
    side: int, suite: str, network: str, picture_folder: Path
) -> None:
    (job,) = make_jobs([network], {"data": str(picture_folder), "crop": side}, device="cpu")
    classifier, suites = job.loaded()
    assert list(suites) == [suite]
    notes = [note for note in classifier.notes if "no corruption suite" in note]
    assert bool(notes) == (suite == "clean")
    assert all(f"{side} px" in note for note in notes)


def test_the_command_without_a_suite(
    network: str, picture_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    line = ["evaluate", network, "--data", str(picture_folder), "-n", "3", "--device", "cpu"]
    for options, suites, has_note in (
        (["--crop", "32", "--corruption", "fog", "--severity", "3"], {"clean", "cifar-c"}, False),
        (["--crop", "96"], {"clean"}, True),
        (["--crop", "32", "--suite", "clean"], {"clean"}, False),
        (["--crop", "64", "--preset", "ci"], {"clean", "tiny-imagenet-c"}, False),
    ):
        out = Path("-".join(options).replace("-", ""))
        assert run_cli([*line, *options, "--out", str(out)]) == 0
        assert {condition.suite for condition in RunDirectory.open(out).finished()} == suites
        assert ("no corruption suite was published" in capsys.readouterr().err) == has_note
    assert run_cli([*line, "--crop", "96", "--dry-run"]) == 0
    assert "no corruption suite was published" in capsys.readouterr().err


def test_python_without_a_suite(network: str, picture_folder: Path) -> None:
    for size, suites in ((32, ["clean", "cifar-c"]), (96, ["clean"])):
        options = Options() if size == 96 else Options(corruption=["fog"], severity=[1])
        run = robench.evaluate(network, picture_folder, size=size, limit=3, options=options, out=f"run{size}")
        assert list(run.results["suite"].unique()) == suites
        assert any("no corruption suite" in note for note in run.notes) == (size == 96)


SMALL = Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3)


@each(
    ("suites", "options", "match"),
    [
        (["cifar-c", "shift"], Options(corruption=["fog"]), "--corruption fog selects nothing of shift; omit it"),
        (["cifar-c", "shift"], Options(corruption=["fog"], severity=[3]), "selects nothing of shift"),
        (
            ["cifar-c", "cifar-p", "shift", "noise"],
            Options(corruption=["fog", "translate"]),
            "fog,translate selects nothing of shift, noise; omit them",
        ),
        (["all", "shift"], Options(corruption=["fog"]), "selects nothing of shift; omit it"),
        (["cifar-c"], Options(corruption=["translate"]), "cifar-c has no translate; it is in imagenet-p"),
        (["cifar-c", "imagenet-c"], Options(severity=[6]), "has no severity 6; use 1 to 5"),
        (["resolution"], Options(corruption=["information"], resolution=[64]), "nothing of suite resolution is left"),
    ],
)
def test_an_emptied_suite_is_an_error(suites: Sequence[str], options: Options, match: str) -> None:
    with pytest.raises(OptionError) as error:
        make_plan(suites, options, SMALL)
    assert match.removeprefix("--") in f"{error.value.problem}; {error.value.hint}".removeprefix("--")


def test_all_leaves_emptied_suites_out_with_a_note() -> None:
    plan = make_plan(["all"], Options(corruption=["fog", "translate"]), SMALL)
    assert {condition.suite for condition in plan.conditions} == {"clean", "cifar-c", "cifar-p"}
    assert len([one for one in plan.conditions if one.is_clean]) == 2, "no clean images of suites that are left out"
    (note,) = plan.notes
    assert note.startswith("--corruption fog,translate selects nothing of shift, scale, noise, occlusion, resolution")


def test_an_emptied_suite_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    line = "evaluate demo -n 8 --suite cifar-c,shift --corruption fog"
    assert run_cli(line.split()) == 2
    assert mistake(capsys.readouterr().err).startswith("--corruption fog selects nothing of shift")
