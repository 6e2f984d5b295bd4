"""Plugins of other packages are found only where nothing is built in, named in the results, and unable to break the rest.

Oracles: the example package, installed by pip and used by the command; packages written by hand that are wrong in one way.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

import robench
from robench.cli.entry import run_cli
from robench.errors import CheckpointError, OptionError, RunError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.prepare import prepare
from robench.evaluation.provenance import code_of_run, packages_of_run
from robench.models import Preprocessing, architecture_names, find_family
from robench.models.architectures import build_architecture, names_factory
from robench.plugins import GROUPS, plugins
from robench.runs.observer import Observer
from robench.suites import SUITES, find_suite
from robench.transforms.checks import check, deferred_checks
from robench.transforms.corruptions import find_corruption
from robench.transforms.draws import KeyedDraws
from robench.treatments import adapt, find_treatment
from tests.builders import mistake
from tests.transforms.on_device import device_alone

EXAMPLE = Path(__file__).parents[1] / "examples" / "robench-example"

CORRUPTION = """
from robench.transforms.corruptions.base import corruption, severities

@corruption(levels={"32": severities(share=(0.1, 0.2, 0.3, 0.4, 0.5))}, source="a test")
def fade(images, draws, *, share):
    '''Fade.'''
    return images * (1 - share)
"""
SUITE = """
from robench.suites.geometry import Geometry
from robench.suites import Suite, families

def suite(name="fades", corruptions=("fade",), constants="32", family=families.CORRUPTIONS):
    return Suite(name, "fades", "a test", Geometry(resize=(32, 32)), constants, corruptions, family=family)

SUITE = suite()
"""
FAMILY = """
from torch import nn
from robench.models import Family, Preprocessing

