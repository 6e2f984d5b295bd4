"""Measure the time of a run by conditions, images and workers, and estimate ImageNet on many GPUs.

    python benchmarks/scale.py [MODEL] [--data DATA] [--images 100,200,400,800] [--conditions 5,10,20,40] [--workers 1,2] [--gpu 1000,3000]

The local engine has one thread, and Ray has nodes of one core on this machine. Times cover the evaluation from the first shard
to the last, without the start. Sizes take turns, and the best of --repeats counts. Prints hardware and versions, seconds, and
seconds an image relative to the smallest size: 1 if the cost is linear. Results of all engines are compared byte for byte.

The estimate adds the driver's time to write and join a shard to the time of the GPUs. The former is measured here, the latter
follows from assumed images a second (--gpu). `benchmarks/throughput.py` measures that speed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from common import hardware, threads
from rich.console import Console
from rich.table import Table

from robench.evaluation.engines import Engine, Local, Ray
from robench.evaluation.options import Options
from robench.evaluation.run import Job, evaluate_jobs
from robench.evaluation.shards import shards_of
from robench.models import load_classifier
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.runs.observer import EVALUATING, FinishedCondition, Observer
from robench.runs.parquet import encode_parquet
from robench.runs.schema import RECORDS
from robench.suites import Condition
from robench.suites.geometry import Geometry

SAMPLES, CELLS, FRAMES = 50_000, 75, 320
"""Images of ImageNet's validation set, cells of ImageNet-C, and frames of ImageNet-P's ten perturbations."""
BATCH = 256


class Clock(Observer):
    """An observer that records the start and end of the evaluation."""

    def __init__(self) -> None:
        self.begun = self.ended = math.nan

    def phase(self, name: str, total: int) -> None:
        """Record the start."""
        if name == EVALUATING:
            self.begun = time.perf_counter()

    def condition(self, finished: FinishedCondition) -> None:
        """Record the end."""
        self.ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time from the first shard to the last."""
        return self.ended - self.begun


