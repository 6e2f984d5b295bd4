"""Time every corruption of C-bar and of 3DCC's part, with the given times of the published implementation.

    python benchmarks/c_bar.py [--images FOLDER] [--severity 3] [--repeats 5]

Prints processor time in ms per image on one thread, the best of the repeats. The published code needs Python 3.8 and libraries of its
time, so its times were measured elsewhere, also on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from common import geometric, hardware, load, threads
from rich.console import Console
from rich.table import Table

from robench.suites.c_bar import CIFAR_C_BAR, IMAGENET_3DCC_2D, IMAGENET_C_BAR
from robench.transforms.corruptions import find_corruption
from robench.transforms.draws import KeyedDraws

REFERENCE = {
    "caustic_refraction": (6762, 164),
    "inverse_sparkles": (929, 19),
    "sparkles": (5129, 105),
    "perlin_noise": (2253, 51),
    "blue_noise_sample": (203, 4.8),
    "plasma_noise": (1957, 40),
    "checkerboard_cutout": (216, 4.7),
    "cocentric_sine_waves": (230, 4.8),
    "single_frequency_greyscale": (77, 1.6),
    "brownish_noise": (681, 15),
    "pinch_and_twirl": (1459, 27),
    "ripple": (811, 16),
    "circular_motion_blur": (197, 5.2),
    "lines": (22, 0.5),
    "transverse_chromatic_abberation": (7.9, 0.2),
}
"""Milliseconds an image at 224 and 32 pixels: facebookresearch/augmentation-corruption ba4d5a5 in its pinned libraries."""

BATCH = {224: 8, 32: 256}


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of class folders; default: smooth synthetic images")
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    threads(1)
    console = Console(width=110)
    console.print(hardware(1), soft_wrap=True)
    for suite in (IMAGENET_C_BAR, CIFAR_C_BAR, IMAGENET_3DCC_2D):
        assert suite.geometry is not None
        side = suite.geometry.side
        images = load(options.images, side, BATCH[side])
        table = Table(title=f"{suite.name}, severity {options.severity}: ms per image", title_justify="left")
        for column in ("corruption", "reference", "ours", "ratio"):
            table.add_column(column, justify="left" if column == "corruption" else "right")
        ratios = []
        for name in suite.corruptions:
            corruption, draws = find_corruption(name, suite.constants), KeyedDraws(0, torch.arange(len(images)), name)
            level, took = corruption.params(suite.constants, options.severity), []
            for _ in range(options.repeats + 1):
                begun = time.process_time()
                corruption(images, draws, level)
                took.append(1000 * (time.process_time() - begun) / len(images))
            ours, theirs = min(took[1:]), REFERENCE.get(name, (None, None))[side == 32]
            if theirs is not None:
                ratios.append(theirs / ours)
            table.add_row(
                name,
                *(("", f"{ours:.3f}", "") if theirs is None else (str(theirs), f"{ours:.3f}", f"{theirs / ours:.1f}")),
            )
        if ratios:
            table.add_row("geometric mean", "", "", f"{geometric(ratios):.1f}")
        console.print(table)


if __name__ == "__main__":
    main()
