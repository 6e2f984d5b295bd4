"""Networks that return a tuple: which of its tensors holds the logits. The network's own parts are the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robench import ImageDataset, evaluate, load_classifier, open_dataset
from robench.cli.entry import run_cli
from robench.datasets.class_mapping import imagenet_wnids
from robench.errors import CheckpointError, DatasetError
from robench.evaluation.options import Options
from robench.evaluation.prepare import match_model_to_dataset, prepare
from robench.runs.observer import Observer

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    preprocessing = {"crop": 8, "resize": 8, "mean": (0, 0, 0), "std": (1, 1, 1)}

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.head = nn.Linear(192, 3)
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, x):
        features = x.flatten(1)
        logits = self.head(features)
        parts = {
            "features": features, "logits": logits, "auxiliary": logits - 1, "map": x, "none": None, "softmax": logits.softmax(1),
            "one": logits[:, :1], "gate": logits[:, :1].sigmoid(), "few": features[:, :4], "many": features[:, :1].repeat(1, 1000),
        }
        return tuple(parts[one] for one in self.order.split("-"))
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path}/net.py:Net?order="


def pictures(root: Path, classes: list[str]) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def images(tmp_path: Path) -> ImageDataset:
    return open_dataset(pictures(tmp_path / "set", ["ant", "bee", "cow"]))


def alone(network: str, part: str) -> Tensor:
    """Return the output of a part of the network for the images of `batch`."""
    (values,) = load_classifier(network + part, device="cpu").module(batch().float() / 255)
    assert isinstance(values, Tensor)
    return values


def batch() -> Tensor:
    return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("order", "part"),
    [
        ("features-logits", "logits"),
        ("logits-features", "logits"),
        ("map-logits", "logits"),
        ("logits-map", "logits"),
        ("none-logits", "logits"),
        ("logits-auxiliary-auxiliary", "logits"),
        ("logits-auxiliary-features", "logits"),
        ("features-logits-auxiliary", "logits"),
    ],
)
def test_the_classes_of_the_images_decide(network: str, images: ImageDataset, order: str, part: str) -> None:
    fitted, _ = match_model_to_dataset(load_classifier(network + order, device="cpu"), images)
    assert fitted.classes == 3
    assert torch.equal(fitted.logits(batch()), alone(network, part))
    number = order.split("-").index(part) + 1
    told = [note for note in fitted.notes if f": number {number} is used as its logits" in note]
    assert len(told) == 1
    assert f"gives {len(order.split('-'))} outputs for 2 images, " in told[0]


def test_one_output_in_a_tuple_is_not_noted(network: str) -> None:
    classifier = load_classifier(network + "logits", device="cpu")
    assert (classifier.classes, classifier.notes, classifier.outputs) == (3, (), ())


def test_what_an_output_is_goes_with_it(network: str, tmp_path: Path, images: ImageDataset) -> None:
    fitted, _ = match_model_to_dataset(load_classifier(network + "features-softmax", device="cpu"), images)
    assert fitted.head == "probabilities"
    assert torch.allclose(fitted.logits(batch()).exp(), alone(network, "softmax"))
    two = open_dataset(pictures(tmp_path / "two", ["ant", "bee"]))
    for order, head in (("features-one", "logit"), ("features-gate", "probability")):
        fitted, _ = match_model_to_dataset(load_classifier(network + order, device="cpu"), two)
        assert (fitted.classes, fitted.head) == (2, head)


def test_what_nothing_decides_is_refused(network: str, tmp_path: Path) -> None:
    classifier = load_classifier(network + "features-logits-few", device="cpu")
    with pytest.raises(
        CheckpointError, match="with 192 and 3 and 4 classes, and none matches the 5 classes of five; let the model"
    ):
        match_model_to_dataset(classifier, open_dataset(pictures(tmp_path / "five", list("abcde"))))
    table = pictures(tmp_path / "numbers", ["x"]) / "labels.csv"
    table.write_text("file_name,label\nx/0.png,0\nx/1.png,1\n")
    with pytest.raises(CheckpointError, match="and more than one matches the 2 classes of numbers"):
        match_model_to_dataset(classifier, open_dataset(table))
    with pytest.raises(DatasetError, match=r"has 5 classes .* has 4"):
        match_model_to_dataset(load_classifier(network + "map-few", device="cpu"), open_dataset(tmp_path / "five"))


def test_some_of_imagenets_classes_are_of_an_output_of_all(network: str, tmp_path: Path) -> None:
    some = open_dataset(pictures(tmp_path / "some", list(imagenet_wnids()[:5])))
    fitted, found = match_model_to_dataset(load_classifier(network + "features-many", device="cpu"), some)
    assert (fitted.classes, found.groups) == (1000, ((0,), (1,), (2,), (3,), (4,)))
    assert fitted.logits(batch()).shape == (4, 5)


def test_a_run_says_which_output_it_took(network: str, tmp_path: Path, images: ImageDataset) -> None:
    model = network + "features-logits"
    assert run_cli(["evaluate", model, "--data", str(images.root), "--out", str(tmp_path / "run")]) == 0
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["model"]["classes"] == 3
    assert [note for note in manifest["notes"] if "2x192 and 2x3: number 2 is used as its logits" in note]
    run = evaluate(load_classifier(network + "logits", device="cpu"), images, out=tmp_path / "alone")
    records = [next((path / "records").glob("*.parquet")).read_bytes() for path in (tmp_path / "run", run.path)]
    assert records[0] == records[1]


def test_a_worker_takes_the_same_output(network: str, tmp_path: Path, images: ImageDataset) -> None:
    classifier = load_classifier(network + "features-logits", device="cpu")
    prepared = prepare(classifier, images, ["clean"], tmp_path / "run", Options(), Observer())
    assert prepared.spec is not None
    assert prepared.evaluator is not None
    (shard,) = prepared.shards(prepared.plan.conditions[0])
    assert prepared.spec.build("cpu").evaluate(shard).content == prepared.evaluator.evaluate(shard).content