@dataclass(frozen=True)
class Work:
    """A number of images under a number of cells of cifar-c."""

    model: str
    data: str
    images: int
    cells: int

    def job(self, out: Path) -> Job:
        """Return the options of the run; the first cells are noises, which cost the same."""
        names = (
            "gaussian_noise",
            "shot_noise",
            "impulse_noise",
            "contrast",
            "brightness",
            "fog",
            "pixelate",
            "saturate",
        )
        options = Options(corruption=names[: math.ceil(self.cells / 5)], limit=self.images)
        load = partial(load_classifier, self.model, device="cpu")
        return Job(load, self.data, ["cifar-c"], out, options)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--images", default="100,200,400,800")
    parser.add_argument("--conditions", default="5,10,20,40")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--gpu", default="1000,3000", help="assumed images a second of one GPU")
    options = parser.parse_args()
    images, cells, workers = (
        [int(part) for part in text.split(",")] for text in (options.images, options.conditions, options.workers)
    )
    threads(1)
    console = Console(width=120)
    console.print(hardware(1), soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = Work(options.model, options.data, max(images), max(cells))
        by_images = [replace(whole, images=count, cells=min(cells)) for count in images]
        by_cells = [replace(whole, images=min(images), cells=count) for count in cells]
        console.print(growth("images", images, by_images, Path(folder) / "images", options.repeats))
        console.print(growth("conditions", cells, by_cells, Path(folder) / "cells", options.repeats))
        table, overhead = engines(whole, workers, Path(folder) / "engines", options.repeats)
        console.print(table)
        console.print(estimate(Path(folder), overhead, [float(part) for part in options.gpu.split(",")]))


def run(work: Work, engine: Engine, out: Path) -> tuple[float, float]:
    """Return seconds of the evaluation and of the whole run."""
    clock, start = Clock(), time.perf_counter()
    list(evaluate_jobs([work.job(out)], engine, clock))
    return clock.seconds, time.perf_counter() - start


def growth(what: str, sizes: Sequence[int], works: Sequence[Work], folder: Path, repeats: int) -> Table:
    """Return seconds by size with the local engine."""
    best = [math.inf] * len(works)
    for repeat in range(repeats):
        for number, work in enumerate(works):
            best[number] = min(best[number], run(work, Local(threads=1), folder / f"{repeat}-{number}")[0])
    table = Table(title=f"local engine, by {what}", title_justify="left")
    for column in (what, "seconds", "ms an image and condition", "over the first"):
        table.add_column(column, justify="right")
    each = [seconds / work.images / (work.cells + 1) * 1000 for seconds, work in zip(best, works, strict=True)]
    for size, seconds, one in zip(sizes, best, each, strict=True):
        table.add_row(f"{size:,}", f"{seconds:.2f}", f"{one:.3f}", f"{one / each[0]:.2f}")
    return table


def engines(work: Work, workers: Sequence[int], folder: Path, repeats: int) -> tuple[Table, float]:
    """Return seconds by engine and number of workers on nodes of one core, and Ray's overhead for a shard with one worker."""
    from ray.cluster_utils import Cluster

    best: dict[int, tuple[float, float]] = {}
    for repeat in range(repeats):
        for count in (0, *workers):
            out = folder / f"{repeat}-{count}"
            with ExitStack() as stack:
                engine: Engine = Local(threads=1)
                if count:
                    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
                    stack.callback(cluster.shutdown)
                    for _ in range(count):
                        cluster.add_node(num_cpus=1)
                    engine = Ray(cluster.address, count, "cpu", 1)
                took = run(work, engine, out)
            best[count] = min(best.get(count, took), took)
            assert contents(out) == contents(folder / "0-0"), f"{count} workers give different bytes"
    table = Table(title=f"{work.images} images, {work.cells} conditions; all bytes are equal", title_justify="left")
    for column in ("engine", "workers", "seconds", "with start and scoring", "local engine / this"):
        table.add_column(column, justify="right")
    for count, (seconds, everything) in best.items():
        ratio = best[0][0] / seconds
        name = ("ray", str(count)) if count else ("local", "1 thread")
        table.add_row(*name, f"{seconds:.1f}", f"{everything:.1f}", f"{ratio:.2f}")
    return table, max(best[1][0] - best[0][0], 0) / (work.cells + 1) if 1 in best else 0.0


def contents(path: Path) -> dict[str, bytes]:
    """Return the files that must be equal byte for byte."""
    files = [path / "results.csv", path / "samples.parquet", *sorted((path / "records").glob("*.parquet"))]
    return {file.name: file.read_bytes() for file in files}


def estimate(folder: Path, overhead: float, rates: Sequence[float]) -> Table:
    """Return the estimated time of ImageNet-C and -P with 50,000 images on 1, 8 and 64 GPUs."""
    cell = Condition("imagenet-c", "fog", 3, Geometry(resize=256, crop=224), constants="224")
    frames = Condition("imagenet-p", "gaussian_noise", 1, Geometry(resize=256, crop=224), constants="224", size=224)
    shards = CELLS * len(shards_of(cell, SAMPLES, BATCH, False)) + 10 * len(shards_of(frames, SAMPLES, BATCH, False))
    writing, joining = driver(folder / "driver")
    images = SAMPLES * (CELLS + FRAMES)
    of_driver = shards * (writing + joining + overhead)
    table = Table(
        title=f"ImageNet, {SAMPLES:,} x ({CELLS} cells + {FRAMES} frames) = {images / 1e6:.2f} million images, {shards:,} shards of "
        f"{images / shards:,.0f}; the driver: {writing * 1000:.0f} ms to write a shard, {joining * 1000:.0f} to join it, "
        f"{overhead * 1000:.0f} that Ray adds, {of_driver:.0f} s in all",
        title_justify="left",
        caption="GPUs' images/s are assumed, not measured; decoding (once a node), starting and scoring come on top",
    )
    for column in ("images/s of a GPU", "GPUs", "minutes", "GPUs at work", "what ends it"):
        table.add_column(column, justify="right")
    for rate in rates:
        for count in (1, 8, 64):
            shard = images / shards / rate
            rounds = math.ceil(shards / count) * shard
            seconds = max(rounds, of_driver)
            ends = "the driver" if of_driver > rounds else "the GPUs"
            table.add_row(
                f"{rate:,.0f}", str(count), f"{seconds / 60:.1f}", f"{images / rate / count / seconds:.0%}", ends
            )
    return table


def driver(folder: Path) -> tuple[float, float]:
    """Return the seconds to write and to join a shard of a condition with 31 frames."""
    rng, frames, samples, parts = np.random.default_rng(0), 31, 512, 8
    planned = ConditionEntry("p", "imagenet-p", "p", 1, 224, "p#1", "computed", "clean", frames)
    directory = RunDirectory(folder, {"identity": {}, "conditions": [planned.__dict__]})
    (folder / "records").mkdir(parents=True)
    rows = frames * samples
    top5 = rng.integers(0, 1000, (rows, 5), dtype=np.int32)
    table = pd.DataFrame(
        {
            "suite": "imagenet-p",
            "corruption": "p",
            "severity": np.int16(1),
            "axis_value": np.repeat(np.arange(frames, dtype=np.float64), samples),
            "dx": np.nan,
            "dy": np.nan,
            "frame": np.repeat(np.arange(frames, dtype=np.int32), samples),
            "resolution": np.int32(224),
            "sample": np.tile(np.arange(samples), frames),
            "label": np.int32(0),
            "pred": top5[:, 0],
            "top5": list(top5),
            "confidence": rng.random(rows, np.float32),
            "prob_label": rng.random(rows, np.float32),
            **{name: rng.random(rows, np.float32) for name in ("max_logit", "entropy", "sum_p2", "gen")},
        }
    )
    content = encode_parquet(RECORDS, table, samples)
    cuts = [(samples * number, samples * (number + 1)) for number in range(parts)]
    start = time.perf_counter()
    for cut in cuts:
        directory.write_shard("p", *cut, content)
    written = time.perf_counter()
    directory.merge_shards("p", cuts)
    return (written - start) / parts, (time.perf_counter() - written) / parts


if __name__ == "__main__":
    main()
