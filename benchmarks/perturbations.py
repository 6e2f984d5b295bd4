"""Time the frames of every perturbation against a model's own forward pass.

    python benchmarks/perturbations.py [--images FOLDER] [--arch squeezenet1_0] [--batch 16] [--threads 1]

Prints hardware and versions, then frames/s, ms a frame, and the share of a forward pass of the same frames that they cost.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torchvision
from common import hardware, load, threads
from rich.console import Console
from rich.table import Table

from robench.suites.imagenet_p import EXTRA
from robench.suites.imagenet_p import PERTURBATIONS as PUBLISHED
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import PERTURBATIONS
from robench.transforms.warps import PaddedBatch
from robench.types import Images

SIDE, WHOLE = 224, 256


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of class folders; default: smooth synthetic images")
    parser.add_argument(
        "--arch", default="squeezenet1_0", help="torchvision's name of the model; its weights do not matter"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    threads(options.threads)
    console = Console(width=110)
    console.print(hardware(options.threads), soft_wrap=True)
    images = load(options.images, WHOLE, options.batch)
    model = torchvision.models.get_model(options.arch, weights=None).eval()
    console.print(measure(images, model, options.arch))


def measure(images: Images, model: torch.nn.Module, arch: str) -> Table:
    """Return one row for each perturbation, the better of two runs."""
    forward = min(_forward(model, images) for _ in range(4))
    table = Table(
        title=f"{SIDE} px, batch of {len(images)}; {arch}: {1e3 * forward:.2f} ms an image", title_justify="left"
    )
    for column in ("perturbation", "frames", "frames/s", "ms a frame", "of a forward pass"):
        table.add_column(column, justify="left" if column == "perturbation" else "right")
    for name in (*PUBLISHED, *EXTRA):
        perturbation = PERTURBATIONS[name]
        level = perturbation.params("224")
        best = float("inf")
        for _ in range(2):
            start = time.perf_counter()
            draws = KeyedDraws(0, torch.arange(len(images)), name)
            count = sum(1 for _ in perturbation(PaddedBatch.of(images), SIDE, draws, level))
            best = min(best, (time.perf_counter() - start) / count / len(images))
        table.add_row(name, str(count), f"{1 / best:,.0f}", f"{1e3 * best:.2f}", f"{100 * best / forward:.0f} %")
    return table


def _forward(model: torch.nn.Module, images: Images) -> float:
    values = images[:, :, :SIDE, :SIDE].float().div(255).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.inference_mode():
        model(values)
    return (time.perf_counter() - start) / len(images)


if __name__ == "__main__":
    main()
