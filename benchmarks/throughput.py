"""Compare images/s of a whole suite with those of the model's bare forward pass.

    python benchmarks/throughput.py [--device auto] [--arch resnet50] [--images N] [--batch N] [--precision bf16] [--kernels auto]

A CUDA device has synthetic uint8 images in its memory. There are 50,000 of imagenet-c and as many frames of imagenet-p. A CPU has a
small check. All conditions of a suite run one after the other as in `robench evaluate`, in its shards. Their records are encoded,
written to a temporary folder and joined. Prints hardware and versions, then a line for each condition as soon as its records are on
the host. The last line of a suite counts everything up to the last file. Conditions below 95 % of the bare forward pass also get a
profile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import hardware, load, threads
from rich.console import Console

from robench.datasets import ImageStack
from robench.evaluation.device_scopes import PRECISIONS, precision_scope
from robench.evaluation.loop import PendingRecords, begin_condition, evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.prefetch import DeviceImageCache
from robench.evaluation.profile import Profile, profile_table
from robench.evaluation.samples import Samples
from robench.evaluation.shards import Shard, shards_of
from robench.evaluation.stopwatch import stopwatch_for
from robench.evaluation.storage import Storage
from robench.models import Classifier, Preprocessing, choose_device
from robench.runs.directory import RunDirectory
from robench.runs.parquet import encode_parquet
from robench.runs.schema import RECORDS
from robench.suites import Condition, find_suite
from robench.transforms.apply import condition_frames
from robench.transforms.draws import Philox, compiled_philox, philox
from robench.transforms.kernels import KERNELS, kernel_scope, why_eager

ENOUGH = 0.95
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
    parser.add_argument("--severity", default="3", help="separated by commas")
    parser.add_argument("--kernels", choices=KERNELS, default=KERNELS[0])
    parser.add_argument("--compile", action="store_true", help="random draws through torch.compile")
    parser.add_argument("--threads", type=int, default=1)
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
    )
    console = Console(width=110)
    console.print(hardware(options.threads), soft_wrap=True)
    if cuda:
        console.print(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}", soft_wrap=True)
        console.print(f"fused kernels: {why_eager(device) or 'run'}; --kernels {options.kernels}", soft_wrap=True)
    console.print(f"{options.arch}, {machine.precision}, batches of {machine.batch}, {machine.images:,} images")
    severities = list(map(int, options.severity.split(",")))
    with kernel_scope(options.kernels):
        for suite in options.suites.split(","):
            slow = machine.suite(suite, severities)
            if slow:
                console.print(profile_table({one.name: machine.profile(one) for one in slow}))


def classifier(arch: str, device: torch.device) -> Classifier:
    """Return an untrained network in the state that the loaders produce."""
    module = torchvision.models.get_model(arch, weights=None).eval().requires_grad_(False)
    module = module.to(device).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Classifier(arch, f"torchvision:{arch}", module, preprocessing, 1000, "0" * 64, device)


@dataclass(frozen=True)
class Machine:
    """A model on a device with its batch size and precision."""

    classifier: Classifier
    images: int
    batch: int
    precision: str
    generator: Philox
    residents: DeviceImageCache

    def suite(self, name: str, severities: Sequence[int]) -> list[Condition]:
        """Evaluate a suite, print its speed, and return the slow conditions."""
        graded = not find_suite(name).family.has_frames
        options = Options(severity=severities) if graded else Options()
        conditions = make_plan([name], options, self.classifier.preprocessing).conditions
        samples = {condition: self._samples(condition) for condition in conditions}
        for condition in conditions:  # Compiles kernels and fills the allocator.
            self._begin(condition, samples[condition].select(np.arange(self._first(samples[condition])))).result()
        bare = self.bare()
        print(f"{name}: bare forward pass {bare:,.1f} images/s", flush=True)
        slow: list[Condition] = []
        with tempfile.TemporaryDirectory() as folder:
            start, ends = time.perf_counter(), [time.perf_counter()]
            with Storage() as storage:
                for condition in conditions:
                    directory = RunDirectory(Path(folder), {"identity": {}, "conditions": []})
                    shards = shards_of(condition, len(samples[condition].rows), self.batch, whole=False)
                    for shard in shards:
                        part = samples[condition].select(np.arange(shard.start, shard.stop))
                        pending = self._begin(condition, part)
                        storage.submit(partial(self._store, pending, shard, shards, directory, ends, bare, slow))
            seconds = time.perf_counter() - start
        images = sum(len(samples[one].rows) * condition_frames(one) for one in conditions)
        print(f"{'whole':34s} {images:>9,d} images {images / seconds:>10,.1f}/s {images / seconds / bare:7.1%}")
        again = self.bare()
        print(f"{name}: bare forward pass afterwards {again:,.1f} images/s", flush=True)
        return slow

    def bare(self) -> float:
        """Return the images/s of the network alone on prepared values in whole batches."""
        device, shape = self.classifier.device, self.classifier.preprocessing.shape
        values = torch.randn((self.batch, 3, *shape)).to(device).contiguous(memory_format=torch.channels_last)
        count = max(1, min(self.images, 16_384) // self.batch)
        with precision_scope(self.precision, device), torch.inference_mode():
            self.classifier.module(values)
            _wait(device)
            start = time.perf_counter()
            for _ in range(count):
                self.classifier.module(values)
            _wait(device)
        return count * self.batch / (time.perf_counter() - start)

    def profile(self, condition: Condition) -> Profile:
        """Evaluate a condition again with a profile."""
        watch = stopwatch_for(self.classifier.device)
        evaluate_condition(
            self.classifier, self._samples(condition), condition, seed=0, batch_size=self.batch,
            precision=self.precision, generator=self.generator, watch=watch,
        )  # fmt: skip
        return watch.read()

    def _begin(self, condition: Condition, samples: Samples) -> PendingRecords:
        return begin_condition(
            self.classifier, samples, condition, seed=0, batch_size=self.batch,
            precision=self.precision, generator=self.generator,
        )  # fmt: skip

    def _store(
        self,
        pending: PendingRecords,
        shard: Shard,
        shards: Sequence[Shard],
        directory: RunDirectory,
        ends: list[float],
        bare: float,
        slow: list[Condition],
    ) -> None:
        """Store a shard as a run does; the last one of a condition also prints the speed of the condition."""
        records, condition = pending.result(), shard.condition
        if shard == shards[-1]:
            ends.append(time.perf_counter())
            images = shard.stop * condition_frames(condition)
            speed = images / (ends[-1] - ends[-2])
            print(f"{condition.name:34s} {images:>9,d} images {speed:>10,.1f}/s {speed / bare:7.1%}", flush=True)
            if speed < ENOUGH * bare:
                slow.append(condition)
        content = encode_parquet(RECORDS, records, shard.stop - shard.start)
        if len(shards) == 1:
            directory.write_encoded(condition.name, content)
            return
        directory.write_shard(condition.name, shard.start, shard.stop, content)
        if shard == shards[-1]:
            directory.merge_shards(condition.name, [(one.start, one.stop) for one in shards])

    def _first(self, samples: Samples) -> int:
        return min(self.batch, len(samples.rows))

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


if __name__ == "__main__":
    main()
