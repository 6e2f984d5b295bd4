"""Treated conditions and runs: equal for every batch size, in the order of the samples, resumed to the byte."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import robench
from robench.datasets import decode, hash_images, open_dataset, select
from robench.errors import CheckpointError, DeviceError, OptionError, RunError
from robench.evaluation import evaluator
from robench.evaluation.estimate import estimate
from robench.evaluation.loop import begin_condition, evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard, ShardResult
from robench.models import Classifier
from robench.runs.directory import RunDirectory
from robench.suites import Condition
from robench.transforms.apply import frames_of
from robench.transforms.warps import PaddedBatch
from robench.treatments import adapt, equal_parts, sample_order
from tests.builders import run_files
from tests.treatments.conftest import Treat
from tests.treatments.networks import CLEAN

TEST_BATCH = ("bn-test:n=8", "bn-prior:N=4,n=8", "localnorm:g=8")
FROZEN = ("bn-frozen:M=11",)


@pytest.mark.parametrize("text", TEST_BATCH)
def test_records_are_equal_for_every_batch_size(treat: Treat, text: str) -> None:
    first = treat(text, batch_size=1)
    for size in (7, 64):
        pd.testing.assert_frame_equal(first, treat(text, batch_size=size), check_exact=True)
    assert first["sample"].tolist() == list(range(30))
    assert not np.allclose(first["confidence"], treat()["confidence"])


@pytest.mark.parametrize("text", [*FROZEN, "localnorm:g=1", "bn-prior:N=4,n=1"])
def test_predictions_are_equal_for_every_batch_size(treat: Treat, text: str) -> None:
    first, second = treat(text, batch_size=1), treat(text, batch_size=64)
    assert np.allclose(first["confidence"], second["confidence"], atol=1e-5)
    assert first["pred"].tolist() == second["pred"].tolist()


def test_the_test_batches_are_the_keyed_ones(treat: Treat, normalised: Classifier, samples: Samples) -> None:
    """Each part through the network by hand."""
    records = treat("bn-test:n=8", seed=5)
    order = sample_order(samples.index, CLEAN, 5)
    treated, session = adapt(normalised, ["bn-test:n=8"], None, 5).start()
    assert session is not None
    session.start_condition(CLEAN, lambda _: iter(()))
    parts = equal_parts(order, 8)
    assert sorted(map(len, parts)) == [7, 7, 8, 8]
    for part in parts:
        pixels, _ = samples.images.take(samples.rows[part])
        found = treated.logits(torch.from_numpy(pixels)).softmax(1).max(1).values
        assert np.array_equal(records["confidence"].to_numpy()[part], found.numpy())


def test_the_order_is_keyed_by_seed_and_condition() -> None:
    index = np.arange(100)
    noise = replace(CLEAN, suite="cifar-c", corruption="fog", severity=1)
    orders = [
        sample_order(index, condition, seed)
        for condition in (
            CLEAN,
            noise,
            replace(noise, severity=2),
            replace(noise, corruption="snow"),
            replace(noise, suite="x"),
        )
        for seed in (0, 1)
    ]
    assert all(np.array_equal(np.sort(order), index) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    # Not the sorted order, nor near it.
    assert abs(np.corrcoef(orders[0], index)[0, 1]) < 0.3
    # Two samples keep their order whatever else is evaluated.
    some = np.arange(0, 100, 3)
    assert np.array_equal(some[sample_order(some, CLEAN, 0)], [one for one in orders[0] if one % 3 == 0])


@pytest.mark.parametrize(("count", "most"), [(1, 8), (8, 8), (9, 8), (200, 16), (2000, 64), (7, 1)])
def test_parts_differ_by_at_most_one(count: int, most: int) -> None:
    order = np.random.default_rng(0).permutation(count)
    parts = equal_parts(order, most)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // most)
    assert np.array_equal(np.concatenate(parts), order)


def test_a_condition_does_not_know_the_one_before(normalised: Classifier, samples: Samples, treat: Treat) -> None:
    plan = make_plan(["cifar-c"], Options(corruption=["fog", "contrast"], severity=[5]), normalised.preprocessing)
    for text in (*TEST_BATCH, *FROZEN):
        treated, session = adapt(normalised, [text], None, 0).start()
        last = [
            evaluate_condition(treated, samples, one, seed=0, batch_size=7, session=session) for one in plan.conditions
        ][-1]
        pd.testing.assert_frame_equal(last, treat(text, condition=plan.conditions[-1]), check_exact=True)


SOME = Options(corruption=["fog", "contrast"], severity=[1, 5], batch_size=7, treatment=["bn-prior:n=6"])


@pytest.mark.parametrize("text", ["bn-prior:n=6", "bn-frozen:M=12"])
def test_interrupted_and_resumed_is_equal(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    options = replace(SOME, treatment=[text])
    whole = robench.evaluate(normalised, picture_folder, ["cifar-c"], tmp_path / "whole", options=options).path
    calls: list[int] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return begin_condition(*args, **kwargs)

    monkeypatch.setattr(evaluator, "begin_condition", interrupted)
    with pytest.raises(KeyboardInterrupt):
        robench.evaluate(normalised, picture_folder, ["cifar-c"], tmp_path / "cut", options=options)
    monkeypatch.setattr(evaluator, "begin_condition", begin_condition)
    resumed = robench.evaluate(normalised, picture_folder, ["cifar-c"], tmp_path / "cut", options=options).path
    assert len(RunDirectory.open(resumed).finished()) == 5
    assert run_files(resumed) == run_files(whole)


@pytest.mark.parametrize(
    "text", ["localnorm:g=1", "bn-prior:n=1", "bn-calib:clean,M=20", "bn-resolution:M=20", "bn-test:n=8"]
)
def test_only_what_looks_at_other_samples_is_kept_in_one_shard(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    calibration = picture_folder if "M=" in text else None
    options = Options(corruption=["contrast"], severity=[1], batch_size=7, treatment=[text], calibration=calibration)
    robench.evaluate(normalised, picture_folder, ["cifar-c"], tmp_path / "whole", options=options)
    monkeypatch.setattr("robench.evaluation.shards._FRAMES", 1)
    shards: list[int] = []
    begin = evaluator.Evaluator.begin

    def counted(one: evaluator.Evaluator, shard: Shard, *more: Any) -> Callable[[], ShardResult]:
        shards.append(shard.frames)
        return begin(one, shard, *more)

    monkeypatch.setattr(evaluator.Evaluator, "begin", counted)
    robench.evaluate(normalised, picture_folder, ["cifar-c"], tmp_path / "cut", options=options)
    assert shards == ([30, 30] if text == "bn-test:n=8" else [7, 7, 7, 7, 2] * 2)
    assert run_files(tmp_path / "cut") == run_files(tmp_path / "whole")


def test_what_a_treated_run_says(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    done = robench.evaluate(
        normalised, picture_folder, ["clean"], tmp_path / "run", options=replace(SOME, corruption=None, severity=None)
    )
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["treatment"] == manifest["identity"]["treatment"] == "bn-prior:N=16,n=6"
    assert manifest["options"]["treatment"] == ["bn-prior:n=6"]
    assert manifest["model"]["label"] == "normed+bn-prior:N=16,n=6"
    assert "bn-prior:N=16,n=6 changes 2 layers" in manifest["notes"]
    assert set(done.results["treatment"]) == {"bn-prior:N=16,n=6"}
    assert set(done.results["model"]) == {"normed+bn-prior:N=16,n=6"}


def test_another_treatment_is_another_run(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    robench.evaluate(
        normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=["bn-prior:n=6"])
    )
    for other in (["bn-prior:n=7"], ["localnorm"], []):
        with pytest.raises(RunError, match="is another run"):
            robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=other))


def test_the_folder_is_named_by_the_treatment(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = robench.evaluate(normalised, picture_folder, ["clean"], options=Options(treatment=["bn-prior"]))
    assert done.path == Path("runs/normed+bn-prior_N=16_n=8-pictures-clean")


def test_an_untreated_run_has_the_identity_that_it_always_had(
    normalised: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    done = robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run")
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert set(manifest["identity"]) == {
        *(
            "model",
            "data",
            "options",
            "conditions",
            "sizes",
            "draws_version",
            "robench_version",
            "torch",
            "device",
            "threads",
        )
    }
    assert manifest["treatment"] is None


def frames(normalised: Classifier) -> list[Condition]:
    plan = make_plan(["shift"], Options(corruption=["crop"]), normalised.preprocessing)
    return [one for one in plan.conditions if not one.is_clean]


def test_frames_are_frozen(normalised: Classifier, treat: Treat, picture_folder: Path) -> None:
    """Of n samples, all their frames: the frozen kind by its own name gives the same."""
    crop = frames(normalised)[0]
    found = open_dataset(picture_folder)
    positions = select(found)
    decoded = decode(found, hash_images(found, positions), crop.geometry, skip=False)
    shown = Samples(decoded.images, positions, positions, found.labels)

    def records(text: str, size: int) -> pd.DataFrame:
        treated, session = adapt(normalised, [text], None, 0).start()
        return evaluate_condition(treated, shown, crop, seed=0, batch_size=size, session=session)

    pd.testing.assert_frame_equal(records("bn-test:n=11", 30), records("bn-frozen:M=11", 30), check_exact=True)
    assert np.allclose(records("bn-test:n=11", 30)["confidence"], records("bn-test:n=11", 1)["confidence"], atol=1e-5)
    notes = adapt(normalised, ["bn-test:n=11"], None, 0).notes([CLEAN, crop])
    assert notes[1] == (
        "shift: compared frames must not depend on the batch, so bn-test:n=11 is frozen, with statistics of 11 samples of each "
        "condition"
    )
    assert len(adapt(normalised, ["localnorm:g=1"], None, 0).notes([CLEAN, crop], 30)) == 1


def test_notes_claim_no_more_images_than_there_are(normalised: Classifier, picture_folder: Path) -> None:
    """Thirty samples, and thirty calibration images."""
    crop = frames(normalised)[0]
    for text, images in (("bn-test:n=31", 31), ("bn-prior:N=2,n=500", 500), ("localnorm:g=500", 500)):
        notes = adapt(normalised, [text], None, 0).notes([CLEAN, crop], 30)
        assert notes[1] == f"{text}: the statistics are of all 30 images of a condition, fewer than {images}"
        assert notes[2].endswith(f"so {text} is frozen, with statistics of 30 samples of each condition")
    (_, said) = adapt(normalised, ["bn-frozen"], None, 0).notes([CLEAN, crop], 30)
    assert said == "bn-frozen:M=1000: the statistics are of all 30 images of a condition, fewer than 1,000"
    for text in ("bn-test:n=30", "bn-frozen:M=30", "tent:n=31"):
        assert not [one for one in adapt(normalised, [text], None, 0).notes([CLEAN], 30) if "fewer than" in one]
    for text, count in (
        ("bn-calib:weak", "30 calibration images, all there are"),
        ("bn-resolution:M=20", "20 calibration images"),
    ):
        adaptation = adapt(normalised, [text], picture_folder, 0)
        assert adaptation.notes([CLEAN], 30)[1] == f"{adaptation.treatments[0]}: the statistics are of {count}"


def test_calibration_images_without_need_are_refused(normalised: Classifier, picture_folder: Path) -> None:
    with pytest.raises(OptionError, match="--calibration goes with"):
        adapt(normalised, ["bn-test"], picture_folder, 0)
    with pytest.raises(OptionError, match="--calibration goes with"):
        adapt(normalised, [], picture_folder, 0)


def test_what_torch_does_not_run_is_refused(normalised: Classifier) -> None:
    with pytest.raises(CheckpointError, match="normed is an exported program, whose layers cannot be changed"):
        adapt(replace(normalised, torch_runs=False), ["bn-test"], None, 0)


def test_a_dry_run_runs_the_treatment(normalised: Classifier, picture_folder: Path) -> None:
    images = open_dataset(picture_folder)
    plain = estimate(normalised, images, ["clean"], Options())
    assert (plain.forwards, plain.calibration) == (30, 0)
    options = Options(treatment=["bn-calib:strong,M=20", "bn-prior:n=6"], calibration=picture_folder)
    costs = estimate(normalised, images, ["clean"], options)
    assert (costs.forwards, costs.calibration) == (50, 20)
    assert costs.calibration_seconds > 0
    options = Options(treatment=["bn-resolution"], calibration=picture_folder, resolution=[24, 32])
    # Once for each size, and once for the clean images.
    assert estimate(normalised, images, ["resolution"], options).calibration == 3 * 30
    assert estimate(normalised, images, ["clean"], Options(treatment=["bn-frozen:M=12"])).calibration == 12
    options = Options(treatment=["bn-test:n=8"], corruption=["crop", "fog"], severity=[1])
    # Of the ten frames of eight samples; for the single images there are test batches.
    assert estimate(normalised, images, ["shift", "cifar-c"], options).calibration == 8 * 10
    options = Options(treatment=["bn-resolution"], resolution=[24])
    with pytest.raises(OptionError, match="give --calibration DIR"):
        estimate(normalised, images, ["resolution"], options)


def by_hand(normalised: Classifier, samples: Samples, condition: Condition, parts: list[Any]) -> dict[int, Any]:
    """Confidences by frame, in the order of the samples: each part of each frame through torch's training mode of BatchNorm."""
    module = copy.deepcopy(normalised.module)
    for one in module.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.train()
    trained = replace(normalised, module=module)
    found: dict[int, Any] = {}
    for part in parts:
        pixels, _ = samples.images.take(samples.rows[part])
        index = torch.from_numpy(samples.index[part])
        for frame in frames_of(PaddedBatch.of(torch.from_numpy(pixels)), condition, index, 0):
            confidence = trained.logits(frame.images).softmax(1).max(1).values
            found.setdefault(frame.number, np.empty(len(samples.rows), np.float32))[part] = confidence.numpy()
    return found


