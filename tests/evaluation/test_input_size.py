"""Input sizes of models that state none; oracle: the sizes of the suites' papers, and of the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robench
from robench.errors import OptionError
from robench.evaluation.jobs import make_jobs
from robench.models import Classifier, load_classifier
from tests.builders import each

NET = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
def fixed(side=28):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2))
"""


def _images(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        for number, (width, height) in enumerate(sizes):
            Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(folder / name / f"{number}.png")
    return folder


def _module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def _factory(folder: Path) -> str:
    (folder / "net.py").write_text(NET)
    return f"{folder}/net.py:net"


def _script(folder: Path) -> str:
    torch.jit.script(_module()).save(folder / "net.ts")
    return str(folder / "net.ts")


def _pickle(folder: Path) -> str:
    torch.save(_module(), folder / "net.pt")
    return str(folder / "net.pt")


def _onnx(folder: Path) -> str:
    dynamic = {"x": {0: "n", 2: "side", 3: "side"}}
    path = folder / "net.onnx"
    torch.onnx.export(
        _module(), (torch.zeros(1, 3, 64, 64),), path, input_names=["x"], dynamic_axes=dynamic, dynamo=False
    )
    return str(path)


def _loaded(model: str, data: Path, suites: list[str], **given: int) -> Classifier:
    shared = {"data": str(data), "suite": suites, **given}
    return make_jobs([model], shared, device="cpu", trust_pickle=True)[0].load()


@pytest.mark.filterwarnings("ignore")
@each("make", [_factory, _script, _pickle, _onnx])
def test_the_suite_or_the_images_give_the_size(tmp_path: Path, make: Callable[[Path], str]) -> None:
    model = make(tmp_path)
    small, large = _images(tmp_path / "s", [(48, 48)] * 3), _images(tmp_path / "l", [(48, 48), (48, 47)])
    for data, suites, size in (
        (small, ["cifar-c"], 32),
        (large, ["tiny-imagenet-p", "clean"], 64),
        (small, ["imagenet-c-299"], 299),
        (small, ["clean"], 48),
        (small, ["cifar-c", "imagenet-c"], 224),  # they differ
        (large, ["shift"], 224),
    ):
        found = _loaded(model, data, suites)
        assert found.preprocessing.crop == size, suites
        told = [note for note in found.notes if "input size" in note]
        assert told
        assert all(f"{size} px" in note for note in told)
        assert any("ImageNet's mean" in note for note in found.notes)
    assert _loaded(model, small, ["cifar-c"], crop=40).preprocessing.crop == 40


def test_a_network_of_one_size_runs_at_that_of_its_images(tmp_path: Path) -> None:
    _factory(tmp_path)
    data = _images(tmp_path / "s", [(28, 28)] * 2)
    run = robench.evaluate(_loaded(f"{tmp_path}/net.py:fixed", data, ["clean"]), data, ["clean"], tmp_path / "run")
    assert run.directory.manifest["model"]["preprocessing"]["crop"] == 28


def test_a_classifier_that_was_loaded_at_another_size_is_refused(tmp_path: Path) -> None:
    data = _images(tmp_path / "s", [(32, 32)])
    with pytest.raises(OptionError, match="give --crop 32, or --crop 224"):
        robench.evaluate(load_classifier(_factory(tmp_path), device="cpu"), data, ["cifar-c"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_small_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    data, model = _images(tmp_path / "s", [(32, 32), (32, 28)]), _factory(tmp_path)
    with pytest.raises(OptionError, match="small images of several sizes; give the input size of the model by --crop"):
        robench.evaluate(_loaded(model, data, ["clean"]), data, suite="clean", out=tmp_path / "run")
    robench.evaluate(_loaded(model, data, ["clean"], crop=32), data, suite="clean", out=tmp_path / "run")
