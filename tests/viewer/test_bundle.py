"""The page as static files."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from robench.cli.entry import run_cli
from robench.viewer.items import items
from robench.viewer.query import find, parse_query
from robench.viewer.samples import SampleTable
from tests.builders import each, mistake, run_files

Capture = pytest.CaptureFixture[str]


def content(folder: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', (folder / "index.html").read_text())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_bundle_holds_the_first_samples_of_each_condition(
    table: SampleTable, pair: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    before = [run_files(path) for path in pair]
    out = tmp_path / "bundle"
    command = ["view", *map(str, pair), "--bundle", str(out), "-n", "2", "--outcome", "wrong,any", "--order", "doubt"]
    assert run_cli([*command, "--suite", "cifar-c"]) == 0
    data = content(out)
    expected = []
    for name, entry in table.conditions.items():
        if entry.suite == "cifar-c":
            texts = {"condition": name, "outcome": "wrong", "order": "doubt"}
            expected += items(table, find(table, parse_query(texts, table)), 0, 2)
    assert [{**one, "flips": 0} for one in data["items"]] == [{**one, "flips": 0} for one in expected]
    files = {file.relative_to(out).as_posix() for file in (out / "images").iterdir()}
    assert set(data["images"].values()) == files, "no more and no less"
    assert set(data["samples"]) == {str(one["sample"]) for one in expected}
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    printed = capsys.readouterr().out
    assert f"{len(files)} images of {len(data['samples'])} samples, {size / 1000:.1f} kB; open" in printed
    assert str(tmp_path) not in (out / "index.html").read_text(), "no path of this machine"
    (out / "notes.txt").write_text("mine")
    assert run_cli(["view", *map(str, pair), "--bundle", str(out), "-n", "1", "--corruption", "snow"]) == 0
    data = content(out)
    assert set(data["images"].values()) == {file.relative_to(out).as_posix() for file in (out / "images").iterdir()}
    assert (out / "notes.txt").read_text() == "mine"
    assert [run_files(path) for path in pair] == before
    assert not list(tmp_path.glob(".tmp-*"))


@each(
    "more, problem",
    [
        (["--bundle", "{tmp}/other"], "is a folder of another kind; choose another path, or write it with --force"),
        (["--bundle", "{tmp}/file"], "is a file; name a folder"),
        (["--bundle", "{tmp}/no/where"], "is in a directory that does not exist"),
        (["--bundle", "{run}"], "is inside a run directory"),
        (["--bundle", "{run}/view"], "is inside a run directory"),
        (["--bundle", "{tmp}/new", "-n", "0"], "--limit must be at least 1"),
        (["--bundle", "{tmp}/new", "--corruption", "snow", "--confidence", "1-1"], "no image matches"),
        (["--bundle", "{tmp}/new", "--class", "dog"], "unknown class 'dog'"),
        (["--bundle", "{tmp}/new", "--data", "demo"], "has other images than the run evaluated"),
        (["--confidence", "90%"], "confidence must be from 0 to 1"),
        (["--outcome", "right,wrong"], "2 outcomes are given for 1 run; give one for each run, in their order"),
        (["--order", "size"], "--order"),
        (["--port", "{port}"], "port {port} cannot be used: Address already in use; omit --port for a free one"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], problem: str, pair: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<!doctype html>")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        places = {"tmp": tmp_path, "run": pair[0], "port": busy.getsockname()[1]}
        arguments = ["view", str(pair[0]), "--no-open", *(one.format(**places) for one in more)]
        capsys.readouterr()
        assert run_cli(arguments) == 2
    assert problem.format(**places) in mistake(capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_its_extra(pair: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run_cli(["view", str(pair[0]), "--no-open"]) == 2
    assert mistake(capsys.readouterr().err) == "the page needs uvicorn; pip install 'robench[view]'"


def test_force_writes_into_another_folder_and_keeps_its_files(pair: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "site"
    (out / "images").mkdir(parents=True)
    (out / "images" / "logo.png").write_bytes(b"mine")
    arguments = ["view", str(pair[0]), "--bundle", str(out), "-n", "1", "--corruption", "snow", "--force"]
    assert run_cli(arguments) == 0
    assert (out / "images" / "logo.png").read_bytes() == b"mine"
    assert content(out)["items"]
    shutil.rmtree(out)
