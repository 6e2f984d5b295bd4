"""Runs: what is on disk, resuming, refusing. The oracle is always a run that was never interrupted."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench.errors import DatasetError, OptionError, RobenchError, RunError
from robench.evaluation import evaluator, loop, plan
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Classifier
from robench.runs import directory as run_directory
from robench.runs import schema
from robench.runs.csv import read_csv
from robench.runs.directory import RunDirectory
from robench.runs.files import atomic_write
from robench.runs.lock import lock_run
from robench.runs.observer import Observer
from tests.builders import RUN_OPTIONS, run_files


def test_what_a_run_leaves(whole: Path) -> None:
    directory = RunDirectory.open(whole)
    assert len(directory.conditions) == 9
    assert directory.finished() == directory.conditions
    assert directory.conditions[0].suite == "clean"
    for condition in directory.conditions:
        records = directory.read_records(condition.name)
        schema.RECORDS.check(records)
        assert records["sample"].tolist() == list(range(30))
        assert set(records["corruption"]) == {condition.corruption}
        assert (records["pred"] == [top[0] for top in records["top5"]]).all()
        assert all(len(top) == 3 for top in records["top5"])
    results = directory.read_results()
    noisy = directory.read_records("cifar-c-shot_noise-5-32px")
    row = results[
        (results["metric"] == "error_rate") & (results["corruption"] == "shot_noise") & (results["severity"] == 5)
    ]
    assert row["value"].item() == np.mean(noisy["pred"] != noisy["label"])
    assert not set(results["metric"]) & {"mce", "relative_mce"}, "a part of a suite has no mCE"
    assert len(read_csv(schema.TIMINGS, whole / "timings.csv")) == 9
    assert not list(whole.rglob(".tmp-*"))


def test_notes_about_the_images_outlive_the_cache_and_an_error(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    for name in "abc":
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (40, 36)).save(tmp_path / "set" / name / "0.jpg", exif=tags)
    (tmp_path / "set" / "labels.csv").write_text("wnid;words\n")
    for out in ("decoded", "cached"):
        run = robench.evaluate(classifier, tmp_path / "set", ["clean"], tmp_path / out)
        assert any("3 of 3 images have an EXIF orientation" in note for note in run.directory.manifest["notes"])
    notes: list[str] = []
    monkeypatch.setattr(Observer, "note", lambda _, text: notes.append(text))
    (tmp_path / "set" / "d").mkdir()
    with pytest.raises(DatasetError, match="has 4 classes"):
        robench.evaluate(classifier, tmp_path / "set", ["clean"], tmp_path / "error")
    assert any("labels.csv was skipped" in note for note in notes)


def test_the_same_command_again_changes_nothing(
    classifier: Classifier, picture_folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_files(whole)
    monkeypatch.setattr(evaluator, "begin_condition", lambda *_, **__: pytest.fail("evaluated again"))
    robench.evaluate(classifier, picture_folder, ["cifar-c"], whole, options=RUN_OPTIONS)
    assert run_files(whole) == before


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_interrupted_and_resumed_is_equal(
    classifier: Classifier,
    picture_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    finished: list[int] = []
    real = loop.begin_condition

    def stops(*arguments: object, **options: object) -> object:
        if len(finished) == after:
            raise KeyboardInterrupt
        finished.append(1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluator, "begin_condition", stops)
    with pytest.raises(KeyboardInterrupt):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / "again", options=RUN_OPTIONS)
    assert len(RunDirectory.open(tmp_path / "again").finished()) == after
    monkeypatch.setattr(evaluator, "begin_condition", real)
    robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / "again", options=RUN_OPTIONS)
    assert run_files(tmp_path / "again") == run_files(whole)


def test_leftovers_of_a_kill_are_swept(
    classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    place = tmp_path / "left"
    (place / "records").mkdir(parents=True)
    (place / ".tmp-x.json").write_text("{")
    (place / "records" / ".tmp-y.parquet").write_bytes(b"PAR1")
    robench.evaluate(classifier, picture_folder, ["cifar-c"], place, options=RUN_OPTIONS)
    assert run_files(place) == run_files(whole)
    assert not list(place.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (replace(RUN_OPTIONS, seed=1), "--seed was 0, is 1"),
        (replace(RUN_OPTIONS, batch_size=8), "--batch-size was 7, is 8"),
        (replace(RUN_OPTIONS, severity=[1]), "--severity was 1,5, is 1"),
        (replace(RUN_OPTIONS, limit=9), "--limit was not set, is 9"),
        (replace(RUN_OPTIONS, precision="bf16"), "--precision was fp32, is bf16"),
    ],
)
def test_other_options_are_refused(
    classifier: Classifier, picture_folder: Path, whole: Path, options: Options, match: str
) -> None:
    before = run_files(whole)
    with pytest.raises(RunError, match=match) as error:
        robench.evaluate(classifier, picture_folder, ["cifar-c"], whole, options=options)
    assert "--fresh" in str(error.value)
    assert run_files(whole) == before


def test_another_network_is_refused(classifier: Classifier, picture_folder: Path, whole: Path) -> None:
    """Stale results are worse than none: weights, buffers, settings and the code of `forward` are part of a run."""
    before = run_files(whole)
    trained = copy.deepcopy(classifier.module)
    with torch.no_grad():
        next(trained.parameters()).add_(1e-4)
    resized = copy.deepcopy(classifier.module)
    next(resized.children()).stride = (1, 1)  # type: ignore[assignment]
    for module in (trained, resized):
        other = replace(classifier, module=module)
        with pytest.raises(RunError, match="is another run: the weights changed;"):
            robench.evaluate(other, picture_folder, ["cifar-c"], whole, options=RUN_OPTIONS)
    assert run_files(whole) == before


def test_fresh_moves_the_old_run_aside(classifier: Classifier, picture_folder: Path, whole: Path) -> None:
    before = run_files(whole)
    robench.evaluate(classifier, picture_folder, ["cifar-c"], whole, options=replace(RUN_OPTIONS, fresh=True, seed=3))
    assert run_files(whole.with_name("whole.1")) == before
    assert RunDirectory.open(whole).manifest["seed"] == 3


def test_places_that_are_no_runs(classifier: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    for name, match in (
        ("file", "a file is in the way"),
        ("folder", "other files"),
        ("file/below", "a file is in the way"),
    ):
        with pytest.raises(RunError, match=match):
            robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / name, options=RUN_OPTIONS)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "x"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="has schema 99"):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / "old", options=RUN_OPTIONS)


def test_a_run_is_written_by_one_process(classifier: Classifier, picture_folder: Path, whole: Path) -> None:
    with lock_run(whole), pytest.raises(RunError, match="another robench"):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], whole, options=RUN_OPTIONS)


@pytest.mark.parametrize(("code", "match"), [(28, "no space left"), (13, "no permission"), (30, "no permission")])
def test_disk_trouble_is_one_line_and_loses_nothing(
    classifier: Classifier,
    picture_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    match: str,
) -> None:
    real = atomic_write
    written: list[Path] = []

    def fails(path: Path, write: Callable[[IO[bytes]], object]) -> None:
        written.extend([path] if path.parent.name == "records" else [])
        if len(written) == 4:
            raise OSError(code, os.strerror(code))
        real(path, write)

    monkeypatch.setattr(run_directory, "atomic_write", fails)
    with pytest.raises(RunError, match=match):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / "full", options=RUN_OPTIONS)
    monkeypatch.setattr(run_directory, "atomic_write", real)
    assert len(RunDirectory.open(tmp_path / "full").finished()) == 3
    robench.evaluate(classifier, picture_folder, ["cifar-c"], tmp_path / "full", options=RUN_OPTIONS)
    assert run_files(tmp_path / "full") == run_files(whole)


def test_pixels_and_draws_do_not_depend_on_the_batch(
    classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    runs = [
        robench.evaluate(
            classifier, picture_folder, ["cifar-c"], tmp_path / str(size), options=replace(RUN_OPTIONS, batch_size=size)
        )
        for size in (1, 7, 64)
    ]
    for condition in runs[0].directory.conditions:
        one, seven, many = (r.directory.read_records(condition.name) for r in runs)
        for other in (seven, many):
            # The network is small enough that only the last bits of its logits may differ with the batch's shape.
            assert np.abs(one["prob_label"] - other["prob_label"]).max() < 1e-5
            assert (one["pred"] == other["pred"]).all()


def test_limit_takes_the_whole_sets_own_rows(
    classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    few = robench.evaluate(
        classifier, picture_folder, ["cifar-c"], tmp_path / "few", options=replace(RUN_OPTIONS, limit=7)
    )
    for condition in few.directory.conditions:
        part = few.directory.read_records(condition.name)
        full = RunDirectory.open(whole).read_records(condition.name).set_index("sample").loc[part["sample"]]
        assert part["sample"].tolist() == [k * 30 // 7 for k in range(7)]
        assert np.abs(part["prob_label"].to_numpy() - full["prob_label"].to_numpy()).max() < 1e-5


def test_seeds_move_random_corruptions_only(
    classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    other = robench.evaluate(
        classifier, picture_folder, ["cifar-c"], tmp_path / "seed", options=replace(RUN_OPTIONS, seed=1)
    ).path
    for condition in RunDirectory.open(whole).conditions:
        name = f"records/{condition.name}.parquet"
        same = (whole / name).read_bytes() == (other / name).read_bytes()
        assert same == (condition.corruption not in ("gaussian_noise", "shot_noise")), condition.name


def test_skipped_images_are_listed(classifier: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "set"
    shutil.copytree(picture_folder, broken)
    (broken / "bee" / "4.png").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"bee/4\.png"):
        robench.evaluate(classifier, broken, ["cifar-c"], tmp_path / "out", options=RUN_OPTIONS)
    assert not (tmp_path / "out").exists()
    done = robench.evaluate(
        classifier, broken, ["cifar-c"], tmp_path / "out", options=replace(RUN_OPTIONS, skip_unreadable=True)
    )
    assert [entry["path"] for entry in done.directory.manifest["skipped"]] == ["bee/4.png"]
    records = done.directory.read_records(done.directory.conditions[0].name)
    assert records["sample"].tolist() == [i for i in range(30) if i != 14]


def test_classes_must_match(classifier: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"pictures has 3 classes .*, tiny has 7; give --class-map"):
        robench.evaluate(
            replace(classifier, classes=7), picture_folder, ["cifar-c"], tmp_path / "out", options=RUN_OPTIONS
        )


def test_clean_images_of_every_geometry_have_records_of_their_own(
    classifier: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """The oracle is a run of one of the suites alone."""
    options = Options(corruption=["contrast", "gain"], severity=[1], geometry="model")
    preprocessing = replace(classifier.preprocessing, resize=40)
    model = replace(classifier, preprocessing=preprocessing)
    alone = robench.evaluate(
        model, picture_folder, ["cifar-c"], tmp_path / "alone", options=replace(options, corruption=None)
    )
    both = robench.evaluate(model, picture_folder, ["cifar-c", "noise"], tmp_path / "both", options=options)
    clean = [one for one in both.directory.conditions if one.suite == "clean"]
    assert [one.name for one in clean] == ["clean-32px-resize40-bilinear-crop32", "clean-32px-resize32x32-bilinear"]
    assert [one.clean for one in both.directory.conditions if one.suite != "clean"] == [one.name for one in clean]
    records = [both.directory.read_records(one.name) for one in clean]
    assert records[0].equals(alone.directory.read_records("clean-32px"))
    assert not records[0]["prob_label"].equals(records[1]["prob_label"])
    before = run_files(both.path)
    robench.evaluate(model, picture_folder, ["cifar-c", "noise"], both.path, options=options)
    assert run_files(both.path) == before
    planned = make_plan(["cifar-c", "noise"], options, preprocessing).conditions
    with pytest.raises(ValueError, match="several conditions are called clean-32px"):
        plan._check_names([replace(one, named_geometry=False) for one in planned])


def test_a_squashing_model_runs_and_resumes(classifier: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    model = replace(classifier, preprocessing=replace(classifier.preprocessing, resize=(37, 40), floors=True))
    done = robench.evaluate(model, picture_folder, ["clean"], tmp_path / "run")
    before = run_files(done.path)
    assert done.directory.manifest["model"]["preprocessing"]["resize"] == [37, 40]
    assert done.directory.conditions[0].protocol.startswith("resize37x40-bilinear-crop32floor")
    robench.evaluate(model, picture_folder, ["clean"], done.path)
    assert run_files(done.path) == before
    other = replace(model, preprocessing=replace(model.preprocessing, floors=False))
    with pytest.raises(RunError):
        robench.evaluate(other, picture_folder, ["clean"], done.path)


def test_plans(classifier: Classifier) -> None:
    preprocessing = classifier.preprocessing
    plan = make_plan(["imagenet-c", "cifar-c"], Options(extra_corruptions=True), preprocessing)
    assert [c.resolution for c in plan.conditions if c.is_clean] == [224, 32]
    assert len({c.name for c in plan.conditions}) == len(plan.conditions)
    assert {c.geometry for c in make_plan(["clean"], Options(), preprocessing).conditions} == {preprocessing.geometry()}
    own = make_plan(["imagenet-c"], Options(geometry="model"), preprocessing)
    assert {c.resolution for c in own.conditions} == {32}
    protocols = {one.protocol for one in plan.listed} | {one.protocol for one in own.listed}
    assert len(protocols) == 6, "two geometries, clean and corrupted each, and the model's own"
    assert make_plan(["imagenet-c"], Options(no_release_jpeg=True), preprocessing).listed[-1].protocol not in protocols
    part = make_plan(["cifar-c"], Options(severity=[2], corruption=["contrast"]), preprocessing)
    assert part.listed[-1].protocol in protocols, "a part of a suite is the same protocol"
    for options, match in (
        (Options(corruption=["contrasst"]), "did you mean 'contrast'"),
        (Options(severity=[6]), "severity 6"),
    ):
        with pytest.raises(OptionError, match=match):
            make_plan(["cifar-c"], options, preprocessing)
    with pytest.raises(OptionError, match="did you mean 'imagenet-c'"):
        make_plan(["imagenet_c"], Options(), preprocessing)
    for bad in ({"batch_size": 0}, {"geometry": "x"}, {"precision": "fp8"}):
        with pytest.raises(RobenchError):
            Options(**bad)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_is_equal(tmp_path: Path) -> None:
    """SIGKILL to the real command at three moments; the oracle is one undisturbed run."""
    command = [sys.executable, "-m", "robench", "evaluate", "demo", "--limit", "60", "--device", "cpu", "--out"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    took = time.monotonic() - start
    moments = np.random.default_rng(int(os.environ.get("ROBENCH_KILL_SEED", "0"))).uniform(0.2, 0.9, 3) * took
    for moment in moments:
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert run_files(tmp_path / "killed") == run_files(tmp_path / "whole")
    timings = read_csv(schema.TIMINGS, tmp_path / "killed" / "timings.csv")
    manifest = json.loads((tmp_path / "killed" / "manifest.json").read_text())
    assert len(timings) <= len(manifest["conditions"])


@pytest.mark.parametrize("damage", ["truncated", "samples", "records"])
def test_what_is_damaged_or_gone_is_made_again(
    damage: str, classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    some = next((broken / "records").glob("*-5-*"))
    if damage == "truncated":
        some.write_bytes(some.read_bytes()[:-100])
    elif damage == "samples":
        (broken / "samples.parquet").unlink()
    else:
        shutil.rmtree(broken / "records")
    robench.evaluate(classifier, picture_folder, ["cifar-c"], broken, options=RUN_OPTIONS)
    assert run_files(broken) == run_files(whole)


def test_fresh_mends_a_damaged_manifest(
    classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    (broken / "manifest.json").write_text('{"schema": 1}')
    with pytest.raises(RunError, match="damaged and lacks model"):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], broken, options=RUN_OPTIONS)
    robench.evaluate(classifier, picture_folder, ["cifar-c"], broken, options=replace(RUN_OPTIONS, fresh=True))
    assert run_files(broken) == run_files(whole)


def test_the_current_folder_is_not_moved_aside(
    classifier: Classifier, picture_folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole / "records")
    with pytest.raises(OptionError, match="contains the current directory"):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], "..", options=replace(RUN_OPTIONS, fresh=True))


@pytest.mark.parametrize("opened", [False, True])
def test_a_run_among_the_images_is_refused(classifier: Classifier, picture_folder: Path, opened: bool) -> None:
    images = robench.open_dataset(picture_folder) if opened else picture_folder
    with pytest.raises(RunError, match="is inside the dataset"):
        robench.evaluate(classifier, images, ["cifar-c"], picture_folder / "run", options=RUN_OPTIONS)
    assert not (picture_folder / "run").exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that takes no files")
def test_a_run_in_a_folder_that_takes_none_is_refused(classifier: Classifier, picture_folder: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write /proc/run|no permission to write /proc/run"):
        robench.evaluate(classifier, picture_folder, out="/proc/run")


def test_a_run_that_is_moved_aside_is_no_baseline(classifier: Classifier, picture_folder: Path, whole: Path) -> None:
    options = replace(RUN_OPTIONS, fresh=True, normalize_by=str(whole))
    before = run_files(whole)
    with pytest.raises(OptionError, match="which contains the baseline"):
        robench.evaluate(classifier, picture_folder, ["cifar-c"], whole, options=options)
    assert run_files(whole) == before


def test_damaged_timings_do_not_stop_a_run(
    classifier: Classifier, picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    (broken / "timings.csv").write_text("garbage\n")
    next((broken / "records").glob("*-5-*")).unlink()
    robench.evaluate(classifier, picture_folder, ["cifar-c"], broken, options=RUN_OPTIONS)
    assert (broken / "timings.csv.damaged").read_text() == "garbage\n"


def test_another_process_changes_nothing_in_a_running_run(
    classifier: Classifier, picture_folder: Path, whole: Path
) -> None:
    before = (whole / "manifest.json").read_bytes()
    with lock_run(whole), pytest.raises(RunError, match="another robench"):
        robench.evaluate(
            classifier, picture_folder, ["cifar-c"], whole, options=replace(RUN_OPTIONS, normalize_by="none")
        )
    assert (whole / "manifest.json").read_bytes() == before


def test_options_of_any_type(tmp_path: Path) -> None:
    """A value or a list, numbers of numpy too; everything else is a TypeError that says what is expected."""
    numbers: dict[str, Any] = {"limit": np.int64(3), "seed": np.int64(1), "severity": [np.int64(2)]}
    options = Options(**numbers, subset=str(tmp_path))  # type: ignore[arg-type]
    assert (type(options.limit), type(options.seed), options.severity) == (int, int, [2])
    assert options.subset == tmp_path
    repeated = Options(severity=[5, 1, 5], difficulty=(3, 1, 3), resolution=[32, 32, 16])
    assert (repeated.severity, repeated.difficulty, repeated.resolution) == ([1, 5], [1, 3], [16, 32])
    values: dict[str, Any] = {
        "severity": 3,
        "corruption": "fog",
        "treatment": "bn-prior",
        "resolution": np.arange(16, 18),
    }
    single = Options(**values)
    assert (single.severity, single.corruption, single.treatment) == ([3], ["fog"], ["bn-prior"])
    assert single.resolution == [16, 17]
    wrong: dict[str, Any]
    for wrong, match in (
        ({"limit": 2.5}, "--limit must be a whole number, not 2.5"),
        ({"batch_size": "8"}, "--batch-size must be a whole number, not '8'"),
        ({"severity": True}, "--severity must be a whole number or a list of them, not True"),
        ({"severity": "3"}, "not '3'"),
        ({"corruption": [3]}, "--corruption must be a name or a list of names, not 3"),
        ({"fresh": 1}, "--fresh must be True or False, not 1"),
        ({"seed": None}, "--seed must be a whole number, not None"),
    ):
        with pytest.raises(TypeError, match=match):
            Options(**wrong)
    for wrong, match in (
        ({"limit": 0}, "--limit must be at least 1, not 0"),
        ({"corruption": []}, "--corruption is an empty list"),
        ({"per_class": -1}, "--per-class must be at least 1"),
    ):
        with pytest.raises(OptionError, match=match):
            Options(**wrong)
