"""Compare images/s of whole conditions with those of the model's bare forward pass.

    python benchmarks/throughput.py [--device auto] [--arch resnet50] [--images N] [--batch N] [--precision bf16] [--compile]

A CUDA device has synthetic uint8 images in its memory. There are 50,000 of imagenet-c and as many frames of imagenet-p, in
shards as the engines cut them. A CPU has a small check. Prints hardware and versions, then images/s and the share of the bare
forward pass. The rows are each corruption, each perturbation and each suite as a whole. Conditions below 85 % also get a
profile.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torchvision
from common import hardware, load, threads
from rich.console import Console
from rich.table import Table

from robench.datasets import ImageStack
from robench.evaluation.device_scopes import PRECISIONS, precision_scope
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.prefetch import DeviceImageCache
from robench.evaluation.profile import Profile, profile_table
from robench.evaluation.samples import Samples
from robench.evaluation.stopwatch import NULL_STOPWATCH, Stopwatch, stopwatch_for
from robench.models import Classifier, Preprocessing, choose_device
from robench.suites import Condition, find_suite
from robench.transforms.apply import condition_frames
from robench.transforms.draws import Philox, compiled_philox, philox

SHARD = 16_384
"""Approximate frames of a shard, in whole batches."""
ENOUGH = 0.85
DIFFERENT = 256
"""Number of different synthetic images. The others repeat them, which makes neither the model nor a corruption faster."""


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", default="resnet50", help="torchvision's name of the model; the weights are random")
    parser.add_argument("--suites", default="imagenet-c,imagenet-p", help="separated by commas")
    parser.add_argument("--images", type=int, help="default: 50000 on CUDA, 64 elsewhere")
    parser.add_argument("--batch", type=int, help="default: 256 on CUDA, 16 elsewhere")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: bf16 on CUDA, fp32 elsewhere")
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="random draws through torch.compile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1, help="number of turns; the best counts")
    options = parser.parse_args()
    threads(options.threads)
    device = choose_device(options.device)
    cuda = device.type == "cuda"
    machine = Machine(
        classifier=classifier(options.arch, device),
        images=options.images or (50_000 if cuda else 64),
        batch=options.batch or (256 if cuda else 16),
        precision=options.precision or ("bf16" if cuda else "fp32"),
        generator=compiled_philox() if options.compile else philox,
        residents=DeviceImageCache(device),
        repeats=options.repeats,
    )
    console = Console(width=110)
    console.print(hardware(options.threads), soft_wrap=True)
    if cuda:
        console.print(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}", soft_wrap=True)
    console.print(f"{options.arch}, {machine.precision}, batches of {machine.batch}, {machine.images:,} images")
    for suite in options.suites.split(","):
        measured = machine.suite(suite, options.severity)
        console.print(shown(suite, measured))
        slow = {one.name: machine.profile(one.condition) for one in measured if one.share < ENOUGH}
        if slow:
            console.print(profile_table(slow))


def classifier(arch: str, device: torch.device) -> Classifier:
    """Return an untrained network in the state that the loaders produce."""
    module = torchvision.models.get_model(arch, weights=None).eval().requires_grad_(False)
    module = module.to(device).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Classifier(arch, f"torchvision:{arch}", module, preprocessing, 1000, "0" * 64, device)


@dataclass(frozen=True)
class Measured:
    """Seconds of a condition, and of the bare forward pass for the same number of images."""

    condition: Condition
    images: int
    seconds: float
    bare: float

    @property
    def name(self) -> str:
        """Name of the corruption."""
        return self.condition.corruption

    @property
    def share(self) -> float:
        """Share of the model's own speed."""
        return self.bare / self.seconds


