"""Class subsets by WordNet id, and ObjectNet, in folders made as the authors' are. Oracle: sorted names, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robench.datasets import decode_few, fit_classes, open_dataset
from robench.datasets.class_mapping import imagenet_wnids
from robench.datasets.dataset import ImageDataset
from robench.errors import DatasetError
from robench.evaluation.prepare import match_model_to_dataset
from robench.models import Classifier
from robench.suites.geometry import Geometry


def _folders(root: Path, names: list[str], size: int = 20) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (size, size), (number, 100, 200)).save(root / name / "a.png")
    return root


def test_imagenets_ids_are_in_order() -> None:
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000
    assert list(wnids) == sorted(wnids)
    assert (wnids[0], wnids[-1]) == ("n01440764", "n15075141")  # tench, toilet tissue


def test_some_of_imagenets_classes_are_found_by_their_ids(tmp_path: Path) -> None:
    wnids = imagenet_wnids()
    chosen = [wnids[7], wnids[500], wnids[999]]
    images = fit_classes(open_dataset(_folders(tmp_path / "imagenet-a", chosen)), 1000, "net")
    assert images.groups == ((7,), (500,), (999,))
    assert images.labels.tolist() == [0, 1, 2]
    assert "3 of ImageNet's 1,000 classes" in images.notes[-1]


def test_other_class_counts_are_refused(tmp_path: Path) -> None:
    images = open_dataset(_folders(tmp_path / "set", ["ant", "bee"]))
    assert fit_classes(images, 2, "net") is images
    with pytest.raises(DatasetError, match=r"has 2 classes .* net has 3; give --class-map"):
        fit_classes(images, 3, "net")
    with pytest.raises(DatasetError, match="--class-map"):
        fit_classes(open_dataset(_folders(tmp_path / "wnids", [imagenet_wnids()[0]])), 10, "net")


def test_predictions_are_among_the_groups(classifier: Classifier) -> None:
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = classifier.logits(images)
    assert torch.equal(classifier.with_class_groups(((2,), (0,))).logits(images), whole[:, [2, 0]])
    several = classifier.with_class_groups(((0, 2), (1,))).logits(images)
    assert torch.equal(several, torch.stack([whole[:, [0, 2]].max(1).values, whole[:, 1]], 1))


def _objectnet(root: Path) -> Path:
    _folders(root / "images", ["air_freshener", "alarm_clock", "backpack"])
    for picture in root.glob("images/*/*.png"):
        framed = Image.new("RGB", (24, 24), (255, 0, 0))
        framed.paste(Image.open(picture), (2, 2))
        framed.save(picture)
    mappings = root / "mappings"
    mappings.mkdir()
    names = {"air_freshener": "Air freshener", "alarm_clock": "Alarm clock", "backpack": "Backpack"}
    imagenet = {"Alarm clock": "analog clock; digital clock", "Backpack": "backpack, back pack"}
    lines = ["backpack, back pack", "digital clock", "analog clock"]
    (mappings / "folder_to_objectnet_label.json").write_text(json.dumps(names))
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps(imagenet))
    (mappings / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps({"414": 0, "530": 1, "409": 2}))
    (mappings / "imagenet_to_label_2012_v2").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("below", ["", "images"])
def test_objectnets_classes_are_those_that_imagenet_has(tmp_path: Path, below: str) -> None:
    images = open_dataset(_objectnet(tmp_path / "objectnet-1.0") / below)
    assert images.classes == ("alarm_clock", "backpack")
    assert images.groups == ((409, 530), (414,))
    assert images.paths == ("alarm_clock/a.png", "backpack/a.png")
    assert images.name == "objectnet-1.0"
    pixels = decode_few(images, np.arange(2), Geometry())
    assert pixels.shape == (2, 3, 20, 20)
    assert pixels[:, 0].max() <= 2  # no red is left of the border


def test_objectnet_is_for_imagenets_models(tmp_path: Path, classifier: Classifier) -> None:
    with pytest.raises(DatasetError, match="tiny has 3"):
        match_model_to_dataset(classifier, open_dataset(_objectnet(tmp_path / "o")))


def test_objectnets_mappings_may_be_broken(tmp_path: Path) -> None:
    root = _objectnet(tmp_path / "o")
    (root / "mappings/objectnet_to_imagenet_1k.json").write_text("{")
    with pytest.raises(DatasetError, match="unpack it again"):
        open_dataset(root)


@pytest.mark.parametrize("usual", [tuple(map(str, range(10))), imagenet_wnids()[:10]])
def test_the_folder_that_spoils_it_is_named(usual: tuple[str, ...]) -> None:
    classes = tuple(sorted((*usual, "thumbnails")))
    images = ImageDataset("x", ("a.png",), np.zeros(1, np.int64), classes, lambda position: b"")
    with pytest.raises(DatasetError, match="'thumbnails' is unlike the others"):
        fit_classes(images, 1000, "model")


def _numbered(tmp_path: Path, labels: list[int]) -> Path:
    table = _folders(tmp_path / "set", ["x"]) / "labels.csv"
    for number in range(len(labels)):
        Image.new("RGB", (20, 20)).save(table.parent / f"{number}.png")
    lines = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    table.write_text("\n".join(["file_name,label", *lines]) + "\n")
    return table


def test_labels_that_begin_at_1_are_told_and_mapped(tmp_path: Path) -> None:
    table = _numbered(tmp_path, [1, 3, 2, 3])
    told = r"has labels 1 to 3, but net numbers its 3 classes from 0; subtract 1 .* seq 1 3 > FILE"
    with pytest.raises(DatasetError, match=told):
        fit_classes(open_dataset(table), 3, "net")
    (tmp_path / "map.txt").write_text("1\n2\n3\n")
    mapped = fit_classes(open_dataset(table, tmp_path / "map.txt"), 3, "net")
    assert (mapped.labels.tolist(), mapped.classes, mapped.notes) == ([0, 2, 1, 2], ("1", "2", "3"), ())
    assert "no label is 0, so if labels begin at 1, subtract 1" in fit_classes(open_dataset(table), 9, "net").notes[-1]


@pytest.mark.parametrize("labels", [[0, 3], [2, 3]])
def test_other_labels_are_not_said_to_begin_at_1(tmp_path: Path, labels: list[int]) -> None:
    images = open_dataset(_numbered(tmp_path, labels))
    with pytest.raises(DatasetError, match=r"has 4 classes .* net has 3 .*; give --class-map"):
        fit_classes(images, 3, "net")
    assert "begin at 1" not in fit_classes(images, 9, "net").notes[-1]


def test_what_is_no_class_is_named(tmp_path: Path) -> None:
    root = _folders(tmp_path / "set", ["ant", "bee"])
    (root / "thumbnails").mkdir()
    with pytest.raises(
        DatasetError, match=r"has 3 classes .* net has 2 \('thumbnails' has no image: is it a class\?\)"
    ):
        fit_classes(open_dataset(root), 2, "net")
    split = _folders(tmp_path / "split", ["train/ant", "train/bee", "val/ant", "val/bee"])
    with pytest.raises(
        DatasetError, match=r"contains splits of a dataset, not classes \(train, val\); give the folder of one"
    ):
        fit_classes(open_dataset(split), 10, "net")
