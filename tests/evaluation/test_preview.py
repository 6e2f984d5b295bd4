"""The grid of `robench preview`. Oracles: Pillow reads it; `robench.corrupt` makes its pictures one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robench.cli.entry import run_cli
from robench.errors import OptionError
from robench.evaluation.preview import preview
from robench.transforms.training import corrupt
from tests.builders import mistake


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    small.resize((70, 45), Image.Resampling.BICUBIC).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_its_pictures_are_those_of_corrupt(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    drawn = preview(picture, out, suite="cifar-c", corruptions=["fog", "shot_noise"], severities=[1, 5], seed=3)
    with Image.open(out) as opened:
        grid = np.asarray(opened)
    assert grid.shape == (drawn.height, drawn.width, 3)
    with Image.open(picture) as opened:
        clean = np.asarray(opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    images = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None]
    at_left = grid[:, -208:-112:3]
    assert any(np.array_equal(at_left[top : top + 96 : 3], clean) for top in range(40)), "the clean image is drawn once"
    # Drawn three times as large, gaps of 8; the last row and column end a gap before the edge.
    for row, name in ((0, "shot_noise"), (1, "fog")):
        bottom = grid.shape[0] - 8 - (1 - row) * 104
        for column, severity in ((1, 1), (2, 5)):
            right = grid.shape[1] - 8 - (2 - column) * 104
            cell = grid[bottom - 96 : bottom : 3, right - 96 : right : 3]
            made = corrupt(images, name, severity, "cifar-c", seed=3, index=0)[0].permute(1, 2, 0).numpy()
            assert np.array_equal(cell, made), (name, severity)


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("imagenet-c", "brightness"),
        ("cifar-p", "translate"),
        ("shift", "map"),
        ("scale", "scale"),
        ("noise", "gain"),
        ("resolution", "network"),
        ("resolution", "information"),
        ("resolution", "best_of_k"),
    ],
)
def test_every_family_has_a_grid(suite: str, name: str, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    drawn = preview(picture, out, suite=suite, corruptions=[name])
    with Image.open(out) as grid:
        assert grid.size == (drawn.width, drawn.height)
        assert grid.convert("L").getextrema() != (255, 255)
    assert out.stat().st_size == drawn.bytes < 1_000_000


def test_large_images_of_noise_fit_one_megabyte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    names = ["gaussian_noise", "brightness", "contrast", "pixelate"]
    for suffix in ("png", "webp"):
        drawn = preview(tmp_path / "noise.png", tmp_path / f"grid.{suffix}", corruptions=names)
        assert (tmp_path / f"grid.{suffix}").stat().st_size == drawn.bytes <= 1_000_000
        assert bool(drawn.reduction) is (suffix == "png")


def test_frames_are_animated(picture: Path, tmp_path: Path) -> None:
    for suffix, suite, name, frames in (("gif", "cifar-p", "tilt", 31), ("webp", "occlusion", "grid", 10)):
        out = tmp_path / f"frames.{suffix}"
        for _ in range(2):
            drawn = preview(picture, out, suite=suite, corruptions=[name], crop=64 if suite == "occlusion" else None)
        with Image.open(out) as opened:
            assert (getattr(opened, "n_frames", 1), opened.size) == (frames, (drawn.width, drawn.height))
        assert drawn.frames == frames
    with pytest.raises(OptionError, match="has no frames to animate"):
        preview(picture, tmp_path / "grid.gif", suite="cifar-c", corruptions=["fog"])


def test_mistakes_are_one_line(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no image")
    other = str(tmp_path / "other.png")
    Image.new("RGB", (4, 4)).save(other)
    for arguments, match in (
        ([], "Missing argument"),
        ([str(tmp_path / "none.png")], "No such file"),
        ([str(text)], "not an image that Pillow knows"),
        ([str(tmp_path)], "cannot read the image"),
        ([str(picture), "--suite", "cifer-c"], "did you mean"),
        ([str(picture), "--suite", "clean"], "the clean suite has no corruptions"),
        ([str(picture), "--corruption", "fogg"], "did you mean 'fog'"),
        ([str(picture), "--severity", "9"], "severity 9"),
        ([str(picture), "--suite", "noise", "--severity", "1"], "--severity does not apply to noise"),
        ([str(picture), "--crop", "64"], "omit --crop"),
        ([str(picture), "--suite", "noise", "--crop", "0"], "crop must be from 1"),
        ([str(picture), "--suite", "noise", "--crop", "20"], "at least 32 px"),
        ([str(picture), "--out", other], "is a file of another kind"),
        ([str(picture), "--out", str(picture)], "is a file of another kind"),
        ([str(picture), "--out", str(tmp_path / "grid.jpg")], "ends in .png, .webp or .gif"),
        ([str(picture), "--out", str(tmp_path / "no" / "grid.png")], "is in a directory that does not exist"),
    ):
        extra = [] if "--out" in arguments else ["--out", str(tmp_path / "grid.png")]
        assert run_cli(["preview", *arguments, *extra]) == 2, arguments
        printed = capsys.readouterr()
        assert match.casefold() in mistake(printed.err).casefold()
    assert not (tmp_path / "grid.png").exists()
    with Image.open(other) as kept:
        assert kept.size == (4, 4)


def test_a_grid_is_replaced(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    for _ in range(2):
        preview(picture, out, suite="cifar-c", corruptions=["contrast"], severities=[3])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["grid.png", "picture.png"]
