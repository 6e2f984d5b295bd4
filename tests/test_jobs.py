"""Files of several models: what they may say, and what is wrong with them in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from robench.errors import OptionError
from robench.jobs import read_jobs


def written(folder: Path, text: str) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text)
    return path


def test_jobs_have_what_is_shared_and_their_own(tmp_path: Path) -> None:
    text = (
        'data = "val"\nsuite = ["cifar-c"]\n[[job]]\nmodel = "a.pth"\n'
        '[[job]]\nmodel = "b.pth"\nsuite = ["cifar-p"]\nmean = [0, 0.5, 1]\n'
    )
    assert read_jobs(written(tmp_path, text)) == [
        {"data": "val", "suite": ["cifar-c"], "model": "a.pth"},
        {"data": "val", "suite": ["cifar-p"], "model": "b.pth", "mean": [0, 0.5, 1]},
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("data = 'x'", "has no jobs"),
        ("job = []", "has no jobs"),
        ("[job]\nmodel = 'a'", "has no jobs"),
        ("[[job]]\narch = 'zoo:a'", "job 1 names no model"),
        ("[[job]]\nmodel = 'a'\nsuites = ['b']", "job 1: unknown key 'suites'; did you mean 'suite'"),
        ("sute = ['b']\n[[job]]\nmodel = 'a'", "jobs.toml: unknown key 'sute'"),
        ("out = 'runs'\n[[job]]\nmodel = 'a'", "out belongs into a"),
        ("[[job]]\nmodel = 'a'\nadapt = 'bn-prior'", "adapt takes a list"),
        ("[[job]]\nmodel = 'a'\ncrop = true", "crop takes a whole number"),
        ("[[job]]\nmodel = 'a'\nadapt = [1]", "adapt takes a list of texts"),
        ("[[job]]\nmodel = 'a'\nmean = ['1']", "mean takes a list of numbers"),
        ("[[job]\n", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        read_jobs(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no file of jobs"):
        read_jobs(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(OptionError, match="cannot be read"):
        read_jobs(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b"data = '\xff'")
    with pytest.raises(OptionError, match="is not TOML"):
        read_jobs(tmp_path / "latin.toml")
