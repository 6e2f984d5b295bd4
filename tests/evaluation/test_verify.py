"""The reference backend and `verify`; the oracle is the package called by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import robench
from robench.cli.entry import run_cli
from robench.datasets import decode_few, open_dataset
from robench.errors import OptionError, RunError
from robench.evaluation import verify
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.runs.directory import RunDirectory
from robench.suites import Condition
from robench.transforms.apply import condition_images
from robench.transforms.reference import reference_corrupt
from robench.types import Images

pytest.importorskip("cv2", reason="needs robench[reference]")

SOME = Options(corruption=["motion_blur", "contrast"], severity=[2], batch_size=7, backend="reference")


def test_a_run_of_the_reference_backend(classifier: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    run = robench.evaluate(classifier, picture_folder, ["imagecorruptions"], tmp_path / "run", options=SOME)
    images = open_dataset(picture_folder)
    positions = np.arange(len(images))
    clean = torch.from_numpy(decode_few(images, positions, classifier.preprocessing.geometry()))
    for name in ("motion_blur", "contrast"):
        by_hand = classifier.logits(reference_corrupt(clean, name, 2, index=positions.tolist())).argmax(dim=1)
        records = run.directory.read_records(f"imagecorruptions-{name}-2-32px")
        assert records["pred"].tolist() == by_hand.tolist()
    protocols = {condition.suite: condition.protocol for condition in run.directory.conditions}
    assert "+reference#" in protocols["imagecorruptions"]
    assert "reference" not in protocols["clean"]
    assert run.directory.manifest["notes"] == []
    with pytest.raises(RunError, match=r"another run.*reference"):
        robench.evaluate(
            classifier, picture_folder, ["imagecorruptions"], tmp_path / "run",
            options=Options(corruption=SOME.corruption, severity=[2], batch_size=7),
        )  # fmt: skip


def test_imagenet_c_says_what_the_package_computes_in_its_own_way(
    classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    options = Options(
        corruption=["motion_blur", "contrast"], severity=[2], backend="reference", geometry="model", limit=3
    )
    run = robench.evaluate(classifier, picture_folder, ["imagenet-c"], tmp_path / "run", options=options)
    (note,) = run.directory.manifest["notes"]
    assert "its own motion_blur:" in note
    clean = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    clean[..., 20:40] = 200
    condition = Condition("imagenet-c", "contrast", 2, classifier.preprocessing.geometry(), "224", 85, "reference")
    plain = Condition("imagenet-c", "contrast", 2, classifier.preprocessing.geometry(), "224", 85)
    ours, theirs = (condition_images(clean, one, torch.zeros(1, dtype=torch.int64), 0) for one in (plain, condition))
    assert torch.equal(ours, theirs), "the JPEG pass follows either"


@pytest.mark.parametrize("suite", ["cifar-c", "tiny-imagenet-c", "imagenet-64-c", "imagenet-c-299"])
def test_constants_that_the_package_does_not_have(
    suite: str, classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=f"not those of {suite}; combine --backend reference with --suite"):
        robench.evaluate(classifier, picture_folder, [suite], tmp_path / "run", options=Options(backend="reference"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match=r"unknown backend 'numpy'"):
        Options(backend="numpy")


def test_verify_compares_pixels_and_errors(classifier: Classifier, picture_folder: Path) -> None:
    images = open_dataset(picture_folder)
    cells = ["contrast", "jpeg_compression", "gaussian_noise", "snow"]
    found = list(verify.verify(images, classifier=classifier, corruptions=cells, severities=[1, 4], limit=12))
    assert [(one.corruption, one.severity) for one in found] == [
        (name, severity) for name in ("gaussian_noise", "snow", "contrast", "jpeg_compression") for severity in (1, 4)
    ]
    assert all(one.agrees for one in found)
    assert [one.change_tolerance is None for one in found] == [not one.random for one in found]
    positions = np.array([len(images) * k // 12 for k in range(12)])
    clean = torch.from_numpy(decode_few(images, positions, classifier.preprocessing.geometry()))
    for one in found:
        theirs = reference_corrupt(clean, one.corruption, one.severity, index=positions.tolist())
        ours = robench.corrupt(clean, one.corruption, one.severity, "imagecorruptions", seed=0, index=positions)
        assert one.random is (one.corruption in ("gaussian_noise", "snow"))
        assert one.difference == pytest.approx((ours.double() - theirs).abs().mean().item())
        assert one.over_one == pytest.approx(((ours.int() - theirs.int()).abs() > 1).double().mean().item())
        assert one.change == pytest.approx((ours.double() - clean).abs().mean().item())
        assert one.reference_bias == pytest.approx((theirs.double() - clean).mean().item())
        labels = images.labels[positions]
        assert one.error == np.mean(classifier.logits(ours).argmax(dim=1).numpy() != labels)
        assert one.reference_error == np.mean(classifier.logits(theirs).argmax(dim=1).numpy() != labels)


def test_pictures_keep_their_size_without_a_model(picture_folder: Path) -> None:
    images = open_dataset(picture_folder)
    (found,) = verify.verify(images, corruptions=["defocus_blur"], severities=[3], limit=4)
    assert found.agrees
    assert (found.error, found.reference_error) == (None, None)
    (alone,) = verify.verify(images, corruptions=["fog"], severities=[3], limit=1)
    assert alone.agrees is None, "nothing is known of chance from one image"
    assert (alone.change_tolerance, alone.bias_tolerance) == (None, None)


def test_whole_numbers_on_either_side_agree(picture_folder: Path) -> None:
    """Saturate 3 doubles, so that a fifth of its values are whole; both sides truncate them."""
    (found,) = verify.verify(open_dataset(picture_folder), corruptions=["saturate"], severities=[3], limit=4)
    assert found.over_one == 0
    assert found.agrees


@pytest.mark.parametrize(("name", "shift"), [("contrast", 1), ("gaussian_noise", 3)])
def test_verify_sees_a_difference(
    name: str, shift: int, picture_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shifted(images: Images, condition: Condition, index: torch.Tensor, seed: int) -> Images:
        pixels = condition_images(images, condition, index, seed)
        return pixels if condition.backend == "reference" else (pixels.int() + shift).clamp(0, 255).to(torch.uint8)

    arguments = ["verify", "--data", str(picture_folder), "--corruption", name, "--severity", "2", "--format", "json"]
    assert run_cli(arguments) == 0
    assert json.loads(capsys.readouterr().out)[0]["agrees"] is True
    monkeypatch.setattr(verify, "condition_images", shifted)
    assert run_cli(arguments) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["agrees"] is False
    assert f"0 of 1 cells match; mismatches: {name} 2" in printed.err


def test_verify_on_the_command_line(capsys: pytest.CaptureFixture[str], picture_folder: Path, tmp_path: Path) -> None:
    assert run_cli(["verify", "demo", "--limit", "4", "--severity", "1", "--corruption", "contrast,fog"]) == 0
    printed = capsys.readouterr()
    fixed, random = printed.out.split("with draws:")
    assert "0.25 grey levels" in fixed
    assert re.search(r"^contrast +1 +0\.000 +0\.00 % +\d+\.\d \(\d+\.\d\) +yes$", fixed, re.MULTILINE)
    assert re.search(r"^fog +1 +[-+]\d+\.\d\d \(\d+\.\d\d\) +[-+]", random, re.MULTILINE), "difference and limit"
    assert "2 of 2 cells match" in printed.err
    assert run_cli(["verify"]) == 2
    assert "give --data" in capsys.readouterr().err
    assert run_cli(["verify", "--data", str(picture_folder), "--suite", "cifar-c"]) == 2
    assert "not those of cifar-c" in capsys.readouterr().err
    assert run_cli(["verify", "--data", str(picture_folder), "--arch", "zoo:cifar_resnet20"]) == 2
    assert "--arch has no effect without a MODEL" in capsys.readouterr().err
    run = str(tmp_path / "run")
    options = ["--suite", "imagecorruptions", "--corruption", "fog", "--severity", "1", "--limit", "4", "--out", run]
    assert run_cli(["evaluate", "demo", "--backend", "reference", *options]) == 0
    assert RunDirectory.open(tmp_path / "run").manifest["options"]["backend"] == "reference"