@dataclass(frozen=True)
class Machine:
    """A model on a device with its batch size and precision."""

    classifier: Classifier
    images: int
    batch: int
    precision: str
    generator: Philox
    residents: DeviceImageCache
    repeats: int

    def suite(self, name: str, severity: int) -> list[Measured]:
        """Measure the clean images and every condition of a suite, and the forward pass alone before each."""
        graded = not find_suite(name).family.has_frames
        options = Options(severity=(severity,)) if graded else Options()
        return [self._measured(one) for one in make_plan([name], options, self.classifier.preprocessing).conditions]

    def profile(self, condition: Condition) -> Profile:
        """Evaluate a condition again with a profile."""
        watch = stopwatch_for(self.classifier.device)
        self._evaluate(condition, self._samples(condition), watch)
        return watch.read()

    def _measured(self, condition: Condition) -> Measured:
        samples = self._samples(condition)
        self._evaluate(condition, samples.select(np.arange(min(self.batch, len(samples.rows)))))  # Warm-up.
        images = len(samples.rows) * condition_frames(condition)
        batch = min(self.batch, len(samples.rows))
        turns = [(self._bare(images, batch), self._evaluate(condition, samples)) for _ in range(self.repeats)]
        return Measured(condition, images, min(ours for _, ours in turns), min(bare for bare, _ in turns))

    def _evaluate(self, condition: Condition, samples: Samples, watch: Stopwatch = NULL_STOPWATCH) -> float:
        start = time.perf_counter()
        size = max(1, SHARD // condition_frames(condition) // self.batch) * self.batch
        for first in range(0, len(samples.rows), size):
            evaluate_condition(
                self.classifier,
                samples.select(np.arange(first, min(first + size, len(samples.rows)))),
                condition,
                seed=0,
                batch_size=self.batch,
                precision=self.precision,
                generator=self.generator,
                watch=watch,
            )
        return time.perf_counter() - start

    def _bare(self, images: int, batch: int) -> float:
        """Return the seconds of the network alone on prepared values in the same batches."""
        device, side = self.classifier.device, self.classifier.preprocessing.crop
        values = torch.randn((batch, 3, side, side)).to(device).contiguous(memory_format=torch.channels_last)
        with precision_scope(self.precision, device), torch.inference_mode():
            self.classifier.module(values)
            _wait(device)
            start = time.perf_counter()
            for first in range(0, images, batch):
                self.classifier.module(values[: min(batch, images - first)])
            _wait(device)
        return time.perf_counter() - start

    def _samples(self, condition: Condition) -> Samples:
        """Return samples with about the requested number of frames, in whole batches if one is full."""
        count = max(1, self.images // condition_frames(condition))
        count -= count % self.batch if count > self.batch else 0
        geometry = condition.geometry
        side = geometry.crop or geometry.resize
        assert isinstance(side, int)
        places = np.arange(count)
        samples = Samples(_stack(side, count), places, places, np.zeros(count, np.int64))
        assert isinstance(samples.images, ImageStack)
        return replace(samples, images=self.residents.get(samples.images))


_STACKS: dict[tuple[int, int], ImageStack] = {}


def _stack(side: int, count: int) -> ImageStack:
    if (side, count) not in _STACKS:
        different = load(None, side, min(count, DIFFERENT)).numpy()
        _STACKS[side, count] = ImageStack(different[np.arange(count) % len(different)])
    return _STACKS[side, count]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def shown(suite: str, measured: Sequence[Measured]) -> Table:
    """Return one row for each condition, and one for all except the clean images."""
    table = Table(title=f"{suite}: images/s, and of the bare forward pass", title_justify="left")
    for column in (suite, "images", "images/s", "bare images/s", "of bare"):
        table.add_column(column, justify="left" if column == suite else "right")
    perturbed = [one for one in measured if not one.condition.is_clean]
    totals = [sum(getattr(one, name) for one in perturbed) for name in ("images", "seconds", "bare")]
    rows = [(one.name, one.images, one.seconds, one.bare) for one in measured]
    for name, images, seconds, bare in [*rows, ("whole", *totals)]:
        if name == "whole":
            table.add_section()
        table.add_row(name, f"{images:,}", f"{images / seconds:,.1f}", f"{images / bare:,.1f}", f"{bare / seconds:.1%}")
    return table


if __name__ == "__main__":
    main()
