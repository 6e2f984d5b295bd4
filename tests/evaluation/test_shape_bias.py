"""The suite of shape bias from images to commands, with counts by hand and those of other code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robench
from robench.cli.entry import run_cli
from robench.errors import DatasetError, OptionError, TableError
from robench.models import Classifier, load_classifier
from robench.suites import SHAPE_CATEGORIES
from tests.builders import each, tiny_classifier

NAMES = (
    "bear1-cat1",
    "bear2-dog3",
    "cat1-cat2",
    "cat2-dog1",
    "dog1-bear1",
    "dog2-truck1",
    "truck1-oven1",
    "truck2-bear4",
)
DECISIONS = ("bear", "dog", "cat", "dog", "dog", "car", "oven", "truck")
"""Shape, texture, (no conflict,) texture, shape, neither, texture, shape."""


class _Decider(nn.Module):
    """Decides by the mean colour of an image, which is the number of its decision; 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        number = (images.mean(dim=(1, 2, 3)) * 255 / 10).round().long()
        names = list(SHAPE_CATEGORIES)
        logits = torch.zeros(len(images), 1000)
        for row, one in enumerate(number.tolist()):
            logits[row, list(SHAPE_CATEGORIES[names[one]])] = 5.0
        return logits + self.weight


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tiny = tiny_classifier()
    plain = replace(tiny.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(tiny, module=_Decider().eval(), classes=1000, preprocessing=plain)


def write_images(folder: Path, *, flat: bool) -> Path:
    for name, decision in zip(NAMES, DECISIONS, strict=True):
        place = folder if flat else folder / name.split("-")[0].rstrip("0123456789")
        place.mkdir(parents=True, exist_ok=True)
        grey = 10 * list(SHAPE_CATEGORIES).index(decision)
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(place / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def run(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> robench.Run:
    folder = tmp_path_factory.mktemp("cues")
    images = write_images(folder / "images", flat=True)
    return robench.evaluate(classifier, images, "shape-bias", folder / "run", progress=False)


def test_counts_by_hand(run: robench.Run) -> None:
    assert [condition.name for condition in run.directory.conditions] == ["shape-bias-cue_conflict-1-32px"]
    rows = run.results.set_index("metric")
    assert rows.loc["shape_bias", ["value", "n"]].tolist() == [3 / 6, 6]
    assert rows.loc["shape_accuracy", ["value", "n"]].tolist() == [3 / 7, 7]
    assert rows.loc["texture_accuracy", ["value", "n"]].tolist() == [3 / 7, 7]
    assert rows.loc["accuracy", ["value", "n"]].tolist() == [4 / 8, 8]
    whole = pd.read_csv(run.path / "results.csv")
    bear = whole[whole["subset"] == "bear"].set_index("metric")["value"]
    assert bear.to_dict() == {"shape_bias": 0.5, "shape_accuracy": 0.5, "texture_accuracy": 0.5, "accuracy": 0.5}
    assert run.metrics["shape-bias/shape_bias"] == 0.5


def test_folders_of_categories_are_no_other_images(classifier: Classifier, run: robench.Run, tmp_path: Path) -> None:
    other = robench.evaluate(
        classifier, write_images(tmp_path / "d", flat=False), "shape-bias", tmp_path / "r", progress=False
    )
    assert other.results["value"].tolist() == run.results["value"].tolist()


def test_mean_probability_decides(classifier: Classifier) -> None:
    """By hand: the one class of knife has the largest logit but one, and dog, with 109 classes, the largest and else little."""
    logits = torch.full((1, 1000), -2.0)
    logits[0, SHAPE_CATEGORIES["dog"][0]] = 6.0
    logits[0, SHAPE_CATEGORIES["knife"][0]] = 5.0
    module = nn.Module()
    module.forward = lambda _: logits
    fixed, groups = replace(classifier, module=module), tuple(SHAPE_CATEGORIES.values())
    image = torch.zeros((1, 3, 32, 32), dtype=torch.uint8)
    found = fixed.with_class_groups(groups, "mean").logits(image)
    expected = torch.stack([logits.double().softmax(1)[0, list(group)].mean().log() for group in groups])
    torch.testing.assert_close(found[0].double(), expected, atol=1e-5, rtol=0)
    assert list(SHAPE_CATEGORIES)[int(found.argmax())] == "knife"
    assert list(SHAPE_CATEGORIES)[int(fixed.with_class_groups(groups, "max").logits(image).argmax())] == "dog"


@each(
    "suite, options, error",
    [
        (["shape-bias", "cifar-c"], {}, OptionError),
        ("shape-bias", {"ood": ["far=demo"]}, OptionError),
        ("shape-bias", {"severity": [1]}, OptionError),
        ("shape-bias", {"class_map": "names.txt"}, OptionError),
    ],
)
def test_what_does_not_fit_is_refused(
    classifier: Classifier, tmp_path: Path, suite: str, options: dict[str, Any], error: type[Exception]
) -> None:
    images = write_images(tmp_path / "images", flat=True)
    with pytest.raises(error):
        robench.evaluate(classifier, images, suite, tmp_path / "run", progress=False, **options)
    assert not (tmp_path / "run").exists()


def test_images_and_models_without_categories_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no shape and texture"):
        robench.evaluate(classifier, "demo", "shape-bias", tmp_path / "run", progress=False)
    images = write_images(tmp_path / "images", flat=True)
    with pytest.raises(DatasetError, match="3 classes; images needs ImageNet's 1,000, or its own 16"):
        robench.evaluate(tiny_classifier(), images, "shape-bias", tmp_path / "run", progress=False)


def test_decisions_of_a_table_and_of_trials(
    run: robench.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: subject-1 is right on all; subject-2 answers on four images and is right on those on which the network is wrong."""
    shapes = [name.split("-")[0].rstrip("0123456789") for name in NAMES]
    table = tmp_path / "table.csv"
    files = [f"{name}.png" for name in NAMES]
    pd.DataFrame({"file": files, "shape": shapes, "subject-1": shapes}).to_csv(table, index=False)
    trials = tmp_path / "trials.csv"
    wrong = [shape for shape, decision in zip(shapes, DECISIONS, strict=True) if shape != decision]
    names = [name for name, shape, one in zip(NAMES, shapes, DECISIONS, strict=True) if shape != one]
    lines = {"subj": "subject-2", "object_response": wrong, "imagename": [f"0001_x_s02_{name}.png" for name in names]}
    pd.DataFrame(lines).to_csv(trials, index=False)
    arguments = ["compare", str(run.path), "--decisions", str(table), "--decisions", str(trials)]
    assert run_cli([*arguments, "--format", "json"]) == 0
    first, second, mean, people = json.loads(capsys.readouterr().out)
    assert (first["images"], first["observed"], first["run_value"], first["shape_bias"]) == (8, 0.5, 0.0, 1.0)
    assert (second["images"], second["observed"], second["run_value"]) == (4, 0.0, 0.0)
    assert (mean["base_model"], mean["run_value"], people["run_value"]) == ("mean of 2 people", 0.0, 1.0)
    assert run_cli(arguments) == 0
    assert "error consistency of tiny on shape-bias" in capsys.readouterr().out
    assert len(robench.compare(run, decisions=table)) == 0


@each(
    "text, message",
    [
        (b"\x00\xff\x00", "not UTF-8"),
        (b"", "is empty"),
        (b"name,shape\na,b\n", "no column of image files"),
        (b"file,shape\nbear1-cat1.png,bear\n", "no column of decisions"),
        (b"file,x\nbear1-cat1.png,bear\nbear1-cat1.png,cat\n", "second decision of x"),
        (b"file,x\nbear1-cat1.png\n", "cells for"),
        (b"file,x\nnone.png,bear\n", "on no image"),
        (b"file,x\nbear1-cat1.png,ours\n", "name no class"),
    ],
)
def test_other_tables_are_refused(run: robench.Run, tmp_path: Path, text: bytes, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(text)
    with pytest.raises((TableError, OptionError), match=message):
        robench.compare(run, decisions=table)


class _Recorder(nn.Module):
    """Keeps the logits of a network, and returns them again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images)
        self.logits.append(logits)
        return logits


@pytest.mark.slow(minutes=0.1)
def test_squeezenet_decides_as_computed_without_robench(shared: Path, tmp_path: Path) -> None:
    """Every fifth of the shared images. The decisions on all of them give 43 for the shape and 127 for the texture."""
    folder = shared / "data" / "cue_conflict"
    network = load_classifier(
        shared / "data/checkpoints/squeezenet1_0_imagenet.pth", "torchvision:squeezenet1_0", device="cpu"
    )
    recorder = _Recorder(network.module)
    classifier = replace(network, module=recorder, origin=None)
    run = robench.evaluate(classifier, folder / "images", "shape-bias", tmp_path / "run", limit=64, progress=False)
    (condition,) = run.directory.conditions
    expected = pd.read_csv(folder / "decisions.csv").set_index("file")["measured-squeezenet1_0"]
    files = [Path(path).name for path in run.directory.read_samples()["path"]]
    names = np.array(list(SHAPE_CATEGORIES))
    decisions = names[pd.read_parquet(run.directory.records_path(condition.name))["pred"]]
    assert (decisions != expected[files]).sum() <= 1, "the closest decision has a margin of 0.02 %"
    logits = recorder.logits[-1]
    largest = [max(SHAPE_CATEGORIES, key=lambda name: float(row[list(SHAPE_CATEGORIES[name])].max())) for row in logits]
    assert (np.array(largest) != expected[files]).sum() > 4, "the largest logit decides otherwise"
