"""Guards: what a run says when labels are permuted, accuracy is by chance, or logits are no numbers.

Oracle: predictions made here, of known accuracy under a known order of the classes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robench
from robench.analysis.gate import FORMATS
from robench.analysis.gate.gate import gate
from robench.analysis.scoring import score
from robench.analysis.scoring.sanity import few_image_notes, find_permutation
from robench.cli.entry import run_cli
from robench.datasets import open_dataset
from robench.datasets.checks import double_resize_note
from robench.evaluation.options import Options
from robench.evaluation.run import evaluate
from robench.models import Classifier, load_classifier
from robench.runs.directory import RunDirectory
from robench.runs.observer import FinishedCondition, Observer
from robench.runs.parquet import write_parquet
from robench.runs.schema import RECORDS
from robench.suites.geometry import Geometry
from robench.types import Ints
from tests.analysis.gate.invented import write_run


def _predictions(rng: np.random.Generator, classes: int, each: int, accuracy: float) -> tuple[Ints, Ints]:
    label = np.repeat(np.arange(classes), each)
    guess = rng.integers(0, classes, len(label))
    return label, np.where(rng.random(len(label)) < accuracy, label, guess)


def test_a_permutation_is_found() -> None:
    rng = np.random.default_rng(0)
    label, pred = _predictions(rng, 10, 40, 0.8)
    order = rng.permutation(10)
    found = find_permutation(label, order[pred], 10)
    assert found is not None
    assert (found.label_of[order] == np.arange(10)).all()
    assert found.permuted == pytest.approx((pred == label).mean(), abs=0.01)


@pytest.mark.parametrize(
    ("classes", "each", "accuracy"), [(10, 40, 0.8), (10, 40, 0.0), (1000, 1, 0.0), (1000, 2, 0.0), (100, 1, 0.6)]
)
def test_chance_is_no_permutation(classes: int, each: int, accuracy: float) -> None:
    label, pred = _predictions(np.random.default_rng(1), classes, each, accuracy)
    assert find_permutation(label, pred, classes) is None


def test_two_swapped_classes_of_ten_are_found() -> None:
    label, pred = _predictions(np.random.default_rng(2), 10, 50, 0.9)
    swap = np.array([0, 1, 2, 5, 4, 3, 6, 7, 8, 9])
    found = find_permutation(label, swap[pred], 10)
    assert found is not None
    assert found.label_of.tolist() == swap.tolist()
    assert found.permuted == pytest.approx((pred == label).mean())


@pytest.mark.parametrize("each", [3, 100])
def test_a_bad_model_under_the_right_order_is_no_permutation(each: int) -> None:
    """Its errors go to some classes more than to others, as of models that confuse cats with dogs; 40 % is right."""
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(10), each)
    for _ in range(200):
        goes = 0.4 * np.eye(10) + 0.6 * rng.dirichlet(np.full(10, 0.3), 10)
        pred = (rng.random((len(label), 1)) > goes.cumsum(axis=1)[label]).sum(axis=1).clip(max=9)
        assert find_permutation(label, pred, 10) is None


def test_two_classes_that_a_model_confuses_are_no_permutation() -> None:
    """60 % of each go to the other: more than at home, beyond chance, and yet the order is the right one."""
    label = np.repeat(np.arange(10), 1000)
    pred = label.copy()
    for one, other in ((3, 5), (5, 3)):
        pred[np.flatnonzero(label == one)[:600]] = other
    assert find_permutation(label, np.roll(pred.reshape(10, 1000), 1, axis=1).ravel(), 10) is None


class _Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _shuffled_digits(folder: Path) -> Path:
    """The demo's digits as files whose folders are named in another order."""
    from robench.datasets.readers.demo import read_demo

    demo = read_demo()
    for position in range(0, len(demo), 3):
        label = int(demo.labels[position])
        place = folder / f"class{(label * 3 + 1) % 10}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{position:04d}.pgm").write_bytes(demo.read(position))
    return folder


def test_permuted_labels_are_said_before_the_work_and_mended_by_the_suggested_map(tmp_path: Path) -> None:
    images, observer = _shuffled_digits(tmp_path / "digits"), _Notes()
    options = Options(severity=[1], corruption=["contrast"])
    run = evaluate(
        load_classifier("demo", device="cpu"), images, ["cifar-c"], tmp_path / "run", options=options, progress=observer
    )
    doubt = next(note for note in observer.notes if "permuted" in note)
    assert "--class-map" in doubt
    from robench.datasets import open_dataset

    suggested = tmp_path / "run/class_map.suggested.txt"
    mended = open_dataset(images, suggested)
    again = evaluate(load_classifier("demo", device="cpu"), mended, ["clean"], tmp_path / "again")
    before, after = (float(one.results.query("metric == 'accuracy'")["value"].iloc[0]) for one in (run, again))
    assert before < 0.2 < 0.9 < after
    assert not again.directory.warnings


