"""examples/ci-gate as CI runs it: the shell lines of its workflows, in order, in a copy of it, but for what installs packages.

Oracle: the exit codes that a CI system reads, and the standard library's XML parser.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from robench.cli.entry import run_cli
from tests.analysis.gate.invented import first, write_run
from tests.fake_github import fake_github

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/ci-gate"


def test_the_copy_of_the_action_is_the_action() -> None:
    copy = EXAMPLE / ".github/actions/robench-gate/action.yml"
    assert copy.read_bytes() == (ROOT / "action.yml").read_bytes()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the example."""
    root = tmp_path / "repository"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(autouse=True)
def tools(tmp_path: Path) -> None:
    """The commands that the example uses, in tmp_path/bin."""
    for name, module in (("python", ""), ("robench", "-m robench ")):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        tool.chmod(0o755)


def shell(script: str, root: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step's script as GitHub runs it."""
    tools = next(folder / "bin" for folder in (root, root.parent) if (folder / "bin").is_dir())
    environment = os.environ | variables | {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def github(root: Path, degraded: bool) -> list[subprocess.CompletedProcess[str]]:
    """Run the workflow's steps up to the first that fails; what GitHub's own actions do between two jobs is there already."""
    done = []
    jobs = load(root / ".github/workflows/robustness.yml")["jobs"]
    assert list(jobs) == ["evaluate", "gate"]
    for job in jobs.values():
        for step in job["steps"]:
            for script, variables in scripts(step, root):
                if degraded:
                    script = script.replace("train.py", "train.py --noise 0.2")
                done.append(shell(script, root, {"GITHUB_STEP_SUMMARY": str(root / "summary.md"), **variables}))
                if done[-1].returncode:
                    return done
    return done


def scripts(step: dict[str, Any], root: Path) -> list[tuple[str, dict[str, str]]]:
    """The shell lines of a step with their variables, but for those that install; of the repository's own action, its steps'."""
    if "run" in step:
        return [] if "pip install" in step["run"] else [(step["run"], {})]
    if not step["uses"].startswith("./"):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step
        return []
    action = load(root / step["uses"] / "action.yml")
    given = {name: one.get("default", "") for name, one in action["inputs"].items()} | step["with"]
    found = []
    for one in action["runs"]["steps"]:
        variables = {
            name: given[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1]]  # type: ignore[index]
            for name, value in one["env"].items()
        }
        if "pip install" not in one["run"]:
            found.append((one["run"], variables))
    return found


@pytest.mark.slow(minutes=0.5)
def test_github_fails_for_a_degraded_model_and_passes_for_the_accepted(repository: Path) -> None:
    done = github(repository, degraded=True)
    assert [one.returncode for one in done] == [0, 0, 1], done[-1].stderr
    errors = [line for line in done[-1].stdout.splitlines() if line.startswith("::error title=robench gate%3A ")]
    assert len(errors) == 1
    assert "mean_error of cifar-c went from 13.75 %25 to " in errors[0]
    assert "significantly worse by more than 0.5 pp (p < .001 after Holm's correction)" in errors[0]
    summary = (repository / "summary.md").read_text()
    assert summary.startswith("### ❌ robench gate failed: 1 of 3 comparisons\n")
    assert "| **FAILED** | mean\\_error of cifar-c |" in summary
    suite = ElementTree.parse(repository / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    (failure,) = suite.iter("failure")
    assert (failure.get("message") or "").startswith("mean_error of cifar-c went from")

    run, baseline = repository / "runs/new", repository / "baseline.csv"
    assert run_cli(["gate", str(run), "--baseline", str(baseline), "--update-baseline"]) == 0
    step = {"uses": "./.github/actions/robench-gate", "with": {"run": str(run), "baseline": str(baseline)}}
    ((script, variables),) = scripts(step, repository)
    assert shell(script, repository, variables).returncode == 0


@pytest.mark.slow
def test_the_action_keeps_one_comment_up_to_date(tmp_path: Path) -> None:
    cells = {("clean", 0): first(2, 40), ("fog", 3): first(10, 40), ("contrast", 3): first(30, 40)}
    for name, fog in (("base", 10), ("worse", 36), ("same", 10)):
        write_run(tmp_path / name, {**cells, ("fog", 3): first(fog, 40)}, metrics=("error_rate", "mean_error"))
    shutil.copytree(EXAMPLE / ".github", tmp_path / ".github")
    with fake_github(tmp_path) as state:
        for name, code, heading in (
            ("worse", 1, "### ❌ robench gate failed: 1 of 2 comparisons"),
            ("same", 0, "### ✅ robench gate passed: 2 comparisons"),
            ("missing", 2, "### ⚠️ robench gate: no verdict"),
            ("worse", 1, "### ❌ robench gate failed: 1 of 2 comparisons"),
        ):
            step = {"uses": "./.github/actions/robench-gate", "with": {"run": name, "baseline": "base"}}
            ((script, variables),) = scripts(step, tmp_path)
            done = shell(script, tmp_path, variables | state.variables)
            assert done.returncode == code, done.stderr
            (comment,) = state.comments
            assert comment["body"].splitlines()[1] == heading
    lines = comment["body"].splitlines()
    assert "| cifar-c | weather | digital |" in lines
    assert [line for line in lines if line.startswith(("| before", "| after", "| change"))] == [
        "| before | 🟧 | ⬛ |",
        "| after | ⬛ | ⬛ |",
        "| change | 🔺 | ➖ |",
    ]
    assert any(line.startswith("**worse makes 32.5 pp more errors on cifar-c than base, 95 % CI") for line in lines)


@pytest.mark.nightly
def test_gitlab_passes_for_the_accepted_model(repository: Path) -> None:
    jobs = load(repository / ".gitlab-ci.yml")
    assert jobs["stages"] == ["evaluate", "gate"]
    for name in jobs["stages"]:
        lines = [line for line in jobs[name]["script"] if not line.startswith("pip install")]
        done = shell("\n".join(lines), repository, {})
        assert done.returncode == 0, done.stderr
    assert "gate passed: 3 comparisons" in done.stderr
    assert ElementTree.parse(repository / "gate.xml").getroot().get("failures") == "0"
