"""The light installation: the wheel beside its shipped list alone judges results, without torch, pyarrow or the network.

Oracle: an interpreter that refuses to import every distribution but the listed ones and what these require in turn.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from functools import cache
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from packaging.requirements import Requirement

from robench.analysis.gate.formats import verdict_json
from robench.analysis.gate.gate import gate
from robench.minimal import PARQUET_READER, REQUIRED, main, requirements
from tests.analysis.gate.invented import write_run
from tests.builders import mistake

ROOT = Path(__file__).parents[1]

_CODE = """
import contextlib, io, json, sys
site, allowed, commands = sys.argv[1], sys.argv[2].split(","), json.loads(sys.argv[3])

class Refusing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.path.insert(0, site)
sys.meta_path.insert(0, Refusing())
from robench.cli.entry import run_cli
assert sys.modules["robench"].__file__.startswith(site)
said = []
for one in commands:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run_cli(one)
    said.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, as `pip install --no-deps` leaves it."""
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = built.glob("robench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


@cache
def needed() -> set[str]:
    """The listed distributions and all that they require."""
    names: set[str] = set()
    left = [*REQUIRED, Requirement(PARQUET_READER).name]
    while left:
        name = _canonical(left.pop())
        if name in names:
            continue
        names.add(name)
        for text in requires(name) or ():
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                left.append(one.name)
    return names


@cache
def allowed() -> list[str]:
    """Top-level modules of these distributions, and robench."""
    homes = packages_distributions().items()
    return ["robench", *(module for module, of in homes if any(_canonical(one) in needed() for one in of))]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Said(NamedTuple):
    """The answer of a command."""

    code: int
    out: str
    err: str


def run(site: Path, *commands: Sequence[object]) -> list[Said]:
    """Run commands of robench, one after another, in one interpreter that has the listed distributions alone."""
    given = json.dumps([[str(one) for one in arguments] for arguments in commands])
    command = [sys.executable, "-I", "-W", "error", "-c", _CODE, str(site), ",".join(allowed()), given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [Said(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    rng = np.random.default_rng(0)
    base = {("clean", 0): rng.random(400) < 0.1, ("fog", 1): rng.random(400) < 0.2}
    worse = {cell: wrong | (rng.random(400) < 0.3) for cell, wrong in base.items()}
    return write_run(root / "base", base), write_run(root / "run", worse)


def test_the_list_is_what_the_wheel_says(site: Path) -> None:
    code = "import runpy, sys; sys.path.insert(0, sys.argv.pop()); runpy.run_module('robench.minimal', run_name='__main__')"
    command = [sys.executable, "-I", "-W", "error", "-c", code, str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == requirements()
    assert [re.split("[>=]", line)[0] for line in requirements()] == [*REQUIRED, "fastparquet"]
    assert not {"torch", "pyarrow", "scipy"} & set(allowed())


def test_pip_gets_the_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    done: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command) or done)  # type: ignore[func-returns-value]
    assert main(["--install"]) == 3
    assert calls[0][:4] == [sys.executable, "-m", "pip", "install"]
    assert calls[0][-6:] == requirements()
    assert main(["--instal"]) == 2
    assert capsys.readouterr().err == "error: the only option is --install\n"


def test_it_is_under_150_mb(site: Path) -> None:
    """As `pip install --no-compile` leaves it: without bytecode."""
    listed = [file.locate() for name in needed() for file in files(name) or () if file.suffix != ".pyc"]
    own = [file for file in site.rglob("*") if file.is_file()]
    assert sum(Path(str(file)).stat().st_size for file in (*listed, *own)) < 150e6


def test_every_verb_on_tables_works_with_the_list_alone(site: Path, sides: tuple[Path, Path]) -> None:
    base, worse = sides
    baseline = base.parent / "baseline.csv"
    board = base.parent / "leaderboard.csv"
    forms = ("table", "junit", "github", "markdown")
    described, updated, *judged, passed, compared, ranked, drawn, table, csv = run(
        site,
        ["gate", "--help"],
        ["gate", base, "--baseline", baseline, "--update-baseline"],
        *(["gate", worse, "--baseline", baseline, "--format", form] for form in forms),
        ["gate", base, "--baseline", baseline],
        ["compare", baseline, worse / "results.csv", "--format", "json"],
        ["leaderboard", baseline, worse / "results.csv", "--out", board],
        ["history", base, worse],
        *(["show", worse, "--format", form] for form in ("table", "csv")),
    )
    for one in (described, updated, passed, compared, ranked, drawn, table, csv):
        assert one.code == 0, one.err
    assert baseline.read_bytes() == (base / "results.csv").read_bytes()
    assert len(judged) == len(forms)
    for one in judged:
        assert one.code == 1, one.err
        assert "1 of 2" in one.err or "2 of 2" in one.err
    assert {one["metric"] for one in json.loads(compared.out)} >= {"accuracy", "error_rate", "mean_error"}
    assert len(board.read_text().splitlines()) == 3
    assert csv.out == (worse / "results.csv").read_text()


def test_paired_tests_work_with_the_list_alone(site: Path, sides: tuple[Path, Path]) -> None:
    """Oracle: the gate in this interpreter, which reads the records through pyarrow."""
    base, worse = sides
    paired, compared = run(
        site,
        ["gate", worse, "--baseline", base, "--format", "json"],
        ["compare", base, worse, "--format", "csv", "--flips", base.parent / "flips.csv"],
    )
    assert paired.code == 1, paired.err
    assert paired.out == verdict_json(gate(worse, base))
    assert "tests are paired" in paired.err
    assert compared.code == 0, compared.err
    assert (base.parent / "flips.csv").read_text().count("negative_flip") > 50


def test_what_needs_more_says_what_to_install(site: Path, sides: tuple[Path, Path]) -> None:
    base, _ = sides
    (torch,) = run(site, ["evaluate", "demo", "--out", base.parent / "new"])
    assert torch.code == 2
    assert "is not installed; run `pip install robench`" in mistake(torch.err)
