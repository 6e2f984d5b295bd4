"""Files of several models: what they may say, what is wrong with them in one line, and the runs that come of them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from robench.cli.entry import run_cli
from robench.errors import OptionError
from robench.evaluation.jobs import KEYS, make_jobs, read_jobs
from robench.evaluation.options import Options
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.runs.directory import RunDirectory
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
        {"data": "val", "suite": ["cifar-c"], "model": "a.pth", "ignore_key": ["aux.*"]},
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
        ("label = 'x'\n[[job]]\nmodel = 'a'", "jobs cannot share label"),
        (
            "[[job]]\nmodel = 'a'\ncrop = true",
            "job 1: crop must be a whole number of pixels, or HEIGHTxWIDTH, not True",
        ),
        ("[[job]]\nmodel = 'a'\ntreatment = [1]", "job 1: treatment must be a name or a list of names, not 1"),
        ("[[job]]\nmodel = 'a'\nignore-key = [1]", "job 1: ignore_key must be a name or a list of names, not 1"),
        ("[[job]]\nmodel = 'a'\nmean = ['1']", "job 1: mean must be a list of numbers, not '1'"),
        ("[[job]]\nmodel = 'a'\n[[job]]\nmodel = 'b'\nlimit = 0", "job 2: limit must be at least 1, not 0"),
        ("severity = '3'\n[[job]]\nmodel = 'a'", "jobs.toml: severity must be a whole number or a list"),
        ("per-class = 1\nper_class = 2\n[[job]]\nmodel = 'a'", "per_class has two values"),
        (
            "trust-pickle = true\n[[job]]\nmodel = 'a'",
            "trust-pickle is no key; give --trust-pickle on the command line",
        ),
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
    shared = {"data": "demo", "suite": ["cifar-c"], "treatment": ["localnorm"], "seed": 3, "limit": None}
    own, treated, demo = make_jobs([str(file), "demo"], shared)
    assert own.dataset is treated.dataset, "opened once"
    assert demo.dataset is not own.dataset
    assert [one.suites for one in (own, treated, demo)] == [["cifar-c"], ["cifar-p"], ["cifar-c"]]
    assert [one.options.treatment for one in (own, treated, demo)] == [["localnorm"], ["bn-prior"], ["localnorm"]]
    assert [one.options.calibration for one in (own, treated, demo)] == [None, "c", None]
    assert {one.options.seed for one in (own, treated, demo)} == {3}
    assert [one.out for one in (own, treated, demo)] == ["own", None, None]
    assert demo.load().label == "demo"


def test_several_runs_share_a_folder_and_one_is_a_directory(picture_folder: Path, tmp_path: Path) -> None:
    shared = {"data": str(picture_folder)}
    (only,) = make_jobs(["a.pth"], shared, out=tmp_path)
    assert (only.out, only.folder) == (tmp_path, None)
    for one in make_jobs(["a.pth", "b.pth"], shared, out=tmp_path):
        assert (one.out, one.folder) == (None, tmp_path)
    file = written(tmp_path, '[[job]]\nmodel = "a.pth"\nout = "own"\n[[job]]\nmodel = "b.pth"\n')
    with pytest.raises(OptionError, match="--out conflicts with the out of a job"):
        make_jobs([str(file)], shared, out=tmp_path)


def test_every_option_of_a_run_is_a_key(picture_folder: Path, tmp_path: Path) -> None:
    """The oracle is `Options`: every field, as the command line writes it, alone or in a list."""
    text = (
        f'data = "{picture_folder}"\nseverity = 3\nper-class = 2\ndevice = "cpu"\n[[job]]\nmodel = "demo"\nlabel = "one"\n'
        'corruption = ["fog", "snow"]\nno_release_jpeg = true\n[[job]]\nmodel = "demo"\npreset = "ci"\nsize = 32\n'
    )
    one, two = make_jobs([str(written(tmp_path, text))], {})
    assert one.load().label == "one"
    assert one.options == Options(severity=[3], per_class=2, corruption=["fog", "snow"], no_release_jpeg=True)
    ci = find_preset("ci")
    assert (two.suites, two.options) == (ci, Options(severity=[3], per_class=2, corruption=ci.corruptions))
    assert {field.name for field in fields(Options)} < set(KEYS)


def test_the_defaults_of_a_job(picture_folder: Path) -> None:
    (demo,) = make_jobs(["demo"], {})
    assert demo.suites is None
    (other,) = make_jobs(["a.pth"], {"data": str(picture_folder)})
    assert other.suites is None
    with pytest.raises(OptionError, match="no images are given; give --data"):
        make_jobs(["demo", "a.pth"], {})


def test_a_preset_chooses_what_is_left_open(tmp_path: Path) -> None:
    preset = find_preset("ci")
    (whole,) = make_jobs(["demo"], {"preset": "ci"})
    assert whole.suites is preset
    assert whole.options == Options(corruption=preset.corruptions, severity=preset.severities, limit=preset.limit)
    given = {"corruption": ["fog"], "severity": [1], "per_class": 2}
    (part,) = make_jobs(["demo"], {"preset": "ci", **given})
    assert part.options == Options(corruption=["fog"], severity=[1], per_class=2)
    with pytest.raises(OptionError, match="--preset chooses the suite; omit --suite"):
        make_jobs(["demo"], {"suite": ["shift"], "preset": "ci"})
    file = written(tmp_path, '[[job]]\nmodel = "demo"\nsuite = ["shift"]\n')
    with pytest.raises(OptionError, match="omit suite in the job file"):
        make_jobs([str(file)], {"preset": "ci"})


def test_the_file_of_the_documents_runs(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a small network in place of ResNet-50 and CIFAR's suites in place of ImageNet's."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/engines.md").read_text()
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name, own in (
        ("imagenet/val", str(picture_folder)), ("torchvision:resnet50", "zoo:cifar_resnet8"), ("imagenet-", "cifar-"), ("5000", "6"),
    ):  # fmt: skip
        assert name in text
        text = text.replace(name, own)
    classes = len([path for path in picture_folder.iterdir() if path.is_dir()])
    torch.save(CifarResNet(classes, depth=8).state_dict(), "resnet50.pth")
    file = str(written(tmp_path, text))
    assert run_cli(["evaluate", file, "--corruption", "contrast,translate", "--device", "cpu", "--out", "runs"]) == 0
    runs = [RunDirectory.open(path) for path in sorted(Path("runs").iterdir())]
    assert [run.path.name.partition("+")[0] for run in runs] == ["resnet50", "resnet50-adapted"]
    assert [run.manifest["options"]["treatment"] for run in runs] == [[], ["bn-prior"]]
    severities = [{one.severity for one in run.finished() if one.suite == "cifar-c"} for run in runs]
    assert severities == [{1, 2, 3, 4, 5}, {3, 5}]
    both = " ".join(str(run.path) for run in runs)
    assert capsys.readouterr().err.splitlines()[-1] == f"next: robench report {both} · robench compare {both}"
