"""Oracle: numpy on the records of the same run with one class an image, which has the same images and draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import robench
from robench.datasets import open_dataset
from robench.errors import DatasetError, OptionError
from robench.evaluation.loop import _columns
from robench.viewer.items import sample
from robench.viewer.samples import read_samples
from tests.builders import each, tiny_classifier, tiny_dataset

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "own")


@pytest.fixture(scope="module")
def sets(data: Path) -> dict[str, list[int]]:
    """No, one, two or three classes of each image; the class of the folder need not be one of them."""
    rng = np.random.default_rng(3)
    return {path: np.flatnonzero(rng.random(3) < 0.4).tolist() for path in open_dataset(data).paths}


def written(sets: dict[str, list[int]], kind: str, folder: Path) -> Path:
    """Write the labels in a file."""
    file = folder / kind
    texts: dict[str, Callable[[list[int]], str]] = {
        "numbers.csv": lambda one: ";".join(map(str, one)),
        "spaces.csv": lambda one: " ".join(map(str, one)),
        "pandas.csv": str,
        "names.tsv": lambda one: "|".join(CLASSES[label] for label in one),
        "python.csv": lambda one: str([CLASSES[label] for label in one]),
    }
    if kind in texts:
        table = pd.DataFrame({"path": list(sets), "labels": [texts[kind](one) for one in sets.values()]})
        table.to_csv(file, index=False, sep="\t" if kind.endswith("tsv") else ",")
    elif kind == "lines.jsonl":
        file.write_text("".join(json.dumps({"file_name": path, "label": one}) + "\n" for path, one in sets.items()))
    elif kind == "objects.json":
        file.write_text(json.dumps([{"image": path, "labels": one} for path, one in sets.items()]))
    elif kind == "paths.json":  # Paths without folder would be ambiguous; images without a label may be absent.
        file.write_text(json.dumps({f"./{path}": one for path, one in sets.items() if one}))
    elif kind == "real.json":
        file.write_text(json.dumps(list(sets.values())))
    elif kind == "table.parquet":
        pq.write_table(pa.table({"path": list(sets), "label": list(sets.values())}), file)
    else:
        pq.write_table(pa.table({"label": list(sets.values())}), file)
    return file


KINDS = (
    *("numbers.csv", "spaces.csv", "pandas.csv", "names.tsv", "python.csv", "lines.jsonl"),
    *("objects.json", "paths.json", "real.json", "table.parquet", "list.parquet"),
)


@each("kind", KINDS)
def test_labels_of_every_kind_of_file(kind: str, tmp_path: Path, data: Path, sets: dict[str, list[int]]) -> None:
    images = open_dataset(data, labels=written(sets, kind, tmp_path))
    assert images.label_sets == tuple(map(tuple, sets.values()))
    assert images.classes == CLASSES
    assert images.label_notes == [
        f"{sum(len(one) > 1 for one in sets.values())} of 30 images have several classes; any of them is right",
        f"{sum(not one for one in sets.values())} of 30 images have no label and are left out",
    ]


def test_the_table_next_to_the_images(tmp_path: Path, data: Path, sets: dict[str, list[int]]) -> None:
    for number, (path, labels) in enumerate(sets.items()):
        (tmp_path / f"ILSVRC2012_val_{number + 1:08d}.png").write_bytes((data / path).read_bytes())
        with (tmp_path / "labels.csv").open("a") as file:
            file.write(f"ILSVRC2012_val_{number + 1:08d}.png,{json.dumps(labels)!r}\n".replace("'", '"'))
    assert open_dataset(tmp_path).label_sets == tuple(map(tuple, sets.values()))
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "ILSVRC2012_val_00000001.png").unlink()
    images = open_dataset(tmp_path, labels=written(sets, "real.json", tmp_path))
    assert images.label_sets == tuple(map(tuple, sets.values()))[1:]
    encoded = [(data / path).read_bytes() for path in sets]
    pq.write_table(pa.table({"image": encoded, "label": list(sets.values())}), tmp_path / "own.parquet")
    assert open_dataset(tmp_path / "own.parquet").label_sets == tuple(map(tuple, sets.values()))


@each(
    ("name", "content", "match"),
    [
        ("a.csv", "path,label\nant/0.png,0;-1\n", "label -1"),
        ("a.csv", "path,label\nant/0.png,ant|wasp\n", "'wasp', which own does not have"),
        ("a.csv", "path,label\nnone.png,1;2\n", "names no image of own"),
        ("a.csv", "path,label\nant/0.png,1;2\nant/0.png,1\n", "already in a.csv, line 2"),
        ("a.csv", "path\nant/0.png\n", "one column"),
        ("a.json", "[[0], [1, 2]]", "labels of 2 images, own has 30"),
        ("a.json", "[[], []" + ", []" * 28 + "]", "no image has a label"),
        ("a.json", "[[0.5]" + ", [1]" * 29 + "]", "image 0 has the label 0.5"),
        ("a.json", "[[[0]]" + ", [1]" * 29 + "]", "image 0 has the label list"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", "3", "neither a JSON object nor a list"),
        ("a.parquet", "PAR1", "does not end like a Parquet file"),
        ("a.xlsx", "", "is no file of labels"),
        ("absent.csv", None, "absent.csv"),
    ],
)
def test_labels_with_mistakes(name: str, content: str | None, match: str, tmp_path: Path, data: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=match):
        open_dataset(data, labels=tmp_path / name)


def test_no_selected_image_has_a_label(tmp_path: Path, data: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\nant/0.png,0;1\n")
    (tmp_path / "subset.txt").write_text("bee/0.png\n")
    with pytest.raises(OptionError, match="no selected image has a label"):
        robench.evaluate(
            tiny_classifier(),
            data,
            "clean",
            tmp_path / "run",
            labels=tmp_path / "a.csv",
            subset=tmp_path / "subset.txt",
        )
    assert not (tmp_path / "run").exists()


def test_one_class_an_image_with_some_left_out(tmp_path: Path, data: Path) -> None:
    paths = open_dataset(data).paths[::2]
    labels = "".join(f"{path},{path.split('/')[0]}\n" for path in paths)
    (tmp_path / "labels.csv").write_text(f"path,label\n{labels}")
    (tmp_path / "subset.txt").write_text("\n".join(paths))
    run = robench.evaluate(tiny_classifier(), data, "clean", tmp_path / "a", labels=tmp_path / "labels.csv")
    other = robench.evaluate(tiny_classifier(), data, "clean", tmp_path / "b", subset=tmp_path / "subset.txt")
    assert run.results.equals(other.results)
    assert "brier" in set(run.results["metric"])
    assert "15 of 30 images have no label and are left out" in run.notes


def test_the_most_probable_of_several_classes() -> None:
    logits = torch.tensor([[5.0, 5.0, 1.0, 0.0], [0.0, 1.0, 2.0, 9.0], [1.0, torch.nan, 1.0, 1.0]])
    label = torch.tensor([[1, 2], [0, 1], [2, -1]])
    columns = _columns(logits, label)
    probabilities = logits.softmax(1)
    predicted = int(columns[0, 0])
    # Of the equal logits 0 and 1, either may be first; a right prediction is the label.
    assert int(columns[0, -1]) == 1
    assert predicted in (0, 1)
    assert columns[:, -1].tolist() == [1, 1, 2]
    assert columns[2, :4].tolist() == [-1] * 4
    prob_label = columns[:, 5].contiguous().view(torch.float32)
    assert torch.allclose(prob_label[:2], torch.stack([probabilities[0, 1:3].sum(), probabilities[1, :2].sum()]))
    assert _columns(logits[:1, [1, 0, 2, 3]], torch.tensor([[0, 1]]))[0, [0, -1]].unique().numel() == 1


@pytest.fixture(scope="module")
def runs(data: Path, sets: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory) -> tuple[robench.Run, ...]:
    """A run with several classes an image, and one with the classes of the folders."""
    folder = tmp_path_factory.mktemp("runs")
    labels = written(sets, "real.json", folder)
    options = robench.Options(corruption=["fog", "scale"], severity=[1, 5])
    suites = ["cifar-c", "scale"]
    return (
        robench.evaluate(tiny_classifier(), data, suites, folder / "several", labels=labels, options=options),
        robench.evaluate(tiny_classifier(), data, suites, folder / "one", options=options),
    )


def test_metrics_with_several_classes(runs: tuple[robench.Run, ...], sets: dict[str, list[int]]) -> None:
    several, one = (run.directory for run in runs)
    kept = [number for number, labels in enumerate(sets.values()) if labels]
    assert several.read_samples()["index"].tolist() == kept
    assert several.manifest["data"]["sha256"] != one.manifest["data"]["sha256"]
    results = runs[0].results
    errors = {}
    for condition in several.conditions:
        own, other = (run.read_records(condition.name) for run in (several, one))
        other = other[other["sample"].isin(kept)].reset_index(drop=True)
        assert own["pred"].equals(other["pred"])  # The draws are those of the whole dataset.
        right = np.array(
            [pred in list(sets.values())[place] for place, pred in zip(own["sample"], own["pred"], strict=True)]
        )
        assert ((own["pred"] == own["label"]) == right).all()
        if condition.frames == 1:
            errors[condition.corruption, condition.severity] = 1 - right.mean()
        else:
            accuracy = results[(results["suite"] == condition.suite) & (results["axis"] == "scale")]
            expected = right.reshape(condition.frames, -1).mean(axis=1)
            assert np.allclose(accuracy[accuracy["metric"] == "accuracy"]["value"], expected)
    rows = results[results["metric"] == "error_rate"].set_index(["corruption", "severity"])["value"]
    assert rows.to_dict() == pytest.approx(errors)
    metrics = set(results["metric"])
    assert {"ece", "nll", "aurc", "top5_error"} <= metrics
    assert metrics.isdisjoint({"brier", "class_error", "worst_class_error", "balanced_accuracy"})
    assert f"{30 - len(kept)} of 30 images have no label and are left out" in runs[0].notes


def test_other_commands_with_several_classes(runs: tuple[robench.Run, ...], tmp_path: Path) -> None:
    run = runs[0]
    assert robench.score(run).drop(columns="robench_version").equals(run.results.drop(columns="robench_version"))
    table = read_samples([run.path])
    errors = run.results[run.results["metric"] == "error_rate"]["value"].to_numpy()
    assert 1 - table.right[0, : len(errors)].mean(axis=1) == pytest.approx(errors)
    assert sample(table, 0)["conditions"][table.planes[0].condition.name]["right"] == [[bool(table.right[0, 0, 0])]]
    with pytest.raises(OptionError, match="samples"):
        robench.compare(*runs)
