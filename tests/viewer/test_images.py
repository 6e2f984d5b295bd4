"""Images of the page. Oracle: the networks themselves, which must predict on them what the records say."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench.errors import RobenchError
from robench.evaluation.options import Options
from robench.evaluation.recompute import condition_of
from robench.models import Classifier
from robench.viewer.images import SampleImages, encode_png, encode_thumbnail
from robench.viewer.samples import SampleTable, read_samples


def check(table: SampleTable, network: Classifier, data: Path, run: int = 0) -> int:
    """Compare predictions on the page's images with the records; return the number of planes."""
    images = SampleImages(table, data)
    for number, plane in enumerate(table.planes):
        name, frame = plane.condition.name, plane.frame
        batch = np.stack([images.pixels(name, int(one), frame) for one in table.index])
        pixels = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
        logits = network.logits(pixels, native=plane.condition.suite == "resolution")
        assert (logits.argmax(dim=1).numpy() == table.pred[run, number]).all(), (name, frame)
        sure = logits.softmax(dim=1).amax(dim=1).numpy()
        assert np.allclose(sure, table.confidence[run, number], atol=1e-5), (name, frame)
    return len(table.planes)


def test_images_are_what_the_models_saw(table: SampleTable, networks: list[Classifier], picture_folder: Path) -> None:
    assert check(table, networks[1], picture_folder, 1) > 90


def test_images_of_other_suites(networks: list[Classifier], picture_folder: Path, tmp_path: Path) -> None:
    """With the model's own geometry, without the release's JPEG, and other samples than the first ones."""
    suites = ["shift", "scale", "noise", "occlusion", "resolution"]
    names = ["diagonal", "crop", "zoom", "scale", "contrast", "grid", "network", "information", "best_of_k"]
    known = [name for name in names if any(name in robench.suites.find_suite(suite).names for suite in suites)]
    options = Options(corruption=known, limit=3, resolution=[24, 32])
    used = [suite for suite in suites if set(known) & set(robench.suites.find_suite(suite).names)]
    run = robench.evaluate(networks[0], picture_folder, used, tmp_path / "run", options=options)
    assert check(read_samples([run.path]), networks[0], picture_folder) > 50
    own = Options(corruption=["fog"], severity=[2], limit=4, geometry="model", seed=3)
    run = robench.evaluate(networks[0], picture_folder, ["cifar-c"], tmp_path / "own", options=own)
    assert check(read_samples([run.path]), networks[0], picture_folder) == 2


def test_files_hold_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for encode in (encode_png, encode_thumbnail):
        with Image.open(io.BytesIO(encode(pixels))) as image:
            assert (np.asarray(image.convert("RGB")) == pixels).all()
    with Image.open(io.BytesIO(encode_thumbnail(np.zeros((300, 600, 3), np.uint8)))) as image:
        assert image.size == (224, 112)


def test_without_its_dataset(pair: list[Path], picture_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(pair[0], tmp_path / "run")
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(picture_folder), str(tmp_path / "gone")))
    table = read_samples([run])
    with pytest.raises(RobenchError, match="there is no dataset"):
        SampleImages(table, None)
    assert SampleImages(table, picture_folder).pixels("cifar-c-snow-5-32px", 0, 0).shape == (32, 32, 3)
    with pytest.raises(RobenchError, match="has other images than the run evaluated"):
        SampleImages(table, "demo")


def test_no_file_of_own_corruptions_is_read(
    table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run can come from anyone: its page must not run the code that it names."""
    marker = tmp_path / "marker"
    (tmp_path / "my.py").write_text(f"open({str(marker)!r}, 'w')\ndef fade(images):\n    return images\n")
    monkeypatch.chdir(tmp_path)
    entry = table.conditions["cifar-c-snow-5-32px"]
    for name in ("my.py:fade", str(tmp_path / "my.py:fade"), "my.py"):
        with pytest.raises(RobenchError):
            condition_of(table.runs[0], replace(entry, suite=name, corruption="fade"))
        assert not marker.exists()
