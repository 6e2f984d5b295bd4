"""Measure the peak memory of a run over many conditions, and its growth by 100 conditions.

    python benchmarks/memory.py [--conditions 50,100,250,500] [--images 64] [--threads 1]

A small untrained network evaluates 32 px noise. The conditions are every corruption of cifar-c at every severity, sequences,
shifts, scales and strengths. One process repeats them with new seeds until the number is reached. Prints hardware and
versions, then resident and peak memory of the process.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import torch
from common import hardware, threads
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn

import robench
from robench.evaluation.options import Options
from robench.models import Classifier, Preprocessing
from robench.runs.observer import FinishedCondition, Observer

SUITES = ("cifar-c", "cifar-p", "shift", "scale", "noise")
CLASSES = 10


@dataclass
class Meter(Observer):
    """An observer that records memory (resident, peak) in MB after given numbers of conditions."""

    at: tuple[int, ...]
    done: int = 0
    frames: int = 0
    found: dict[int, tuple[float, float, int]] = field(default_factory=dict)

    def condition(self, finished: FinishedCondition) -> None:
        """Count the condition and measure."""
        self.done, self.frames = self.done + 1, self.frames + finished.images
        if self.done in self.at:
            gc.collect()
            self.found[self.done] = (*memory(), self.frames)
        if self.done >= max(self.at):
            raise KeyboardInterrupt


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", default="50,100,250,500", help="numbers of conditions, separated by commas")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    threads(options.threads)
    at = tuple(sorted(int(part) for part in options.conditions.split(",")))
    console = Console(width=120)
    console.print(hardware(options.threads), soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print(table(evaluated(Path(folder), at, options.images)))


def evaluated(folder: Path, at: tuple[int, ...], images: int) -> dict[int, tuple[float, float, int]]:
    """Evaluate one seed after the other until enough conditions are finished."""
    data, model, meter = noise_images(folder / "images", images), network(), Meter(at)
    for seed in count():
        try:
            robench.evaluate(
                model, data, SUITES, folder / f"run{seed}", options=Options(seed=seed, batch_size=32), progress=meter
            )
        except KeyboardInterrupt:
            return meter.found
    raise AssertionError


def table(found: dict[int, tuple[float, float, int]]) -> Table:
    """Return memory by number of conditions, with the growth of the peak by 100 conditions since the previous row."""
    shown = Table(title="memory of the process, MB", title_justify="left")
    for column in ("conditions", "images", "resident", "peak", "peak by 100 conditions"):
        shown.add_column(column, justify="right")
    before: tuple[int, float] | None = None
    for done, (resident, peak, images) in found.items():
        growth = "" if before is None else f"{100 * (peak - before[1]) / (done - before[0]):+.2f}"
        shown.add_row(f"{done}", f"{images:,}", f"{resident:.1f}", f"{peak:.1f}", growth)
        before = done, peak
    return shown


def memory() -> tuple[float, float]:
    """Return the current and the peak resident memory of this process in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    cells = dict(line.split(":", 1) for line in lines)
    return int(cells["VmRSS"].split()[0]) / 1024, int(cells["VmHWM"].split()[0]) / 1024


def noise_images(folder: Path, images: int) -> Path:
    """Write images of noise into class folders."""
    rng = np.random.default_rng(0)
    for number in range(images):
        place = folder / f"{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return folder


def network() -> Classifier:
    """Return a small untrained convolutional network."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )
    preprocessing = Preprocessing(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    module = module.eval().requires_grad_(False)
    return Classifier("tiny", "benchmark:tiny", module, preprocessing, CLASSES, "0" * 64, torch.device("cpu"))


if __name__ == "__main__":
    main()
