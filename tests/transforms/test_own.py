"""Own corruptions of a file: the recipe of docs/extending.md, its run, and mistakes in the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import robench
from robench.cli.entry import run_cli
from robench.errors import OptionError, RunError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Classifier, Preprocessing
from robench.plugins import find_plugin
from tests.builders import each, run_files

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
SMALL = Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3)


def recipe() -> str:
    """The first program of docs/extending.md."""
    found = re.search(r"```python title=\"my.py\"\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(recipe())
    return tmp_path


def test_the_recipe_runs_and_is_scored_without_its_file(
    folder: Path, classifier: Classifier, picture_folder: Path
) -> None:
    run = robench.evaluate(
        classifier, picture_folder, out="run", corruption=["my.py:fade", "my.py:grain"], severity=[1, 5]
    )
    assert run.suites == ["my.py"]
    assert list(run.table().index) == ["fade", "grain"]
    protocol = next(one.protocol for one in run.directory.conditions if one.suite == "my.py")
    plugin = find_plugin("suite", "my.py")
    assert plugin is not None
    assert f"+my.py-{plugin.version}#" in protocol
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    faded = robench.corrupt(pixels, "my.py:fade", 3).float()
    assert (faded - (pixels * 0.4 + 127.5 * 0.6)).abs().max() <= 1

    # A run that names a file never makes a reader run it.
    before = run_files(run.path)
    (folder / "my.py").write_text("open('touched', 'w').close()")
    assert run_cli(["score", "run"]) == 0
    assert run_cli(["gate", "run", "--baseline", "run"]) == 0
    assert run_files(run.path) == before
    assert not (folder / "touched").exists()
    (folder / "my.py").write_text(recipe().replace("0.9)", "0.8)"))
    with pytest.raises(RunError, match="run is another run"):
        robench.evaluate(
            classifier, picture_folder, out="run", corruption=["my.py:fade", "my.py:grain"], severity=[1, 5]
        )


def test_a_suite_and_a_function_of_the_session(folder: Path) -> None:
    listed = make_plan(["my.py:MINE"], Options(), SMALL).listed
    cells = [(one.suite, one.corruption, one.severity) for one in listed if one.suite != "clean"]
    assert cells == [("my.py:MINE", name, severity) for name in ("fade", "grain") for severity in range(1, 6)]
    (folder / "suite.py").write_text(
        recipe() + "from robench.suites import Geometry, Suite\n"
        'S = Suite("s", "mine", "here", Geometry(resize=(64, 64)), "64", corruptions=("fade", "fog"))\n'
    )
    plan = make_plan(["suite.py:S"], Options(severity=[2]), SMALL)
    assert [(one.corruption, one.resolution) for one in plan.listed[1:]] == [("fade", 64), ("fog", 64)]

    def invert(images: torch.Tensor) -> torch.Tensor:
        return 1 - images

    options = Options(corruption=[invert, "fog"])  # type: ignore[list-item]
    plan = make_plan(["cifar-c"], options, SMALL)
    assert [(one.suite, one.corruption) for one in plan.listed if one.severity == 1] == [
        ("cifar-c", "fog"),
        ("tests.transforms.test_own.py", "invert"),
    ]
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert (robench.corrupt(image, invert, 1).int() - (255 - image.int())).abs().max() <= 1


@each(
    ("text", "match"),
    [
        ("def f(images, k):\n    return images", "e.py:f: k has no constants by severity; write a default"),
        ("def f(images, k=('a',)):\n    return images", "k has no constants by severity"),
        ("def f(images, k=(1, 2), m=(1, 2, 3)):\n    return images", "defaults of several lengths"),
        ("def f():\n    return 0", "takes no images"),
        ("f = 3", "e.py:f is a int; give a function of images"),
        ("\n\ndef f(images, k=(1, 2)):\n    return images[:1]", r"e\.py:3 returns no \(2, 3, 32, 32\)"),
        ("\ndef f(images):\n    return images * float('nan')", "e.py:2 returns NaN"),
        (
            "def f(images, k=(1, 2)):\n    x = 3\n    return images + nope",
            "e.py:3 fails in the corruption 'f': NameError",
        ),
        ("def f(images):\n    raise SystemExit(2)", "e.py:2 fails in the corruption 'f': SystemExit"),
        (
            "import torch\ndef f(images):\n    return images + torch.rand(1)",
            "e.py:2 draws from a global random generator",
        ),
        ("import random\ndef f(images):\n    return images + random.random()", "draws from a global random generator"),
        ("import os\n\nx = 1 / 0", "e.py:3 fails: ZeroDivisionError"),
        ("def f(:", "e.py:1 fails: SyntaxError"),
        ("def g(images):\n    return images", "unknown name 'f' of e.py"),
    ],
)
def test_a_mistake_names_the_line(text: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.py").write_text(text)
    with pytest.raises(OptionError, match=match):
        make_plan(["clean"], Options(corruption=["e.py:f"]), SMALL)