def build(name, classes=None):
    return nn.Flatten(), Preprocessing(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

FAMILY = Family(build, build, lambda: ["flat"])
"""


def install(place: Path, package: str, code: str, version: str = "1.0", /, **offered: dict[str, str]) -> None:
    """Write an installed package by hand: a module and the metadata that pip would leave."""
    module = package.replace("-", "_")
    (place / f"{module}-{version}.dist-info").mkdir(parents=True)
    (place / f"{module}.py").write_text(code)
    metadata = place / f"{module}-{version}.dist-info"
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = []
    for kind, entries in offered.items():
        lines += [f"[robench.{kind}]", *(f"{name} = {module}:{thing}" for name, thing in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def pictures() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))


SMALL = Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, built and installed by pip into a folder, without network."""
    if not {"pip", "setuptools"} <= {package.name for package in importlib.metadata.distributions()}:
        pytest.skip("needs pip and setuptools")
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, place / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", place / "site", place / "source"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return place / "site"


def test_the_example_runs_and_its_figures_name_it(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(installed)
    out = tmp_path / "run"
    assert run_cli(["evaluate", "demo", "--suite=example-fades", "--limit=20", f"--out={out}"]) == 0
    capsys.readouterr()
    with (tmp_path / "run" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    cells = {(row["corruption"], row["severity"]) for row in rows if row["metric"] == "error_rate"}
    assert {(name, str(level)) for name in ("example_fade", "fog") for level in range(1, 6)} < cells
    named = {row["suite"]: "+robench-example-0.1.0#" in row["protocol"] for row in rows}
    assert named == {"clean": False, "example-fades": True}


def test_the_example_is_listed_with_its_package(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("COLUMNS", "300")
    listed = (("suites", "example-fades"), ("corruptions", "example_fade"), ("treatments", "example-rounded"))
    for what, name in listed:
        assert run_cli(["list", what]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert [line for line in shown if name in line and "(robench-example 0.1.0)" in line], what
    assert run_cli(["list", "models", "example"]) == 0
    assert capsys.readouterr().out == "example:linear\n"
    assert run_cli(["list", "models"]) == 0
    assert "robench-example 0.1.0 has the family example" in capsys.readouterr().err


@pytest.mark.slow
def test_the_examples_models_load(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    done = robench.evaluate(
        robench.load_classifier("example:linear", device="cpu"), "demo", out=tmp_path / "run", options=Options(limit=4)
    )
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["model"]["arch"] == "example:linear"
    assert manifest["identity"]["packages"] == ["robench-example-0.1.0"]
    demo = robench.evaluate(
        robench.load_classifier("demo", device="cpu"), "demo", out=tmp_path / "other", options=Options(limit=4)
    )
    assert "packages" not in demo.directory.manifest["identity"], "older runs, which have none, resume"


def test_workers_with_another_version_of_a_package_refuse(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures would stand under the version that this process has."""
    other = tmp_path / "other"
    shutil.copytree(installed, other)
    (metadata,) = other.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    with monkeypatch.context() as here:
        here.syspath_prepend(installed)
        demo = robench.load_classifier("demo", device="cpu")
        recipes = [
            prepare(demo, "demo", ["example-fades"], tmp_path / "run", Options(limit=4), Observer()).spec,
            prepare(
                demo,
                "demo",
                ["clean"],
                tmp_path / "run",
                Options(limit=4, treatment=["example-rounded"]),
                Observer(),
            ).spec,
        ]
    monkeypatch.syspath_prepend(other)
    for recipe in recipes:
        assert recipe is not None
        with pytest.raises(RunError, match=r"robench-example 0\.2\.0 instead of 0\.1\.0; install the same"):
            recipe.build("cpu")


def test_the_code_of_a_model_is_that_of_its_layers() -> None:
    timm = pytest.importorskip("timm", reason="needs timm: pip install 'robench[timm]'")
    demo = robench.load_classifier("demo", device="cpu")
    model = replace(demo, module=timm.create_model("resnet18", pretrained=False))
    code = code_of_run(model, [], [find_suite("cifar-c")], "torch")
    assert {"timm", "torch"} <= set(code)
    assert "transformers" not in code
    assert "imagecorruptions" in code_of_run(model, [], [], "reference")


def test_the_examples_treatment(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By NumPy: the weights on a grid of 2^(bits - 1) - 1 steps to each side, every layer its own."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.delitem(sys.modules, "robench_example", raising=False)
    demo, options = (
        robench.load_classifier("demo", device="cpu"),
        Options(treatment=["example-rounded:bits=3"], limit=20),
    )
    before = {name: value.numpy().copy() for name, value in demo.module.named_parameters()}
    done = robench.evaluate(demo, "demo", ["clean"], tmp_path / "run", options=options)
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["treatment"] == "example-rounded:bits=3"
    assert manifest["identity"]["packages"] == ["robench-example-0.1.0"]
    assert "example-rounded:bits=3 changes 8 layers" in manifest["notes"]
    changed, _ = adapt(demo, options.treatment, None, 0).start()
    for name, value in changed.module.named_parameters():
        expected = before[name]
        if expected.ndim > 1:
            step = np.abs(expected).max() / 3
            expected = np.round(expected / step) * step
        assert np.allclose(value.numpy(), expected, atol=1e-6), name
        assert np.array_equal(dict(demo.module.named_parameters())[name].numpy(), before[name]), "the model's own stay"
    with pytest.raises(OptionError, match="example-rounded takes a number from 2 to 16 as bits, not '1'"):
        Options(treatment=["example-rounded:bits=1"])


@pytest.mark.slow
def test_the_rest_of_robench_takes_the_examples_runs(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the package, results can still be shown; commands that need the suite name the package."""
    monkeypatch.setenv("COLUMNS", "200")
    demo, place = robench.load_classifier("demo", device="cpu"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.syspath_prepend(installed)
        robench.evaluate(demo, "demo", ["example-fades"], place, options=Options(limit=10, severity=[1]))
        before = (place / "results.csv").read_bytes()
        for arguments in (
            ["score", str(place)],
            ["gate", str(place), "--baseline", str(place)],
            ["compare", str(place), str(place)],
            ["leaderboard", str(place), "--out", str(tmp_path / "board.csv")],
            ["report", str(place), "--out", str(tmp_path / "page.html"), "--examples", "1"],
        ):
            assert run_cli(arguments) == 0, capsys.readouterr().err
        assert (place / "results.csv").read_bytes() == before
        capsys.readouterr()
        assert run_cli(["show", str(place)]) == 0
        assert "2 of 10 cells" in capsys.readouterr().out
    assert "fades mean error" in (tmp_path / "page.html").read_text()
    assert run_cli(["show", str(place), "--verbose"]) == 0
    assert "2 cells" in capsys.readouterr().out
    assert run_cli(["score", str(place)]) == 2
    assert "install the package that its protocol resize32x32-bilinear+fp32+robench-example-0.1.0#" in (
        capsys.readouterr().err
    )


def test_another_version_is_another_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the suite's package, and of one that a corruption alone is of; without any the protocol is as it was."""
    offered = {"corruptions": {"fade": "fade"}}
    found = {}
    for suite_version, fade_version in (("1.0", "1.0"), ("1.1", "1.0"), ("1.0", "2.0")):
        place = tmp_path / f"{suite_version}-{fade_version}"
        install(place, "fades-suite", SUITE, suite_version, suites={"fades": "SUITE"})
        install(place, "fade", CORRUPTION, fade_version, **offered)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(place)
            for module in ("fades_suite", "fade"):
                patch.delitem(sys.modules, module, raising=False)
            listed = make_plan(["fades"], Options(), SMALL).listed
        protocols = {one.protocol for one in listed if one.suite == "fades"}
        assert len(protocols) == 1
        text = protocols.pop()
        assert f"+fade-{fade_version}+fades-suite-{suite_version}#" in text
        found[text.rpartition("#")[2]] = text
    assert len(found) == 3
    own = make_plan(["cifar-c"], Options(), SMALL).listed
    assert {one.protocol for one in own if one.suite == "cifar-c"} == {"resize32x32-bilinear+fp32#c81a88ad"}


def test_nothing_is_imported_for_what_is_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that cannot be imported takes the names of built-in things, and is never asked."""
    taken = {"suites": {"cifar-c": "X"}, "corruptions": {"fog": "X"}, "models": {"zoo": "X"}}
    install(tmp_path, "taker", "raise SystemExit(3)", "1.0", **taken)
    monkeypatch.syspath_prepend(tmp_path)
    assert [offer.name for offer in plugins("suite")] == ["cifar-c"]
    assert find_suite("cifar-c") is SUITES["cifar-c"]
    assert find_corruption("fog", "32").random
    assert "cifar_resnet8" in architecture_names("zoo")
    assert "taker" not in sys.modules


def test_what_is_built_in_is_listed_once_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "taker", SUITE, suites={"cifar-c": "suite", "gone": "missing"}, models={"zoo": "SUITE"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert run_cli(["list", "suites"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("cifar-c ") == 1
    assert "the suite 'cifar-c' of taker 1.0 is ignored because the name is built in" in shown.err
    assert "taker 1.0 cannot provide the suite 'gone': AttributeError: " in shown.err
    assert run_cli(["list", "models"]) == 0
    assert "the family 'zoo' of taker 1.0 is ignored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "thing", "says"),
    [
        ("import nowhere_to_be_found", "X", "cannot provide the suite 'fades': ModuleNotFoundError: No module named"),
        ("raise SystemExit('no\\nreally')", "X", "cannot provide the suite 'fades': SystemExit: no really"),
        ("X = 1", "X", "the suite 'fades' of bad 1.0 has the type int instead of robench.suites.suite.Suite"),
        ("X = 1", "Y", "cannot provide the suite 'fades': AttributeError"),
        (SUITE + "X = suite('fade')", "X", "registers the suite 'fade' as 'fades'; give both the same name"),
        (SUITE + "X = suite(corruptions=('fadde',))", "X", "the suite fades of bad 1.0 is invalid: unknown corruption"),
        (SUITE + "X = suite(corruptions=('fog',), constants='99')", "X", "is invalid: fog has no constants '99'"),
        (SUITE + "X = suite(corruptions=('rotat',), family=families.SEQUENCES)", "X", "did you mean 'rotate'?"),
    ],
)
def test_a_broken_suite_is_one_line_that_names_its_package(
    code: str,
    thing: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(tmp_path, "bad", code, suites={"fades": thing})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    assert run_cli(["evaluate", "demo", "--suite", "fades", "--out", str(tmp_path / "run")]) == 2
    shown = mistake(capsys.readouterr().err)
    assert says in shown
    assert "bad 1.0" in shown


def test_two_packages_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one", "two"):
        install(tmp_path, package, SUITE, suites={"fades": "SUITE"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match=r"one 1\.0 and two 1\.0 each provide a suite named 'fades'; uninstall"):
        find_suite("fades")


def test_an_unknown_name_is_answered_with_what_packages_offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "mine", SUITE, suites={"fades": "SUITE"}, corruptions={"fade": "X"}, models={"mine": "X"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match="did you mean 'fades'"):
        find_suite("fadse")
    with pytest.raises(OptionError, match="did you mean 'fade'"):
        find_corruption("fadee", "32")
    with pytest.raises(CheckpointError, match="did you mean 'mine'"):
        find_family("mien")
    assert "mine" not in sys.modules


def test_a_name_that_packages_take_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever offers it: built in, and two packages."""
    for package in ("one", "two"):
        install(tmp_path, package, SUITE, treatments={"bn-test": "X", "mend": "X"}, suites={"cifar-c": "X"})
    monkeypatch.syspath_prepend(tmp_path)
    for find, name, once in ((find_treatment, "zzz", ("bn-test", "mend")), (find_suite, "zzz", ("cifar-c",))):
        with pytest.raises(OptionError) as caught:
            find(name)
        listed = caught.value.hint.removeprefix("choose one of ").split(", ")
        assert [listed.count(one) for one in once] == [1] * len(once)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("1 / 0", r"faulty 1\.0 fails in the corruption 'fade': ZeroDivisionError: division by zero"),
        ("return images[:, :1]", r"faulty 1\.0 returns no \(2, 3, 32, 32\) torch.float32 from the corruption 'fade'"),
        ("return images / 0 * 0", r"faulty 1\.0 returns NaN or infinite pixels from the corruption 'fade'"),
        ("return None", r"faulty 1\.0 returns no "),
    ],
)
def test_a_corruption_that_fails_names_its_package(
    body: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "faulty", CORRUPTION.replace("return images * (1 - share)", body), corruptions={"fade": "fade"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty", raising=False)
    found = find_corruption("fade", "32")
    with pytest.raises(OptionError, match=says):
        found(pictures(), KeyedDraws(0, torch.arange(2), "fade"), found.params("32", 1))


def test_the_check_of_pixels_on_a_device_waits_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: a fake device, whose values no host can read; then values of a CPU in their place."""
    says = "patient 1.0 returns NaN or infinite pixels from the corruption 'fade'"
    install(tmp_path, "patient", CORRUPTION, corruptions={"fade": "fade"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("robench.transforms.corruptions._generators", tuple)  # The state of torch's is no fake tensor.
    found = find_corruption("fade", "32")
    with FakeTensorMode():
        images, index = torch.zeros((2, 3, 32, 32), dtype=torch.uint8, device="cuda"), torch.arange(2, device="cuda")
        with deferred_checks() as checks, device_alone():
            for _ in range(2):
                found(images, KeyedDraws(0, index, "fade"), found.params("32", 1))
        assert [str(error) for _, error in checks.pending] == [str(OptionError(says))] * 2
    checks.pending = [
        (torch.tensor(value), error) for value, (_, error) in zip((True, False), checks.pending, strict=True)
    ]
    with pytest.raises(OptionError, match=says):
        checks.copied()()


def test_a_check_on_a_cpu_fails_at_once() -> None:
    with deferred_checks():
        check(torch.tensor(True), OptionError("right"))
        with pytest.raises(OptionError, match="wrong"):
            check(torch.tensor(False), OptionError("wrong"))


def test_too_little_memory_in_a_corruption_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns it into advice about the batch size."""
    code = CORRUPTION.replace("return images", "import torch; raise torch.OutOfMemoryError('full'); return images")
    install(tmp_path, "hungry", code, corruptions={"fade": "fade"})
    monkeypatch.syspath_prepend(tmp_path)
    found = find_corruption("fade", "32")
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        found(pictures(), KeyedDraws(0, torch.arange(2), "fade"), found.params("32", 1))


def test_a_family_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "nets", FAMILY, models={"nets": "FAMILY", "my-nets": "FAMILY"}, treatments={"mend": "X"})
    monkeypatch.syspath_prepend(tmp_path)
    assert not names_factory("nets:flat"), "an offered family comes before a module of the name"
    assert isinstance(build_architecture("nets:flat")[0], torch.nn.Flatten)
    assert isinstance(build_architecture("my-nets:flat")[0], torch.nn.Flatten)
    assert packages_of_run("nets:flat") == ["nets-1.0"]
    assert packages_of_run("zoo:cifar_resnet8", ["mend", "bn-test"]) == ["nets-1.0"]
    assert packages_of_run("zoo:cifar_resnet8") == packages_of_run("nets.py:build") == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            FAMILY.replace("return nn.Flatten()", "return 1"),
            r"odd 1\.0 returns a tuple for odd:flat instead of a module and",
        ),
        (
            FAMILY.replace("    return nn", "    raise ValueError('no')\n    return nn"),
            r"odd 1\.0 cannot .* odd:flat: V",
        ),
        (
            "FAMILY = 3",
            r"the family 'odd' of odd 1\.0 has the type int instead of robench.models.architectures.base.Family",
        ),
    ],
)
def test_a_family_that_fails_names_its_package(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "odd", code, models={"odd": "FAMILY"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    for load in (build_architecture, robench.load_classifier):
        with pytest.raises((CheckpointError, OptionError), match=says):
            load("odd:flat")


def test_the_groups_are_those_that_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
    assert all(f"`{group}`" in text for group in GROUPS.values())
    assert (EXAMPLE / "robench_example.py").read_text() in text
    assert (EXAMPLE / "pyproject.toml").read_text() in text
