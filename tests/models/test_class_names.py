"""Names of outputs in model files; oracle: the writers' documented layouts, and accuracies counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import robench
from robench.datasets import fit_classes, open_dataset
from robench.datasets.dataset import ImageDataset
from robench.errors import DatasetError
from robench.models import load_classifier
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.models.checkpoints.stand_ins import StandIn
from robench.models.class_names import class_names_in, class_names_in_texts
from tests.builders import each

NAMES = ("truck", "cat", "grey whale")


@each(
    "content, names",
    [
        ({"id2label": {"1": "cat", "0": "truck", "2": "grey whale"}}, NAMES),  # transformers
        ({"label2id": {"truck": 0, "grey whale": 2, "cat": 1}}, NAMES),
        ({"pretrained_cfg": {"label_names": list(NAMES)}}, NAMES),  # timm
        ({"meta": {"CLASSES": NAMES, "epoch": 3}, "state_dict": {}}, NAMES),  # OpenMMLab, before 1.0
        ({"meta": {"dataset_meta": {"classes": NAMES}}}, NAMES),  # OpenMMLab
        ({"names": {0: "truck", 1: "cat", 2: "grey whale"}}, NAMES),  # Ultralytics
        ({"class_to_idx": {"cat": 1, "truck": 0, "grey whale": 2}}, NAMES),  # torchvision
        ({"vocab": list(NAMES)}, NAMES),  # fastai
        ({"hyper_parameters": {"class_names": list(NAMES)}}, NAMES),  # Lightning
        ({"args": StandIn("argparse.Namespace", [(), {"class_names": list(NAMES)}])}, NAMES),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ()),
        ({"names": ["0", "1"]}, ()),
        ({"names": {0: "a", 2: "b"}}, ()),
        ({"classes": 10, "names": ["a", 3]}, ()),
        ({"classes": [], "labels": torch.zeros(3)}, ()),
        ([NAMES], ()),
    ],
)
def test_names_of_each_library_are_read(content: object, names: tuple[str, ...]) -> None:
    assert class_names_in(content) == names


def test_texts_hold_json_or_literals_that_run_nothing() -> None:
    for text in (json.dumps(NAMES), repr(dict(enumerate(NAMES)))):
        assert class_names_in_texts([("names", text)]) == NAMES
    for text in ("__import__('os').abort()", "[" * 100_000, "-" * 100_000 + "1", '["a"', "[" + "0," * 2**20 + "]"):
        assert class_names_in_texts([("names", text)]) == ()


class _First(nn.Module):
    """Answers output 0 to every image, more or less surely."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        first = x.mean((1, 2, 3))[:, None] * 0 + self.scale
        return torch.cat([first, first - 1, first - 2], dim=1)


def _checkpoint(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        state = CifarResNet(3, depth=8).state_dict()
    state["linear.weight"].zero_()
    state["linear.bias"].copy_(torch.tensor([2.0, 1.0, 0.0]))
    torch.save({"state_dict": state, "meta": {"CLASSES": NAMES}}, folder / "w.pth")
    return folder / "w.pth"


def _safetensors(folder: Path) -> Path:
    state = torch.load(_checkpoint(folder), weights_only=True)["state_dict"]
    save_file(state, folder / "w.safetensors", {"names": json.dumps(NAMES)})
    return folder / "w.safetensors"


def _torchscript(folder: Path) -> Path:
    script = torch.jit.trace(_First(), torch.zeros(2, 3, 32, 32))
    extra = {"config.txt": json.dumps({"names": dict(enumerate(NAMES)), "stride": 32})}
    torch.jit.save(script, str(folder / "w.torchscript"), _extra_files=extra)
    return folder / "w.torchscript"


def _onnx(folder: Path) -> Path:
    path = folder / "w.onnx"
    torch.onnx.export(_First(), (torch.zeros(1, 3, 32, 32),), path, dynamo=False)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"names": repr(dict(enumerate(NAMES)))})
    onnx.save(model, path)
    return path


def _folders(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (32, 32), (number, 100, 200)).save(root / name / f"{number}.png")
    return root


@pytest.mark.filterwarnings("ignore")
@each("make", [_checkpoint, _safetensors, _torchscript, _onnx])
def test_names_give_the_order_of_the_classes(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    data = _folders(tmp_path / "data", Cat=1, grey_whale=2, truck=5)  # output 0 is truck
    classifier = load_classifier(make(tmp_path), device="cpu", default_crop=32)
    assert classifier.class_names == NAMES
    run = robench.evaluate(classifier, data, ["clean"], tmp_path / "run")
    results = run.results
    accuracy = results[results["metric"] == "accuracy"]["value"].item()
    assert accuracy == 5 / 8
    assert any("these names give the order" in note for note in run.directory.notes)


def _dataset(folder: Path, *names: str) -> ImageDataset:
    return open_dataset(_folders(folder / "set", **dict.fromkeys(names, 1)))


def _fitted(images: ImageDataset, names: Any, outputs: int) -> tuple[list[int], Any, str]:
    found = fit_classes(images, outputs, "net", names)
    return found.labels.tolist(), found.groups, found.notes[-1] if found.notes else ""


def test_fewer_classes_are_found_by_synonyms_and_wordnet_ids(tmp_path: Path) -> None:
    names = ["goldfish, Carassius auratus", "tench, Tinca tinca", "crane", "crane, machine"]
    labels, groups, note = _fitted(_dataset(tmp_path, "Tinca-Tinca", "carassius auratus"), names, 4)
    assert (labels, groups) == ([1, 0], None)  # as with a class map, all outputs compete
    assert "has 2 of the 4 classes of net, by the names" in note
    ids = _dataset(tmp_path / "ids", "n01440764", "n01443537")  # tench, goldfish
    assert _fitted(ids, names, 4)[0] == [1, 0]
    assert _fitted(ids, names[:2], 2)[1] == ((1,), (0,))


def test_names_that_do_not_decide_are_said(tmp_path: Path) -> None:
    images = _dataset(tmp_path, "ant", "bee")
    for names, told in (
        (["cat", "dog"], "names its outputs otherwise (cat, dog) than set its classes, for example 'ant'"),
        (["ant"], "names 1 classes, but it has 2 outputs"),
        (["ant", "Ant"], "gives one name to several outputs"),
    ):
        assert told in _fitted(images, names, 2)[2]
        assert _fitted(images, names, 2)[:2] == ([0, 1], None)
    with pytest.raises(DatasetError, match=r"set has 2 classes .*, net has 3") as caught:
        fit_classes(images, 3, "net", ["ant", "wasp", "cow"])
    assert "for example 'bee'" in caught.value.__notes__[0]
    assert fit_classes(images, 2, "net", ["ant", "bee"]) is images
    (tmp_path / "map.txt").write_text("ant\nbee\n")
    mapped = open_dataset(tmp_path / "set", tmp_path / "map.txt")
    assert fit_classes(mapped, 2, "net", ["bee", "ant"]) is mapped  # the user's map wins
    numbers = _dataset(tmp_path / "n", "0", "1")
    assert fit_classes(numbers, 2, "net", ["bee", "ant"]) is numbers
