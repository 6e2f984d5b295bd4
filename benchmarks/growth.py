"""Measure the cost of every corruption by batch size and by image size.

    python benchmarks/growth.py [--images FOLDER] [--batches 1,8,64,256] [--sides 224,448,896] [--severity 3] [--threads 1]

Prints hardware and versions, then ms per image by batch at the first side. Then follow ms per image and ns per pixel by
side, in batches of 4. The cost per pixel should not grow with the image.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from common import hardware, interleaved, load, threads
from rich.console import Console
from rich.table import Table

from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.corruptions.base import Corruption
from robench.transforms.draws import KeyedDraws
from robench.types import Images

IMAGES_BY_SIDE = 4
"""Images of each size that are timed."""


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of class folders; default: smooth synthetic images")
    parser.add_argument("--batches", default="1,8,64,256", help="images a call, separated by commas")
    parser.add_argument("--sides", default="224,448,896", help="sides in pixels, separated by commas")
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    threads(options.threads)
    batches, sides = ([int(part) for part in text.split(",")] for text in (options.batches, options.sides))
    console = Console(width=120)
    console.print(hardware(options.threads), soft_wrap=True)
    largest = load(options.images, sides[0], max(batches))
    console.print(
        by_batch([largest[:count] for count in batches], options.severity, options.repeats),
        by_side([load(options.images, side, IMAGES_BY_SIDE) for side in sides], options.severity, options.repeats),
    )


def by_batch(batches: list[Images], severity: int, repeats: int) -> Table:
    """Ms per image by the number of images in a call."""
    table = Table(title=f"{batches[0].shape[3]} px, severity {severity}: ms per image", title_justify="left")
    table.add_column("corruption")
    for images in batches:
        table.add_column(f"batch {len(images)}", justify="right")
    for name, corruption in CORRUPTIONS.items():
        table.add_row(name, *(f"{took:.3f}" for took in times(corruption, batches, severity, repeats)))
    return table


def by_side(sizes: list[Images], severity: int, repeats: int) -> Table:
    """Ms per image and ns per pixel by the image's side; growth: the last ns per pixel over the first."""
    table = Table(title=f"batch {len(sizes[0])}, severity {severity}: ms per image, ns per pixel", title_justify="left")
    table.add_column("corruption")
    for images in sizes:
        table.add_column(f"{images.shape[3]} px", justify="right")
        table.add_column("ns", justify="right")
    table.add_column("growth", justify="right")
    for name, corruption in CORRUPTIONS.items():
        took = times(corruption, sizes, severity, repeats)
        pixels = [one * 1e6 / (images.shape[2] * images.shape[3]) for one, images in zip(took, sizes, strict=True)]
        cells = [cell for pair in zip(took, pixels, strict=True) for cell in (f"{pair[0]:.3f}", f"{pair[1]:.1f}")]
        table.add_row(name, *cells, f"{pixels[-1] / pixels[0]:.2f}")
    return table


def times(corruption: Corruption, batches: list[Images], severity: int, repeats: int) -> list[float]:
    """Ms per image of each batch, with ImageNet's constants."""
    level = corruption.params("224", severity)
    took = []
    for images in batches:
        draws = KeyedDraws(0, torch.arange(len(images)), corruption.name)
        took += interleaved([partial(corruption, images, draws, level)], repeats, len(images))
    return took


if __name__ == "__main__":
    main()
