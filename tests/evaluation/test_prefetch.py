"""The way of a batch on a device: nothing lets the host wait, and nothing that makes it faster changes what is seen.

Oracles: a fake CUDA device, which has no values that a host could look at; the plain loop; streams that write down what they do.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import robench.transforms.apply
from robench.datasets import ImageStack
from robench.errors import DeviceError, OutOfMemory, ran_out_of_memory
from robench.evaluation import loop
from robench.evaluation import prefetch as prefetching
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.prefetch import DeviceImageCache, DeviceImages, _placed, model_stream, prefetch
from robench.evaluation.samples import Samples
from robench.evaluation.stopwatch import stopwatch_for
from robench.models import Classifier, Preprocessing
from robench.suites import SUITES, Condition, Suite
from robench.transforms.apply import corrupt_batch
from robench.transforms.draws import philox
from robench.treatments import adapt, adaptation
from tests.transforms.on_device import device_alone, where_cuda


def conditions(suite: Suite) -> list[Condition]:
    """One of each corruption or perturbation of a suite."""
    side = suite.side or (suite.geometry.side if suite.geometry else 64)
    names = (*suite.corruptions, *suite.extra) or None
    severities = (3,) if not suite.family.has_frames and names else None
    options = Options(corruption=names, severity=severities)
    planned = make_plan([suite.name], options, Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.5,) * 3)).conditions
    return [one for one in planned if one.suite == suite.name]


BY_SUITE = {name: conditions(suite) for name, suite in SUITES.items() if name not in ("adversarial", "exits")}
"""Attacks select images by the values of their logits, and exits need a network with several; both have tests of their own."""
CONDITIONS = [one for found in BY_SUITE.values() for one in found]
OTHER_WAYS = (
    *("cifar-c-shot_noise", "cifar-c-impulse_noise", "cifar-c-glass_blur", "cifar-c-frost", "cifar-c-jpeg_compression"),
    *(
        "tiny-imagenet-p-motion_blur",
        "cifar-p-rotate",
        "cifar-p-spatter",
        "resolution-information",
        "resolution-best_of_k",
    ),
)
QUICK = [
    *(BY_SUITE[name][0] for name in ("clean", "cifar-c", "cifar-p", "noise", "occlusion", "cifar-c-bar", "shape-bias")),
    *(next(one for one in CONDITIONS if one.name.startswith(f"{name}-")) for name in OTHER_WAYS),
]
"""The first condition of some suites, and those whose images take another way; the kernels have laws of their own."""


def network(device: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, device=device), nn.BatchNorm2d(4, device=device), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, device=device), nn.BatchNorm2d(4, device=device), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3, device=device),
    )  # fmt: skip


def fake_classifier(side: int) -> Classifier:
    preprocessing = Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.25,) * 3)
    module = network("cuda").eval().requires_grad_(False)
    return Classifier("tiny", "test:tiny", module, preprocessing, 3, "0" * 64, torch.device("cuda", 0))


def stack(condition: Condition) -> ImageStack:
    """Three black images; of different sizes where the suite takes pictures as they are."""
    geometry = condition.geometry
    if geometry.crop is not None or isinstance(geometry.resize, tuple):
        return ImageStack(np.zeros((3, 3, geometry.side, geometry.side), np.uint8))
    side = geometry.resize or 64
    shapes = np.array([(side, side + 40), (side, 5 * side), (side + 9, side)])
    return ImageStack(np.zeros(3 * shapes.prod(axis=1).sum(), np.uint8), shapes)


def samples_of(images: ImageStack | DeviceImages, count: int = 3) -> Samples:
    return Samples(images, np.arange(count), np.arange(count), np.zeros(count, np.int64))


@pytest.fixture
def on_fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace streams and reads of values, which a machine without a driver lacks."""
    monkeypatch.setattr(loop, "prefetch", lambda parts, _: parts)
    monkeypatch.setattr(loop, "model_stream", lambda _: nullcontext())

    def fetched(columns: list[Tensor]) -> Callable[[], Any]:
        values = np.zeros(torch.cat(columns).cpu().shape, np.int32)
        return lambda: SimpleNamespace(numpy=lambda: values)

    monkeypatch.setattr(loop, "_fetched", fetched)
    level = robench.transforms.apply._params

    def few(condition: Condition) -> dict[str, Any]:
        """Of every perturbation the first frames: the others take the same way."""
        found = level(condition)
        return {**found, "frames": found["frames"][:3]}

    monkeypatch.setattr(robench.transforms.apply, "_params", few)


