"""A release: what the two archives hold, what pip makes of them, and what GitHub runs. Oracles: pip, bash and a reader of YAML."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_version_is_in_one_place() -> None:
    version = PROJECT["version"]
    named = [ROOT / name for name in ("CITATION.cff", "README.md", "action.yml", "docs/citing.md")]
    named += (ROOT / "src").rglob("*.py")
    assert not [path for path in named if version in path.read_text()]


def test_workflows_cover_what_the_package_declares() -> None:
    loaded: dict[str, Any] = {path.name: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
    assert set(loaded) == {"tests.yml", "release.yml"}
    matrix = loaded["tests.yml"]["jobs"]["tests"]["strategy"]["matrix"]
    declared = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: Python :: 3." in text]
    assert matrix["python"] == declared
    lowest = {text.partition(">=")[0]: text.partition(">=")[2] for text in PROJECT["dependencies"] if ">=" in text}
    steps = loaded["tests.yml"]["jobs"]["lowest-torch"]["steps"]
    assert f'"torch=={lowest["torch"]}.*" "torchvision=={lowest["torchvision"]}.*"' in steps[-1]["run"]
    publish = loaded["release.yml"]["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in "".join(path.read_text() for path in WORKFLOWS)
    for workflow in loaded.values():
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                script = step.get("run", "")
                assert "${{ github" not in script  # Values of events reach the shell as variables.
                subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_issue_forms_have_what_github_needs() -> None:
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert form["name"]
        assert form["description"]
        ids = [element["id"] for element in form["body"]]
        assert len(set(ids)) == len(ids)
        assert any(element.get("validations", {}).get("required") for element in form["body"])


@pytest.mark.slow(minutes=0.2)
def test_pip_installs_both_archives_without_their_requirements(tmp_path: Path) -> None:
    built = tmp_path / "dist"
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(built)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name == f"robench-{PROJECT['version']}-py3-none-any.whl"
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/robench").rglob("*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = (name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
    assert {name for name in names if not name.startswith(info)} == source
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= names
    assert (metadata["Version"], metadata["License-Expression"]) == (PROJECT["version"], "Apache-2.0")
    assert metadata["Description-Content-Type"] == "text/markdown"
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"SECURITY.md", "NOTICE", "CHANGELOG.md", "tests/test_release.py", "src/robench/py.typed"} <= held
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--no-compile",
    ]
    for archive_path in (wheel, sdist):
        site = tmp_path / archive_path.suffix
        subprocess.run([*pip, "--target", str(site), str(archive_path)], capture_output=True, check=True)
        installed = {path.relative_to(site).as_posix() for path in (site / "robench").rglob("*") if path.is_file()}
        assert installed == source
        code = f"import sys; sys.path.insert(0, {str(site)!r}); from robench.cli.entry import run_cli; sys.exit(run_cli(['version']))"
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        assert PROJECT["version"] in done.stdout
