"""Oracle: statistics of the reference's corrupted pixels over hundreds of images, by cell and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import robench
from robench.datasets import decode, hash_images, open_dataset, select
from robench.suites import find_suite
from robench.suites.geometry import Geometry
from robench.transforms.corruptions import BUILT_IN, CORRUPTIONS, find_corruption
from robench.types import Images, Ints
from tests.parity.published import published_draws

STATISTICS = ["mae", "rmse", "bias", "std_out"]
CIFAR = [
    ("cifar-c", "ref_cifar10c_pixelstats_dev.csv"),
    pytest.param("imagecorruptions", "ref_cifar10_icconst_pixelstats_dev.csv", marks=pytest.mark.nightly),
]
BLACK = ("imagecorruptions", "spatter", 1)
"""At 32 pixels the package divides 0 by 0 where no drop passes the threshold and turns such an image black; robench
leaves it as it is, as the package does a pixel without a drop."""
OTHER_STREAM = {
    ("cifar-c", "elastic_transform", 1),
    ("cifar-c", "elastic_transform", 2),
    ("cifar-c", "elastic_transform", 3),
}
"""The published code draws displacements of strength 0 too; a keyed draw that nobody looks at is not drawn."""


def statistics(before: Images, after: Images) -> NDArray[np.float64]:
    """Return the STATISTICS of corrupted images, in grey levels."""
    out = after.double()
    change = out - before
    return np.array(
        [change.abs().mean(), change.square().mean().sqrt(), change.mean(), out.std(correction=0)], dtype=np.float64
    )


def tolerance(name: str, value: float, spread: float) -> float:
    """Allowed difference of a statistic: 1 %, or 0.15 grey levels for the bias; or four standard deviations of a seed."""
    return max(0.15 if name == "bias" else 0.01 * abs(value), 4 * spread)


def check(images: Images, index: Ints, suite: str, reference: Path, seeds: int) -> None:
    """Compare means over seeds in every cell of a file; the spread is the larger of the two implementations' own.

    Three seeds of the reference can lie closer together than seeds do: those of fog 1 at 32 pixels are within 0.02 of each
    other, while thirty others, drawn by either generator, have a standard deviation of 0.16.
    """
    wrong = []
    for (corruption, severity), rows in pd.read_csv(reference).groupby(["corruption", "severity"]):
        if (suite, corruption, severity) == BLACK:
            continue
        ours = np.array(
            [
                statistics(images, robench.corrupt(images, corruption, severity, suite, seed=seed, index=index))
                for seed in range(seeds if BUILT_IN[corruption].random else 1)
            ]
        )
        theirs = rows[STATISTICS].to_numpy()
        spreads = [one.std(axis=0, ddof=1) if len(one) > 1 else np.zeros(4) for one in (ours, theirs)]
        for name, value, expected, spread in zip(
            STATISTICS, ours.mean(axis=0), theirs.mean(axis=0), np.maximum(*spreads), strict=True
        ):
            allowed = tolerance(name, expected, spread)
            if abs(value - expected) > allowed:
                wrong.append(f"{corruption} {severity} {name}: {value:.3f}, not {expected:.3f} +- {allowed:.3f}")
    assert not wrong, "\n".join(wrong)


def load(folder: Path, positions: Ints, geometry: Geometry) -> Images:
    images = open_dataset(folder)
    decoded = decode(images, hash_images(images, positions), geometry, skip=False)
    return torch.from_numpy(np.array(decoded.images.pixels))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("suite", "file", "per_class"),
    [
        ("cifar-c", "ref_cifar10c_pixelstats_dev.csv", 50),
        ("imagecorruptions", "ref_cifar10_icconst_pixelstats_dev.csv", 50),
        ("cifar-c-bar", "ref_cifar10cbar_pixelstats_dev.csv", 20),
    ],
)
def test_cifar_has_the_statistics_of_the_reference(suite: str, file: str, per_class: int, shared: Path) -> None:
    positions = select(open_dataset(shared / "data/cifar10"), per_class=per_class)
    images = load(shared / "data/cifar10", positions, Geometry(resize=(32, 32)))
    check(images, positions, suite, shared / "reference" / file, seeds=8)


@pytest.mark.nightly
@pytest.mark.parametrize(("suite", "file"), CIFAR)
def test_cifar_with_the_references_own_stream(suite: str, file: str, shared: Path) -> None:
    """Its seed and generator, one image after another, give the statistics of the file within a tenth of a grey level.

    Most agree in every digit. Saturation times 2 keeps integers integers, which truncation moves by one either way.
    """
    positions = select(open_dataset(shared / "data/cifar10"), per_class=50)
    images = load(shared / "data/cifar10", positions, Geometry(resize=(32, 32)))
    order, constants = list(CORRUPTIONS), find_suite(suite).constants
    wrong = []
    for row in pd.read_csv(shared / "reference" / file).itertuples():
        cell = (suite, row.corruption, row.severity)
        if row.seed or row.corruption == "impulse_noise" or cell == BLACK or cell in OTHER_STREAM:
            continue
        corruption = find_corruption(row.corruption, constants)
        draws = published_draws([100 * order.index(row.corruption) + row.severity])
        level = corruption.params(constants, row.severity)
        ours = statistics(images, torch.cat([corruption(image[None], draws, level) for image in images]))
        for name, value in zip(STATISTICS, ours, strict=True):
            if abs(value - getattr(row, name)) > 0.1:
                wrong.append(f"{row.corruption} {row.severity} {name}: {value:.4f}, not {getattr(row, name):.4f}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.nightly
@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize(
    ("suite", "file", "seeds"),
    [
        ("imagecorruptions", "ref_imagenetc_pixelstats.csv", 2),
        ("imagenet-c-bar", "ref_imagenetcbar_pixelstats.csv", 2),
    ],
)
def test_imagenet_has_the_statistics_of_the_reference(suite: str, file: str, seeds: int, shared: Path) -> None:
    classes = open_dataset(shared / "data/imagenet").labels
    positions = np.flatnonzero(np.isin(classes % 10, (0, 3, 6)))
    images = load(shared / "data/imagenet", positions, Geometry(resize=256, crop=224))
    check(images, positions, suite, shared / "reference" / file, seeds=seeds)