def evaluate_on_fake_cuda(condition: Condition) -> None:
    with FakeTensorMode():
        classifier = fake_classifier(32)
        with device_alone(allowed=1):
            records = evaluate_condition(classifier, samples_of(stack(condition)), condition, seed=0, batch_size=2)
    assert len(records), condition.name
    assert len(records) % 3 == 0, condition.name


@pytest.mark.usefixtures("on_fake_cuda")
@pytest.mark.parametrize("condition", QUICK, ids=lambda one: one.name)
def test_the_host_waits_for_a_device_once_a_condition(condition: Condition) -> None:
    evaluate_on_fake_cuda(condition)


@pytest.mark.nightly
@pytest.mark.usefixtures("on_fake_cuda")
@pytest.mark.parametrize("suite", BY_SUITE)
def test_the_host_waits_for_a_device_once_in_every_condition_of_a_suite(suite: str) -> None:
    for condition in BY_SUITE[suite]:
        if condition.corruption == "circular_motion_blur":  # Its table is made of values, on the host.
            black = torch.zeros((1, 3, 32, 32), dtype=torch.uint8)
            corrupt_batch(black, condition.corruption, 3, suite, seed=0, index=torch.tensor([0]))
        evaluate_on_fake_cuda(condition)


TREATMENTS = ("bn-test:n=2", "bn-prior:N=4,n=2", "localnorm:g=2", "bn-test:n=1", "bn-frozen:M=3", "blurpool")
"""Not tent: gradients of a CUDA device need its driver."""


@pytest.mark.usefixtures("on_fake_cuda")
@pytest.mark.parametrize("text", TREATMENTS)
def test_a_treated_network_lets_the_host_wait_no_more(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a condition's pictures at a time, with test batches, frozen statistics, and more layers."""
    # A copy of a fake tensor belongs to a copy of its mode, and the order is made of values, on the host.
    monkeypatch.setattr(adaptation, "_copied", lambda classifier: classifier.module)
    monkeypatch.setattr(loop, "sample_order", lambda index, *_: np.arange(len(index)))
    condition = next(one for one in CONDITIONS if one.name == "cifar-c-gaussian_noise-3-32px")
    with FakeTensorMode():
        classifier, session = adapt(fake_classifier(32), [text], None, 0).start()
        with device_alone(allowed=1):
            records = evaluate_condition(
                classifier, samples_of(stack(condition)), condition, seed=0, batch_size=2, session=session
            )
    assert len(records) == 3


class Streams:
    """Stands in for a device with streams: writes down in which order the host asks for what, and on which stream."""

    def __init__(self) -> None:
        self.current = "outer"
        self.log: list[str] = []

    def stream(self, name: str) -> Any:
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: self.log.append(f"{name} waits for {other.name}"),
            wait_event=lambda event: self.log.append(f"{name} waits for {event.of}"),
            record_event=lambda event=None: self.event(name),
        )

    def event(self, name: str) -> Any:
        of = self.log[-1]
        return SimpleNamespace(of=of, synchronize=lambda: self.log.append(f"host waits for {of}"))

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        self.current, before = stream.name, self.current
        yield
        self.current = before


def test_a_frame_is_made_beside_the_work_on_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams()
    side, model = streams.stream("side"), streams.stream("model")
    monkeypatch.setattr(torch.cuda, "stream", streams.on)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: None)
    monkeypatch.setattr(prefetching, "_stream", lambda _, priority: {0: side, -1: model}[priority])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: streams.stream("outer"))

    def made() -> Generator[tuple[int, Any]]:
        for number in range(4):
            streams.log.append(f"{streams.current} makes {number}")
            images = SimpleNamespace(record_stream=lambda stream: streams.log.append(f"kept for {stream.name}"))
            yield number, SimpleNamespace(images=images)
        streams.log.append("closed")

    with model_stream(torch.device("cuda", 0)):
        streams.log.append(f"{streams.current} begins")
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: model)
        for number, _ in prefetch(made(), torch.device("cuda", 0)):
            assert streams.current == "model"
            streams.log.append(f"model works on {number}")

    assert streams.current == "outer"
    expected = ["model waits for outer", "model begins", "side waits for model"]
    for number in range(4):
        expected += [f"side makes {number}", f"model waits for side makes {number}", "kept for model"]
        expected += [f"model works on {number}"]
        if number:
            # Of the batch before the last alone: on that one the device is still at work.
            expected += [f"host waits for model works on {number - 1}"]
    assert streams.log == [*expected, "closed", "outer waits for model"]


