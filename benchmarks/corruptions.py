"""Time every corruption against the published implementation, on the same images in the same run.

    python benchmarks/corruptions.py [--images FOLDER] [--sizes 224,32] [--severity 3] [--threads 1] [--compile]

Prints hardware and versions, then ms per image and ratios (reference / robench, above 1 is faster). Both take turns, and the best of
the repeats counts, because machines are shared and noisy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import geometric, hardware, interleaved, load, threads
from rich.console import Console
from rich.table import Table

from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.corruptions.base import Corruption
from robench.transforms.draws import KeyedDraws, Philox, compiled_philox, philox
from robench.transforms.reference import keyed_state, package
from robench.types import Images

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
BATCH = {32: 64, 64: 64, 224: 16}


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of class folders; default: smooth synthetic images")
    parser.add_argument("--sizes", default="224,32", help="sides in pixels, separated by commas")
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also with draws through torch.compile")
    options = parser.parse_args()
    threads(options.threads)
    console = Console(width=110)
    console.print(hardware(options.threads), soft_wrap=True)
    for size in map(int, options.sizes.split(",")):
        images = load(options.images, size, BATCH.get(size, 8))
        console.print(measure(images, options.severity, options.repeats, options.compile))


def measure(images: Images, severity: int, repeats: int, compiled: bool) -> Table:
    """Time all corruptions at ImageNet's constants, the only ones of the package."""
    index = torch.arange(len(images))
    table = Table(
        title=f"{images.shape[2]} px, batch of {len(images)}, severity {severity}: ms per image", title_justify="left"
    )
    for column in ("corruption", "reference", "ours", "ratio", *(("compiled", "ratio") if compiled else ())):
        table.add_column(column, justify="left" if column == "corruption" else "right")
    ratios: dict[str, list[float]] = {}
    arrays = list(images.permute(0, 2, 3, 1).contiguous().numpy())
    generators = [philox, *([compiled_philox()] if compiled else [])]
    for name, corruption in CORRUPTIONS.items():
        with package(keyed_state("benchmark")) as published:
            theirs = partial(reference, published, arrays, name, severity)
            ours = [partial(robench, corruption, images, index, severity, generator) for generator in generators]
            best = interleaved([theirs, *ours], repeats, len(images))
        ratios[name] = [best[0] / time for time in best[1:]]
        cells = [f"{best[0]:.3f}"]
        for took, ratio in zip(best[1:], ratios[name], strict=True):
            cells += [f"{took:.3f}", f"{ratio:.2f}"]
        table.add_row(name, *cells)
    table.add_section()
    for label, names in (("geometric mean of the noises", NOISES), ("geometric mean", tuple(ratios))):
        means = [geometric([ratios[name][column] for name in names]) for column in range(2 if compiled else 1)]
        cells = ["", *(cell for mean in means for cell in ("", f"{mean:.2f}"))]
        table.add_row(label, *cells)
    return table


def reference(published: Any, arrays: Sequence[np.ndarray], name: str, severity: int) -> None:
    """Return the package's own function, applied to arrays image by image."""
    for array in arrays:
        published.corrupt(array, severity, name)


def robench(corruption: Corruption, images: Images, index: torch.Tensor, severity: int, generator: Philox) -> None:
    """Return robench's function of the batch with ImageNet's constants."""
    corruption(images, KeyedDraws(0, index, corruption.name, generator), corruption.params("224", severity))


if __name__ == "__main__":
    main()