def test_the_suggested_map_is_in_the_order_of_the_outputs_where_wrong_names_gave_another(tmp_path: Path) -> None:
    images, path = _shuffled_digits(tmp_path / "digits"), tmp_path / "run"
    named = replace(load_classifier("demo", device="cpu"), class_names=tuple(f"class{9 - k}" for k in range(10)))
    (doubt,) = evaluate(named, images, ["clean"], path).directory.warnings
    assert "output 0 is class1, output 1 is class4" in doubt or "output 9 is class8, output 8 is class5" in doubt
    suggested = path / "class_map.suggested.txt"
    assert suggested.read_text().split() == [f"class{(digit * 3 + 1) % 10}" for digit in range(10)]
    again = evaluate(named, open_dataset(images, suggested), ["clean"], tmp_path / "again")
    assert again.results.query("metric == 'accuracy'")["value"].iloc[0] > 0.9


class _Interrupt(Observer):
    def condition(self, finished: FinishedCondition) -> None:
        if finished.condition.name != "clean-32px":
            raise KeyboardInterrupt


def test_warnings_stay_with_the_run_wherever_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, path, demo = _shuffled_digits(tmp_path / "digits"), tmp_path / "run", load_classifier("demo", device="cpu")
    options = Options(severity=[1, 2], corruption=["contrast"], limit=100)
    with pytest.raises(KeyboardInterrupt):
        evaluate(demo, images, ["cifar-c"], path, options=options, progress=_Interrupt())
    told = "the labels look permuted"
    assert [text.partition(":")[0] for text in RunDirectory.open(path).warnings] == [told], (
        "before the work is finished"
    )
    for _ in range(2):  # Resumed, then finished already.
        evaluate(demo, images, ["cifar-c"], path, options=options)
        assert sum(text.startswith(told) for text in RunDirectory.open(path).warnings) == 1
    other = evaluate(demo, images, ["cifar-c"], tmp_path / "other", options=replace(options, seed=1)).path
    board, run, table = tmp_path / "board.csv", str(path), str(path / "results.csv")
    commands = [
        ["show", run],
        ["show", run, "--format", "csv"],
        ["score", run],
        ["pool", run, str(other)],
        ["compare", table, run],
        ["gate", run, "--baseline", table],
        ["gate", table, "--baseline", table, "--format", "json"],
        ["gate", run, "--power"],
        ["gate", run, "--baseline", str(tmp_path / "baseline.csv"), "--update-baseline"],
        ["leaderboard", table, "--format", "markdown"],
        ["leaderboard", run, "--out", str(board)],
        ["leaderboard", str(board), "--format", "latex"],
    ]
    for command in commands:
        assert run_cli(command) == 0, command
        printed = capsys.readouterr()
        assert told in " ".join((printed.out + printed.err).split()), command
        if {"json", "markdown", "latex"}.intersection(command):
            assert told in printed.out, command
    assert told in board.read_text()
    assert f"warning: {run}: {told}" in str(robench.gate(run, table))
    verdict = gate(run, table)
    for name, write in FORMATS.items():
        assert f"{run}: {told}".replace("_", "\\_" if name == "markdown" else "_") in write(verdict), name
    assert run_cli(["report", run, "--out", str(tmp_path / "page.html"), "--examples", "0"]) == 0
    assert told in (tmp_path / "page.html").read_text().partition("headline metrics")[0]
    for damaged in (5, ["x", 5], {"warnings": 5}):
        manifest = json.loads((path / "manifest.json").read_text()) | {"scored": damaged}
        (path / "manifest.json").write_text(json.dumps(manifest))
        assert run_cli(["show", run]) == 2
        assert "in " in capsys.readouterr().err


def test_accuracy_by_chance_is_said(tmp_path: Path, classifier: Classifier, picture_folder: Path) -> None:
    run = evaluate(classifier, picture_folder, ["clean"], tmp_path / "run")
    assert any("as by guessing among 3 classes" in text for text in run.directory.warnings)


def test_accuracy_below_chance_is_no_guessing(tmp_path: Path, classifier: Classifier, picture_folder: Path) -> None:
    """As on ImageNet-A, whose images were chosen for being mistaken."""
    from robench.datasets import open_dataset

    images = open_dataset(picture_folder)
    first = evaluate(classifier, images, ["clean"], tmp_path / "first")
    pred = first.directory.read_records("clean-32px")["pred"].to_numpy().astype(np.int64)
    labels = (pred + 1 + np.arange(30) % 2) % 3
    run = evaluate(classifier, replace(images, labels=labels), ["clean"], tmp_path / "run")
    assert not [text for text in run.directory.warnings if "by guessing" in text or "permuted" in text]