def test_strengths_have_statistics_of_their_own(normalised: Classifier, samples: Samples) -> None:
    """Of noise, every strength by itself: its test batches, and its frozen statistics."""
    plan = make_plan(["noise"], Options(corruption=["gaussian"]), normalised.preprocessing)
    noise = next(one for one in plan.conditions if not one.is_clean)
    order = sample_order(samples.index, noise, 0)
    for text, parts in (("bn-test:n=8", equal_parts(order, 8)), ("bn-frozen:M=30", [order])):
        treated, session = adapt(normalised, [text], None, 0).start()
        records = evaluate_condition(treated, samples, noise, seed=0, batch_size=30, session=session)
        assert len(records) == 10 * 30
        expected = by_hand(normalised, samples, noise, parts)
        for number, of_frame in records.groupby("frame"):
            assert np.allclose(of_frame["confidence"], expected[int(str(number))], atol=1e-5)
    assert len(adapt(normalised, ["bn-test"], None, 0).notes(plan.conditions)) == 1
    with pytest.raises(OptionError, match="omit noise, or use --treatment bn-frozen"):
        adapt(normalised, ["tent"], None, 0).notes(plan.conditions)


def test_out_of_memory_says_which_batch_was_too_large(
    treat: Treat, normalised: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classifier, "logits", full)
    for text, said in (
        ("bn-test:n=8", "memory with 8 images, the treatment's test batch; give --treatment with a smaller batch"),
        ("bn-frozen:M=8", "memory with 128 images for a treatment's statistics"),
        ("localnorm:g=1", "memory with 7 images a batch; reduce --batch-size"),
    ):
        with pytest.raises(DeviceError, match=said):
            treat(text)


def test_a_network_that_cannot_be_copied_is_refused(normalised: Classifier) -> None:
    module = copy.deepcopy(normalised.module)
    module.extra = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="cannot be copied to be treated"):
        adapt(replace(normalised, module=module), ["bn-test"], None, 0).start()


def test_the_prior_weighs_the_samples_that_there_are(normalised: Classifier, samples: Samples, treat: Treat) -> None:
    """Thirty pictures, where a hundred were asked for: the same as asking for thirty."""
    noise = replace(CLEAN, suite="resolution", corruption="network", severity=1, constants="32", size=32, native=True)
    many, all_of_them = (treat(f"bn-prior:N=4,n={n}", condition=noise) for n in (100, 30))
    pd.testing.assert_frame_equal(many, all_of_them, check_exact=True)
