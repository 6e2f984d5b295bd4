"""`robench corrupt`. Oracle: an evaluation of the computed images, and `robench.corrupt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robench
from robench.cli.entry import run_cli
from robench.errors import OptionError
from robench.evaluation.export import export
from robench.evaluation.options import Options
from robench.models import Classifier


@pytest.mark.parametrize(
    ("suite", "names", "files"),
    [
        ("cifar-c", ["fog", "shot_noise"], {"fog.npy", "shot_noise.npy", "labels.npy"}),
        ("cifar-p", ["tilt"], {"tilt.npy", "labels.npy"}),
    ],
)
def test_arrays_are_read_as_released_files(
    suite: str, names: list[str], files: set[str], classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "released"
    export(picture_folder, out, suite=suite, corruptions=names, layout="npy", device="cpu")
    assert {file.name for file in out.iterdir()} == files
    shape = np.load(out / f"{names[0]}.npy", mmap_mode="r").shape
    assert shape == ((5 * 30, 32, 32, 3) if suite == "cifar-c" else (30, 31, 32, 32, 3))
    computed, released = (
        robench.evaluate(
            classifier, picture_folder, suite, tmp_path / name, options=Options(corruption=names, released=folder)
        )
        for name, folder in (("computed", None), ("read", out))
    )
    columns = ["suite", "metric", "corruption", "severity", "axis_value", "value", "ci_low"]
    pd.testing.assert_frame_equal(computed.results[columns], released.results[columns])


def test_frames_are_files(picture_folder: Path, tmp_path: Path) -> None:
    assert (
        export(picture_folder, tmp_path, suite="cifar-p", corruptions=["tilt"], difficulties=[2], limit=2, device="cpu")
        == 62
    )
    folders = sorted(tmp_path.glob("*/*/*"))
    assert [len(list(folder.iterdir())) for folder in folders] == [31, 31]
    with Image.open(folders[0] / "030.png") as frame:
        assert frame.size == (32, 32)


def test_messages(picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(picture_folder / "ant" / "0.png")
    line = [
        "corrupt",
        image,
        "--suite",
        "cifar-c",
        "--corruption",
        "fog",
        "--severity",
        "3",
        "--out",
        str(tmp_path / "x"),
    ]
    for second in (False, True):
        assert run_cli(line) == 0
        printed = capsys.readouterr()
        assert printed.out == f"1 image in {tmp_path / 'x'}\n"
        assert ("exists; files of the same names in it are replaced" in printed.err) is second


def test_what_does_not_fit(picture_folder: Path, tmp_path: Path) -> None:
    for arguments, match in (
        ({"suite": "cifar-c", "layout": "npy", "severities": [3]}, "the arrays hold all severities"),
        ({"suite": "noise", "layout": "npy"}, "no arrays of noise were published"),
        ({"suite": "imagecorruptions", "layout": "npy"}, "differ in size"),
        ({"suite": "resolution"}, "has no corruptions"),
        ({"suite": "cifar-p", "severities": [1]}, "--severity does not apply to cifar-p"),
        ({"suite": "cifar-c", "difficulties": [1]}, "--difficulty does not apply"),
        ({"suite": "cifar-c", "layout": "tar"}, "unknown layout"),
    ):
        with pytest.raises(OptionError, match=match):
            export(picture_folder, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