def test_on_a_cpu_nothing_is_made_ahead_and_what_makes_it_is_closed() -> None:
    log: list[str] = []

    def made() -> Generator[tuple[int, Any]]:
        try:
            for number in range(3):
                log.append(f"made {number}")
                yield number, None
        finally:
            log.append("closed")

    with closing(prefetch(made(), torch.device("cpu"))) as parts:
        for number, _ in parts:
            log.append(f"used {number}")
            if number:
                break
    assert log == ["made 0", "used 0", "made 1", "used 1", "closed"]


@pytest.mark.parametrize("name", ["cifar-c", "cifar-p"])
def test_a_frame_stays_as_it_is_while_the_next_one_is_made(name: str) -> None:
    """Oracle: a copy of each at the time when it was handed over. The model may still be reading it."""
    for condition in conditions(SUITES[name]):
        images = stack(condition)
        images.pixels[...] = np.random.default_rng(0).integers(0, 256, images.pixels.shape, dtype=np.uint8)
        samples = samples_of(images)
        shown = loop._ConditionBatches(samples, condition, 0, torch.device("cpu"), philox)
        frames = [(frame.images, frame.images.clone()) for _, frame in shown.batches(2)]
        assert all(torch.equal(*pair) for pair in frames), condition.name


@pytest.fixture
def real(classifier: Classifier) -> tuple[Classifier, Samples]:
    """A network that can be run, and nine pictures."""
    pixels = np.random.default_rng(1).integers(0, 256, (9, 3, 32, 32), dtype=np.uint8)
    return classifier, samples_of(ImageStack(pixels), 9)


NOISE = next(one for one in CONDITIONS if one.name == "cifar-c-gaussian_noise-3-32px")
ROTATE = next(one for one in CONDITIONS if one.name == "cifar-p-rotate-1-32px")


def resident(images: ImageStack, device: torch.device | None = None) -> DeviceImages:
    return _placed(images, device or torch.device("cpu"))


def test_a_resident_stack_is_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the stack itself, of one size and of many, in any order of rows."""
    monkeypatch.setattr(prefetching, "_PIECE", 1000)
    rng = np.random.default_rng(0)
    shapes = np.array([(32, 72), (32, 160), (41, 32), (33, 33)])
    ragged = ImageStack(rng.integers(0, 256, 3 * shapes.prod(axis=1).sum(), dtype=np.uint8), shapes)
    square = ImageStack(rng.integers(0, 256, (6, 3, 33, 33), dtype=np.uint8))
    for images in (ragged, square):
        there = resident(images)
        for rows in (np.array([0, 1, 2]), np.array([2]), np.array([3, 1]), np.array([1, 3])):
            expected, sizes = images.take(rows)
            pixels, same = there.take(rows)
            assert torch.equal(pixels, torch.from_numpy(expected))
            assert same == sizes
            assert [group.tolist() for group in there.groups(rows)] == [group.tolist() for group in images.groups(rows)]


def test_records_of_a_resident_stack_are_those_of_the_stack(real: tuple[Classifier, Samples]) -> None:
    classifier, samples = real
    assert isinstance(samples.images, ImageStack)
    there = replace(samples, images=resident(samples.images))
    for condition in (NOISE, ROTATE):
        one, other = (evaluate_condition(classifier, s, condition, seed=0, batch_size=4) for s in (samples, there))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.usefixtures("on_fake_cuda")
def test_a_resident_stack_lets_the_host_wait_no_more() -> None:
    for condition in (NOISE, ROTATE):
        with FakeTensorMode():
            classifier, images = fake_classifier(32), resident(stack(condition), torch.device("cuda", 0))
            samples = replace(samples_of(images), rows=np.array([2, 0, 1]))
            with device_alone(allowed=1):
                evaluate_condition(classifier, samples, condition, seed=0, batch_size=2)


def test_a_device_keeps_what_fits_until_it_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (ImageStack(np.zeros((count, 3, 32, 32), np.uint8)) for count in (1, 3))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * small.pixels.nbytes + 1, 0))
    monkeypatch.setattr(prefetching, "_placed", lambda images, _: resident(images))
    residents = DeviceImageCache(torch.device("cuda", 0))
    kept = residents.get(small)
    assert isinstance(kept, DeviceImages)
    assert residents.get(small) is kept
    assert residents.get(large) is large
    assert residents.clear()
    assert residents.get(small) is small
    assert not residents.clear()
    assert residents.get(ImageStack(small.pixels)) is not kept
    assert DeviceImageCache(torch.device("cpu")).get(small) is small
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2 * large.pixels.nbytes)
    assert isinstance(DeviceImageCache(torch.device("cuda", 0)).get(large), DeviceImages)


class Small(nn.Module):
    """A network on a device with room for so many images."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(x)}")
        result: Tensor = self.network(x)
        return result


