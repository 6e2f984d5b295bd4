"""The way of a batch on a device: nothing lets the host wait, and nothing that makes it faster changes what is seen.

Oracles: a fake CUDA device, which has no values that a host could look at; the plain loop; streams that write down what they do.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import robench.conditions
from on_device import device_alone
from robench import loop
from robench.data import Stack
from robench.loop import Samples, evaluate_condition
from robench.models import Classifier, Preprocessing
from robench.options import Options
from robench.pipeline import Resident
from robench.plan import make_plan
from robench.suites import SUITES, Condition, Suite
from robench.treatments import adapt


def conditions(suite: Suite) -> list[Condition]:
    """One of each corruption or perturbation of a suite."""
    side = suite.side or (suite.geometry.side if suite.geometry else 64)
    names = (*suite.corruptions, *suite.extra) or None
    severities = (3,) if suite.family == "corruptions" and names else None
    options = Options(corruptions=names, severities=severities)
    planned = make_plan([suite.name], options, Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.5,) * 3)).conditions
    return [one for one in planned if one.suite == suite.name]


QUICK = re.compile(
    r"clean|cifar-c-(gaussian|shot|impulse|jpeg|frost|glass).*|cifar-p-(rotate|spatter).*|resolution-network.*16px"
)
"""The kernels have a law of their own; these take the different ways to and from them."""
CONDITIONS = [one for suite in SUITES.values() for one in conditions(suite)]
EVERY = [
    pytest.param(one, id=one.name, marks=() if QUICK.fullmatch(one.name) else pytest.mark.slow) for one in CONDITIONS
]


def network(device: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, device=device), nn.BatchNorm2d(4, device=device), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3, device=device),
    )  # fmt: skip


def fake_classifier(side: int) -> Classifier:
    preprocessing = Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    module = network("cuda").eval().requires_grad_(False)
    return Classifier("tiny", "test:tiny", module, preprocessing, 3, "0" * 64, torch.device("cuda", 0))


def stack(condition: Condition) -> Stack:
    """Three black images; of different sizes where the suite takes pictures as they are."""
    geometry = condition.geometry
    if geometry.crop is not None or isinstance(geometry.resize, tuple):
        return Stack(np.zeros((3, 3, geometry.side, geometry.side), np.uint8))
    side = geometry.resize or 64
    shapes = np.array([(side, side + 40), (side, 5 * side), (side + 9, side)])
    return Stack(np.zeros(3 * shapes.prod(axis=1).sum(), np.uint8), shapes)


def samples_of(images: Stack | Resident, count: int = 3) -> Samples:
    return Samples(images, np.arange(count), np.arange(count), np.zeros(count, np.int64))


@pytest.fixture
def on_fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine without a driver cannot do: make a stream, and read values that there are none of."""
    monkeypatch.setattr(loop, "ahead", lambda parts, _: parts)

    def fetched(columns: list[Tensor]) -> NDArray[np.int32]:
        return np.zeros(torch.cat(columns).cpu().shape, np.int32)

    monkeypatch.setattr(loop, "_fetched", fetched)
    level = robench.conditions._level

    def few(condition: Condition) -> dict[str, Any]:
        """Of every perturbation the first frames: the others take the same way."""
        found = level(condition)
        return {**found, "frames": found["frames"][:3]}

    monkeypatch.setattr(robench.conditions, "_level", few)


@pytest.mark.usefixtures("on_fake_cuda")
@pytest.mark.parametrize("condition", EVERY)
def test_the_host_waits_for_a_device_once_a_condition(condition: Condition) -> None:
    with FakeTensorMode():
        classifier = fake_classifier(32)
        with device_alone(allowed=1):
            records = evaluate_condition(classifier, samples_of(stack(condition)), condition, seed=0, batch_size=2)
    assert len(records) % 3 == 0


TREATMENTS = (
    "bn-test:n=2",
    "bn-prior:N=4,n=2",
    "localnorm:g=2",
    "bn-test:n=1",
    "bn-frozen:M=3",
    "blurpool",
    "tent:optimiser=sgd",
)


@pytest.mark.usefixtures("on_fake_cuda")
@pytest.mark.parametrize("text", TREATMENTS)
def test_a_treated_network_lets_the_host_wait_no_more(text: str) -> None:
    """Two of a condition's pictures at a time, with test batches, frozen statistics, and more layers."""
    condition = next(one for one in CONDITIONS if one.name == "cifar-c-gaussian_noise-3-32px")
    with FakeTensorMode():
        classifier, session = adapt(fake_classifier(32), [text], None, 0).start()
        with device_alone(allowed=1):
            records = evaluate_condition(
                classifier, samples_of(stack(condition)), condition, seed=0, batch_size=2, session=session
            )
    assert len(records) == 3