def test_few_images_that_are_right_are_no_chance(tmp_path: Path, classifier: Classifier, picture_folder: Path) -> None:
    from robench.datasets import open_dataset

    images = open_dataset(picture_folder)
    first = evaluate(classifier, images, ["clean"], tmp_path / "first", options=Options(limit=3))
    pred = first.directory.read_records("clean-32px")["pred"].to_numpy().astype(np.int64)
    labels = images.labels.copy()
    labels[[0, 10, 20]] = pred
    run = evaluate(classifier, replace(images, labels=labels), ["clean"], tmp_path / "run", options=Options(limit=3))
    assert not any("by guessing" in text for text in run.directory.warnings)


class _Overflowing(nn.Module):
    """NaN for dark images."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([mean, -mean, torch.where(mean < 0, torch.nan, mean)], 1)


def test_logits_that_are_no_numbers_are_counted(tmp_path: Path, classifier: Classifier, picture_folder: Path) -> None:
    broken = replace(classifier, module=_Overflowing())
    run = evaluate(broken, picture_folder, ["clean", "shift"], tmp_path / "run")
    results = run.results
    row = results.query("metric == 'nonfinite_rate' and suite == 'clean'").iloc[0]
    files = sorted(picture_folder.glob("*/*.png"))
    geometry = Geometry(resize=(32, 32))  # of the shift suite's clean images
    dark = sum(np.asarray(geometry.apply(Image.open(file)), np.float64).mean() / 255 < 0.5 for file in files)
    assert 0 < dark < len(files)
    assert row["value"] == pytest.approx(dark / len(files))
    error = results.query("metric == 'error_rate' and suite == 'clean'").iloc[0]["value"]
    assert error >= row["value"]
    assert results.query("metric == 'nonfinite_rate' and suite == 'shift'")["value"].max() > 0
    assert any("not finite" in text for text in run.directory.warnings)


def test_no_row_where_all_are_finite(tmp_path: Path, classifier: Classifier, picture_folder: Path) -> None:
    results = evaluate(classifier, picture_folder, ["clean"], tmp_path / "run").results
    assert results.query("metric == 'nonfinite_rate'").empty


def test_few_images_raise_every_calibration_error(tmp_path: Path) -> None:
    """A calibrated model by construction, and many images of an overconfident one."""
    notes = []
    for images, excess in ((60, 0.0), (4000, 0.3)):
        rng = np.random.default_rng(0)
        cells = {("clean", 0): np.zeros(images, bool), ("fog", 1): np.zeros(images, bool)}
        run = RunDirectory.open(write_run(tmp_path / str(images), cells))
        for condition in run.conditions:
            records = run.read_records(condition.name)
            confidence = rng.uniform(0.5, 1, images).astype(np.float32)
            wrong = rng.random(images) > confidence - excess
            pred = np.where(wrong, (records["label"] + 1) % 2, records["label"]).astype(np.int32)
            write_parquet(RECORDS, records.assign(confidence=confidence, pred=pred), run.records_path(condition.name))
        notes.append(few_image_notes(score(run)))
    biased = "the ece and adaptive_ece of cifar-c are biased upward: on few images, even a calibrated model has a value above 0"
    assert notes == [[biased], []]


@pytest.mark.parametrize("name", ["=1+1", "@sum", "-x", "<script>"])
def test_a_name_that_would_be_a_formula_is_refused(
    tmp_path: Path, classifier: Classifier, picture_folder: Path, name: str
) -> None:
    from robench.errors import OptionError

    with pytest.raises(OptionError, match="rename it"):
        evaluate(replace(classifier, label=name), picture_folder, ["clean"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cut_images_that_would_be_resized_again_are_said(tmp_path: Path, classifier: Classifier) -> None:
    for label in ("ant", "bee", "cow"):
        (tmp_path / "cut" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "cut" / label / "a.png")
    observer = _Notes()
    evaluate(classifier, tmp_path / "cut", ["clean"], tmp_path / "run", progress=observer)
    assert any("already have 32x32 px" in note and "--resize 32" in note for note in observer.notes)
    for resize, is_said in (((36, 36), True), ((32, 32), False)):
        images = open_dataset(tmp_path / "cut")
        said = double_resize_note(images, np.arange(3), Geometry(resize=resize, crop=32))
        assert (said is not None) == is_said
        assert said is None or "are enlarged to 36 and cropped to 32" in said
