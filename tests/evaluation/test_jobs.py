"""Files of several models: what they may say, what is wrong with them in one line, and the runs that come of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from robench.errors import OptionError
from robench.evaluation.jobs import make_jobs, read_jobs
from robench.evaluation.options import Options
from robench.suites import find_preset
from tests.builders import each


def written(folder: Path, text: str) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text)
    return path


def test_jobs_have_what_is_shared_and_their_own(tmp_path: Path) -> None:
    text = (
        'data = "val"\nsuite = ["cifar-c"]\n[[job]]\nmodel = "a.pth"\nignore-key = ["aux.*"]\n'
        '[[job]]\nmodel = "b.pth"\nsuite = ["cifar-p"]\nmean = [0, 0.5, 1]\n'
    )
    assert read_jobs(written(tmp_path, text)) == [
        {"data": "val", "suite": ["cifar-c"], "model": "a.pth", "ignore-key": ["aux.*"]},
        {"data": "val", "suite": ["cifar-p"], "model": "b.pth", "mean": [0, 0.5, 1]},
    ]


@each(
    ("text", "match"),
    [
        ("data = 'x'", "has no jobs"),
        ("job = []", "has no jobs"),
        ("[job]\nmodel = 'a'", "has no jobs"),
        ("[[job]]\narch = 'zoo:a'", "job 1 has no model"),
        ("[[job]]\nmodel = 'a'\nsuites = ['b']", "job 1: unknown key 'suites'; did you mean 'suite'"),
        ("sute = ['b']\n[[job]]\nmodel = 'a'", "jobs.toml: unknown key 'sute'"),
        ("out = 'runs'\n[[job]]\nmodel = 'a'", "jobs cannot share out"),
        ("[[job]]\nmodel = 'a'\ntreatment = 'bn-prior'", "treatment takes a list"),
        ("[[job]]\nmodel = 'a'\ncrop = true", "crop takes a whole number"),
        ("[[job]]\nmodel = 'a'\ntreatment = [1]", "treatment takes a list of texts"),
        ("[[job]]\nmodel = 'a'\nmean = ['1']", "mean takes a list of numbers"),
        ("[[job]\n", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        read_jobs(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read the job file .*none\.toml: No such file"):
        read_jobs(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(OptionError, match=r"cannot read the job file .*folder\.toml"):
        read_jobs(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b"data = '\xff'")
    with pytest.raises(OptionError, match="is not TOML"):
        read_jobs(tmp_path / "latin.toml")


def test_what_a_job_says_goes_before_what_is_said_for_all(picture_folder: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f'data = "{picture_folder}"\n[[job]]\nmodel = "a.pth"\nout = "own"\n'
        '[[job]]\nmodel = "b.pth"\ntreatment = ["bn-prior"]\nsuite = ["cifar-p"]\ncalibration = "c"\n',
    )
    shared = {"data": "demo", "suite": ["cifar-c"]}
    options = Options(treatments=["localnorm"], seed=3)
    own, treated, demo = make_jobs([str(file), "demo"], shared, options)
    assert own.dataset is treated.dataset, "opened once"
    assert demo.dataset is not own.dataset
    assert [one.suites for one in (own, treated, demo)] == [["cifar-c"], ["cifar-p"], ["cifar-c"]]
    assert [one.options.treatments for one in (own, treated, demo)] == [["localnorm"], ["bn-prior"], ["localnorm"]]
    assert [one.options.calibration for one in (own, treated, demo)] == [None, "c", None]
    assert {one.options.seed for one in (own, treated, demo)} == {3}
    assert [one.out for one in (own, treated, demo)] == ["own", None, None]
    assert demo.load().label == "demo"


def test_several_runs_share_a_folder_and_one_is_a_directory(picture_folder: Path, tmp_path: Path) -> None:
    shared = {"data": str(picture_folder)}
    (only,) = make_jobs(["a.pth"], shared, Options(), out=tmp_path)
    assert (only.out, only.folder) == (tmp_path, None)
    for one in make_jobs(["a.pth", "b.pth"], shared, Options(), out=tmp_path):
        assert (one.out, one.folder) == (None, tmp_path)
    file = written(tmp_path, '[[job]]\nmodel = "a.pth"\nout = "own"\n[[job]]\nmodel = "b.pth"\n')
    with pytest.raises(OptionError, match="--out conflicts with the out of a job"):
        make_jobs([str(file)], shared, Options(), out=tmp_path)


def test_what_nobody_names(picture_folder: Path) -> None:
    (demo,) = make_jobs(["demo"], {}, Options())
    assert demo.suites == ["cifar-c"]
    (other,) = make_jobs(["a.pth"], {"data": str(picture_folder)}, Options())
    assert other.suites == ["clean"]
    with pytest.raises(OptionError, match="no images are given; give --data"):
        make_jobs(["demo", "a.pth"], {}, Options())


def test_a_preset_chooses_what_is_left_open(tmp_path: Path) -> None:
    preset = find_preset("ci")
    (whole,) = make_jobs(["demo"], {}, Options(), preset=preset)
    assert whole.suites is preset
    assert whole.options == Options(corruptions=preset.corruptions, severities=preset.severities, limit=preset.limit)
    given = Options(corruptions=["fog"], severities=[1], per_class=2)
    (part,) = make_jobs(["demo"], {}, given, preset=preset)
    assert part.options == given
    with pytest.raises(OptionError, match="--preset chooses the suite; omit --suite"):
        make_jobs(["demo"], {"suite": ["shift"]}, Options(), preset=preset)
    file = written(tmp_path, '[[job]]\nmodel = "demo"\nsuite = ["shift"]\n')
    with pytest.raises(OptionError, match="omit suite in the job file"):
        make_jobs([str(file)], {}, Options(), preset=preset)
