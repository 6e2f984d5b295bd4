"""`robench cache`: what is listed is what lies on the disk; what is in use stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robench.cli.entry import run_cli
from robench.datasets import Decoded, cache_folder, decode, hash_images, open_dataset, select
from robench.suites.geometry import Geometry
from tests.builders import mistake

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")


def load(folder: Path, side: int) -> Decoded:
    images = open_dataset(folder)
    return decode(images, hash_images(images, select(images)), Geometry(resize=(side, side)), skip=False)


def keys() -> dict[str, int]:
    """Size by key, of what is on the disk."""
    folder = cache_folder() / "decoded"
    return {entry.name: sum(file.stat().st_size for file in entry.iterdir()) for entry in folder.iterdir()}


def test_list(picture_folder: Path, capsys: Capture) -> None:
    assert run_cli(["cache", "list"]) == 0
    assert capsys.readouterr().out.startswith("0 B of at most ")
    held = load(picture_folder, 32)
    load(picture_folder, 16)
    assert run_cli(["cache", "list", "--format", "json"]) == 0
    cache = json.loads(capsys.readouterr().out)
    assert {entry["key"]: entry["bytes"] for entry in cache["entries"]} == keys()
    assert cache["bytes"] == sum(keys().values())
    shown = {entry["geometry"]: (entry["name"], entry["images"], entry["in_use"]) for entry in cache["entries"]}
    assert shown == {
        "resize32x32-bilinear": ("pictures", 30, True),
        "resize16x16-bilinear": ("pictures", 30, False),
    }
    assert run_cli(["cache", "list"]) == 0
    text = capsys.readouterr().out
    for entry in cache["entries"]:
        assert entry["key"][:8] in text
    assert f"in {cache_folder()}" in text
    del held


def test_clear(picture_folder: Path, capsys: Capture) -> None:
    held = load(picture_folder, 32)
    load(picture_folder, 16)
    assert run_cli(["cache", "clear"]) == 0
    text = capsys.readouterr().out
    assert "removed pictures at resize16x16-bilinear" in text
    assert "kept pictures at resize32x32-bilinear" in text
    assert ": in use" in text
    assert len(keys()) == 1
    assert held.images.pixels.shape == (30, 3, 32, 32)
    del held
    assert run_cli(["cache", "clear", "pictures"]) == 0
    assert keys() == {}


def test_clear_by_key_and_age(picture_folder: Path, capsys: Capture) -> None:
    for side in (8, 16, 32):
        load(picture_folder, side)
    named, old, new = keys()
    os.utime(cache_folder() / "decoded" / old / "entry.json", (time.time() - 3 * 86_400,) * 2)
    assert run_cli(["cache", "clear", "--older-than", "2"]) == 0
    assert set(keys()) == {named, new}
    assert run_cli(["cache", "clear", named[:8]]) == 0
    assert set(keys()) == {new}
    capsys.readouterr()


def test_another_versions_entry_is_listed_and_cleared(capsys: Capture) -> None:
    entry = cache_folder() / "decoded" / ("0" * 32)
    entry.mkdir(parents=True)
    (entry / "images.npy").write_bytes(b"12345")
    (entry / "unreadable.json").write_text("{}")
    assert run_cli(["cache", "list"]) == 0
    assert "another version" in capsys.readouterr().out
    assert run_cli(["cache", "clear"]) == 0
    assert "7 B freed" in capsys.readouterr().out
    assert keys() == {}


def test_what_is_no_entry_stays(capsys: Capture) -> None:
    other = cache_folder() / "decoded" / "mine"
    other.mkdir(parents=True)
    assert run_cli(["cache", "clear"]) == 0
    assert other.exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["cache", "clear", "picture"], "did you mean 'pictures'?"),
        (["cache", "clear", "--older-than", "-1"], "must be 0 or more days"),
        (["cache", "clear", "--older-than", "nan"], "must be 0 or more days"),
        (["cache", "list", "--format", "csv"], "--format is table or json, not 'csv'"),
    ],
)
def test_a_mistake_removes_nothing(arguments: list[str], match: str, picture_folder: Path, capsys: Capture) -> None:
    load(picture_folder, 8)
    assert run_cli(arguments) == 2
    assert match in capsys.readouterr().err
    assert len(keys()) == 1


def test_a_size_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "much")
    assert run_cli(["cache", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: ROBENCH_CACHE_SIZE must be a size, not 'much'")


def test_it_starts_without_torch() -> None:
    code = "import sys; from robench.cli.entry import run_cli; run_cli(['cache', 'list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("action", ["list", "clear"])
def test_a_file_is_no_cache(action: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "cache").write_text("")
    assert run_cli(["cache", action]) == 2
    assert "is a file; set ROBENCH_CACHE to a folder" in mistake(capsys.readouterr().err)