def test_a_batch_that_does_not_fit_says_that_it_can_be_halved(real: tuple[Classifier, Samples]) -> None:
    """Oracle: the records of the batch size at which it fits."""
    classifier, samples = real
    small = replace(classifier, module=Small(classifier.module, 3))
    for size in (8, 4):
        with pytest.raises(OutOfMemory, match=f"{size} images a batch; reduce --batch-size"):
            evaluate_condition(small, samples, NOISE, seed=0, batch_size=size)
    records = evaluate_condition(small, samples, NOISE, seed=0, batch_size=2)
    pd.testing.assert_frame_equal(records, evaluate_condition(classifier, samples, NOISE, seed=0, batch_size=2))


def test_what_filled_the_memory_does_not_live_on_in_the_error(real: tuple[Classifier, Samples]) -> None:
    filled: list[weakref.ref[Tensor]] = []

    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            activations = x.clone()
            filled.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(f"no room beside {activations.shape}")

    with pytest.raises(OutOfMemory) as raised:
        evaluate_condition(replace(real[0], module=Full()), real[1], NOISE, seed=0, batch_size=4)
    assert raised.value.__cause__ is not None
    assert [one() for one in filled] == [None]


def test_a_library_that_has_no_memory_is_told_from_one_that_fails() -> None:
    """Oracle: texts as torch, Triton, cuBLAS, cuDNN and the driver write them."""
    for text in (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    ):
        assert ran_out_of_memory(RuntimeError(text)), text
    for text in (
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "Triton Error [CUDA]: invalid argument",
        "shape '[3]' is invalid for input of size 8",
    ):
        assert not ran_out_of_memory(RuntimeError(text)), text
    assert not ran_out_of_memory(ValueError("CUDA error: out of memory")), "no error of a library"


def test_where_no_smaller_batch_can_be_chosen_nothing_is_to_be_halved(real: tuple[Classifier, Samples]) -> None:
    classifier, samples = real
    none = replace(classifier, module=Small(classifier.module, 0))
    session = SimpleNamespace(start_condition=lambda *_: 4, before_batch=lambda _: None)
    for given, size in ((None, 1), (session, 4)):
        with pytest.raises(DeviceError, match="ran out of memory") as raised:
            evaluate_condition(none, samples, NOISE, seed=0, batch_size=size, session=given)
        assert type(raised.value) is DeviceError


def moved(classifier: Classifier, device: torch.device) -> Classifier:
    return replace(classifier, module=copy.deepcopy(classifier.module).to(device), device=device)


@where_cuda
@pytest.mark.parametrize("condition", [NOISE, ROTATE], ids=lambda one: one.name)
def test_what_is_made_ahead_on_cuda_has_the_records_of_the_plain_loop(
    condition: Condition, real: tuple[Classifier, Samples], cuda: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = moved(real[0], cuda)
    images = ImageStack(np.random.default_rng(2).integers(0, 256, (500, 3, 32, 32), dtype=np.uint8))
    samples, there = samples_of(images, 500), samples_of(resident(images, cuda), 500)
    runs = [evaluate_condition(classifier, one, condition, seed=0, batch_size=64) for one in (samples, there) * 3]
    monkeypatch.setattr(loop, "prefetch", lambda parts, _: parts)
    plain = evaluate_condition(classifier, samples, condition, seed=0, batch_size=64)
    for records in runs:
        pd.testing.assert_frame_equal(records, plain, check_exact=True)


@where_cuda
def test_phases_on_cuda_are_timed_and_fit_into_the_whole(real: tuple[Classifier, Samples], cuda: torch.device) -> None:
    watch = stopwatch_for(cuda)
    evaluate_condition(moved(real[0], cuda), real[1], NOISE, seed=0, batch_size=4, watch=watch)
    profile = watch.read()
    assert set(profile.concurrent) == {"copy", "corruption"}
    assert profile.seconds["forward"] > 0
    assert sum(profile.seconds.values()) <= profile.wall * 1.01
