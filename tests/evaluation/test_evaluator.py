"""The evaluator of shards: retreats from a full memory, and the causes of a run's bits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robench
from robench.display.run import Run
from robench.errors import DeviceError, OptionError, RunError
from robench.evaluation import shards
from robench.evaluation.engines import LOCAL, Event, Local, Task, TaskResult
from robench.evaluation.options import Options
from robench.evaluation.prepare import PreparedRun
from robench.evaluation.run import Job, evaluate_jobs
from robench.models import Classifier, Preprocessing
from robench.runs.directory import RunDirectory
from robench.runs.observer import FinishedCondition, Observer
from robench.runs.progress import Heartbeat, read_progress
from robench.treatments import Adaptation, PreparedModel

SOME = Options(corruption=["contrast"], severity=[1, 5], batch_size=16)


class Greedy(nn.Module):
    """A network that runs out of memory at more than so many images; it counts what it was shown."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.seen = most, 0
        self.weight = nn.Parameter(torch.linspace(-1, 1, 9).reshape(3, 3))

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        self.seen += len(images)
        return images.mean(dim=(2, 3)) @ self.weight


def greedy(most: int) -> Classifier:
    preprocessing = Preprocessing(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    return Classifier("greedy", "test", Greedy(most).eval(), preprocessing, 3, "0" * 64, torch.device("cpu"))


class Counting(Observer):
    """Keep the phases and the images of each."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.notes: list[str] = []
        self.phases: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append(name)
        if name == "evaluating":
            self.total, self.done = total, 0

    def advance(self, count: int) -> None:
        self.done += count

    def condition(self, finished: FinishedCondition) -> None:
        assert self.done <= self.total

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_out_of_memory_halves_the_batch_and_says_so(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "whole", options=SOME)
    written, write = [], RunDirectory.write_manifest

    def counted(directory: RunDirectory) -> None:
        written.append(directory.path)
        write(directory)

    monkeypatch.setattr(RunDirectory, "write_manifest", counted)
    watch = Counting()
    model = greedy(5)
    run = robench.evaluate(model, picture_folder, ["cifar-c"], tmp_path / "halved", options=SOME, progress=watch)
    for condition in whole.directory.conditions:
        one, other = (each.directory.read_records(condition.name) for each in (whole, run))
        assert np.array_equal(one["pred"], other["pred"])
        assert np.allclose(one["confidence"], other["confidence"], atol=1e-6)
    text = "clean-32px: out of memory with 16 images a batch, evaluated with 4"
    assert text in watch.notes
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert text in manifest["notes"]
    assert [event["kind"] for event in manifest["events"]] == ["out of memory"] * 3
    assert len(written) == 1 + 3 + 2, (
        "once with each event, its note included; with the warnings; with the notes of the scoring"
    )
    progress = read_progress(run.path)
    assert progress is not None
    assert [note.text for note in progress.notes].count(text) == watch.notes.count(text) == 1
    assert isinstance(model.module, Greedy)
    assert model.module.seen == watch.total == 90, (
        "nothing twice: each shard failed at its first batch, and only the first"
    )


def test_one_image_at_a_time_can_be_too_much(picture_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="ran out of memory with 1 images a batch"):
        robench.evaluate(greedy(0), picture_folder, ["cifar-c"], tmp_path / "run", options=SOME)
    run = robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "run", options=SOME)
    assert len(run.directory.finished()) == 3


def test_threads_are_part_of_a_run_on_a_cpu(picture_folder: Path, tmp_path: Path) -> None:
    """Another number of threads sums in another order."""
    robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "run", options=SOME)
    (tmp_path / "run" / "records" / "clean-32px.parquet").unlink()
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(RunError, match=f"threads was {before}, is {before + 1}; resume with --threads {before}"):
            robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "run", options=SOME)
    finally:
        torch.set_num_threads(before)
    robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "run", options=SOME)


def test_a_profile_is_of_the_whole_run_and_changes_nothing(picture_folder: Path, tmp_path: Path) -> None:
    plain = robench.evaluate(greedy(16), picture_folder, ["cifar-c"], tmp_path / "plain", options=SOME)
    timed = robench.evaluate(
        greedy(16), picture_folder, ["cifar-c"], tmp_path / "timed", options=replace(SOME, profile=True)
    )
    assert not plain.profiles
    assert {name: one.images for name, one in timed.profiles.items()} == {
        "decoding": 0,
        "clean": 30,
        "cifar-c contrast": 60,
    }
    for name in ("results.csv", "records/clean-32px.parquet"):
        assert (plain.path / name).read_bytes() == (timed.path / name).read_bytes()


def test_each_of_several_runs_says_how_far_it_is(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs that are evaluated together the engine tells nobody's part: each counts its own shards."""
    told: dict[str, int] = {}

    def advance(heartbeat: Heartbeat, count: int) -> None:
        name = "" if heartbeat._path is None else heartbeat._path.name
        told[name] = told.get(name, 0) + count

    monkeypatch.setattr(Heartbeat, "advance", advance)
    some = demo(picture_folder, tmp_path)
    jobs = [
        replace(some, suites=["clean"], out=tmp_path / "clean", options=Options(batch_size=16)),
        replace(some, out=tmp_path / "cifar-c"),
    ]
    list(evaluate_jobs(jobs, Together()))
    assert told == {"clean": 30, "cifar-c": 90}


@pytest.mark.parametrize("together", [True, False])
def test_two_models_of_one_place_are_refused_before_the_images_are_read(
    picture_folder: Path, tmp_path: Path, together: bool
) -> None:
    watch, one = Counting(), demo(picture_folder, tmp_path)
    with pytest.raises(OptionError, match="two models have the label demo; set a separate `out`"):
        list(evaluate_jobs([one, one], Together() if together else LOCAL, watch))
    assert all(phase.startswith("checking") for phase in watch.phases)
    assert not (tmp_path / "run").exists()


def demo(pictures: Path, folder: Path) -> Job:
    """A run that workers can make again, for the network of ten classes, of which the pictures have three."""
    names = folder / "classes.txt"
    names.write_text("ant\nbee\ncow\n" + "".join(f"class{number}\n" for number in range(7)))
    dataset = robench.open_dataset(pictures, names)
    return Job(lambda: robench.load_classifier("demo", device="cpu"), dataset, ["cifar-c"], folder / "run", SOME)


def test_while_some_runs_go_on_their_progress_stays_in_sight(picture_folder: Path, tmp_path: Path) -> None:
    some = demo(picture_folder, tmp_path)
    jobs = [replace(some, suites=["clean"], out=tmp_path / "clean", options=Options(batch_size=16)), some]
    watch = Counting()
    for _ in evaluate_jobs(jobs, Together(), watch):
        watch.phases.append("one is finished")
    assert watch.phases[-4:] == ["evaluating", "one is finished", "scoring", "one is finished"]


def test_one_that_fails_keeps_no_other_from_being_evaluated(picture_folder: Path, tmp_path: Path) -> None:
    options = Options(batch_size=16)
    jobs = [Job(partial(greedy, most), picture_folder, ["clean"], tmp_path / str(most), options) for most in (0, 16)]
    watch = Counting()
    finished: list[Run] = []
    with pytest.raises(RunError, match="greedy: cpu ran out of memory"):
        finished.extend(evaluate_jobs(jobs, observer=watch))
    assert [run.path for run in finished] == [tmp_path / "16"]
    assert any("greedy: cpu ran out of memory" in note for note in watch.notes), "said when it happens, too"


def test_a_resumed_condition_has_the_images_of_its_seconds(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first of two shards: the rate is the other one's."""
    monkeypatch.setattr(shards, "_FRAMES", 8)

    class Stopping(Counting):
        def advance(self, count: int) -> None:
            super().advance(count)
            if self.phases[-1] == "evaluating" and self.done > 16:
                raise KeyboardInterrupt

    options = Options(batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        robench.evaluate(greedy(16), picture_folder, ["clean"], tmp_path / "run", options=options, progress=Stopping())
    run = robench.evaluate(greedy(16), picture_folder, ["clean"], tmp_path / "run", options=options)
    assert pd.read_csv(run.path / "timings.csv")["images"].tolist() == [30 - 16]


def test_what_treatments_estimate_is_no_conditions_time(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a phase of the profile, and takes no condition's images a second down."""
    clock, start, late = time.perf_counter, Adaptation.start, [0.0]

    def slow(adaptation: Adaptation) -> PreparedModel:
        late[0] += 1000
        return start(adaptation)

    monkeypatch.setattr(Adaptation, "start", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])
    one = demo(picture_folder, tmp_path)
    options = Options(profile=True, treatment=["bn-calib:clean,M=20"], calibration=picture_folder)
    (run,) = evaluate_jobs([replace(one, suites=["clean"], options=options)])
    assert late == [1000]
    assert pd.read_csv(run.path / "timings.csv")["seconds"].max() < 1000
    assert run.profiles["clean"].seconds["statistics"] > 0


class Together(Local):
    """Takes all runs at once, as engines with workers do, and evaluates them here from their recipes."""

    runs_concurrently = True

    def run(
        self, runs: Sequence[PreparedRun], tasks: Sequence[Task], observer: Observer
    ) -> Iterator[TaskResult | Event]:
        made = [one.spec.build("cpu") for one in runs if one.spec is not None]
        for task in tasks:
            yield TaskResult(task, made[task.run].evaluate(task.shard, observer.advance))
