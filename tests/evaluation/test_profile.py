"""Phases, idle time and shares of a profile, by a clock that the tests set; no real time is asserted."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from robench.datasets import ImageStack
from robench.evaluation import loop, prefetch
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.profile import PHASES, Profile, profile_table
from robench.evaluation.samples import Samples
from robench.evaluation.stopwatch import NULL_STOPWATCH, CudaStopwatch, Stopwatch, stopwatch_for
from robench.models import Classifier
from robench.suites import Condition
from robench.transforms import apply
from robench.transforms.apply import condition_frames
from tests.treatments.networks import CLEAN

NOISE = replace(CLEAN, suite="cifar-c", corruption="gaussian_noise", severity=1, constants="32")
ROTATED = replace(NOISE, suite="cifar-p", corruption="rotate", size=32)


class Clock:
    """A clock that stands still but for what a test lets happen."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def with_classes(self, seconds: float, work: Any) -> Any:
        """Return the same work, which takes so long."""

        def slow(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return work(*args, **kwargs)

        return slow


class Slow(nn.Module):
    def __init__(self, network: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.network, self.clock = network, clock

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += 3.0
        result: Tensor = self.network(x)
        return result


@pytest.mark.parametrize("condition", [CLEAN, NOISE], ids=lambda one: one.name)
def test_the_phases_and_the_idle_time_are_the_whole(
    condition: Condition, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches, of which each copy takes 1, each corruption 2 and each forward pass 3 seconds, and 5 of none of these."""
    clock = Clock()
    samples = Samples(ImageStack(np.zeros((5, 3, 32, 32), np.uint8)), np.arange(5), np.arange(5), np.zeros(5, np.int64))
    monkeypatch.setattr(loop, "gather_batch", clock.with_classes(1.0, prefetch.gather_batch))
    monkeypatch.setattr(loop, "_records", clock.with_classes(4.0, loop._records))
    monkeypatch.setattr(loop, "_fetched", clock.with_classes(5.0, loop._fetched))
    real = apply.frames_of

    def frames(*args: Any) -> Any:
        for frame in real(*args):
            clock.now += 2.0
            yield frame

    monkeypatch.setattr(loop, "frames_of", frames)
    watch = Stopwatch(clock)
    slow = replace(classifier, module=Slow(classifier.module, clock))
    evaluate_condition(slow, samples, condition, seed=0, batch_size=2, watch=watch)
    profile = watch.read()
    assert profile.seconds == {"copy": 3.0, "corruption": 6.0, "forward": 9.0, "records": 4.0}
    assert (profile.wall, profile.idle, profile.images) == (27.0, 5.0, 5)


def test_a_watch_changes_no_records(classifier: Classifier) -> None:
    samples = Samples(ImageStack(np.zeros((5, 3, 32, 32), np.uint8)), np.arange(5), np.arange(5), np.zeros(5, np.int64))
    one, other = (
        evaluate_condition(classifier, samples, ROTATED, seed=0, batch_size=2, watch=watch)
        for watch in (NULL_STOPWATCH, stopwatch_for(classifier.device))
    )
    assert one.equals(other)
    assert len(one) == 5 * condition_frames(ROTATED)


def test_profiles_add_up_and_travel() -> None:
    one = Profile({"copy": 1.0, "forward": 2.0}, {}, 4.0, 10)
    other = Profile({"forward": 5.0}, {"copy": 2.0, "corruption": 3.0}, 6.0, 20)
    both = pickle.loads(pickle.dumps(one + other))
    assert both == Profile({"copy": 1.0, "forward": 7.0}, {"copy": 2.0, "corruption": 3.0}, 10.0, 30)
    assert both.idle == pytest.approx(2.0)
    assert both.rate == pytest.approx(3.0)
    assert Profile() + one == one
    assert Profile.of("decode", 2.0) == Profile({"decode": 2.0}, {}, 2.0)
    assert Profile({"forward": 2.0}, {}, 1.0).idle == 0


def test_a_gpu_is_timed_by_events_on_the_stream_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: events that say on which stream they were, of a device where each lasts as long as its name says."""
    log: list[str] = []
    stream = SimpleNamespace(record_event=lambda event: log.append("recorded"))

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def synchronize(self) -> None:
            log.append("waited")

        def elapsed_time(self, end: Event) -> float:
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    clock = Clock()
    watch = CudaStopwatch(torch.device("cuda", 0), clock)
    with watch.work():
        for phase in PHASES:
            with watch.span(phase):
                clock.now += 1.0
        assert list(watch.each("corruption", iter("ab"))) == ["a", "b"]
    assert "waited" not in log
    profile = watch.read()
    assert profile.concurrent == {"copy": 0.25, "corruption": 4 * 0.25}
    assert profile.seconds == {"decode": 1.0, "statistics": 1.0, "records": 1.0, "forward": 0.25}
    assert profile.idle == pytest.approx(6.0 - 3.25)
    assert watch.read() == profile


def test_the_table_has_a_row_each_and_one_of_all() -> None:
    profiles = {
        "fog": Profile({"forward": 6.0}, {"corruption": 4.0}, 8.0, 80),
        "frost": Profile({"forward": 1.0, "records": 1.0}, {}, 2.0, 10),
    }
    text = io.StringIO()
    Console(width=80, file=text).print(profile_table(profiles))
    lines = [line.replace("│", "").split() for line in text.getvalue().splitlines()]
    assert ["fog", "10", "8.0", "(50%)", "75%", "25%"] in lines
    assert ["frost", "5", "2.0", "50%", "50%", "0%"] in lines
    assert ["all", "9", "10.0", "(40%)", "70%", "10%", "20%"] in lines
