"""Robench's own draws have the published distributions. Oracles: the package's own functions, and the published law."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import robench
from robench.datasets import decode_few, open_dataset, select
from robench.suites.geometry import Geometry
from robench.transforms.corruptions import CORRUPTIONS, IMAGECORRUPTIONS
from robench.transforms.corruptions.weather import plasma
from robench.transforms.draws import KeyedDraws
from robench.transforms.reference import keyed_state, package, reference_corrupt
from robench.types import Floats, Images

stats = pytest.importorskip("scipy.stats", reason="needs robench[reference]")
pytest.importorskip("cv2", reason="needs robench[reference]")

Statistic = Callable[[Tensor], Tensor]

COUNT = 200
RANDOM = [name for name, corruption in IMAGECORRUPTIONS.items() if corruption.random]
CHANCE = 1e-4
"""Smallest probability that is still called chance; every seed is fixed, so a test passes always or never."""


def alike(ours: Tensor, theirs: Tensor, *statistics: Statistic) -> bool:
    """Kolmogorov and Smirnov's test of statistics of each of many results, (b, ...) -> (b,)."""
    return all(stats.ks_2samp(one(ours).numpy(), one(theirs).numpy()).pvalue > CHANCE for one in statistics)


def picture() -> Images:
    """(1, 3, 32, 32): smooth, with an edge, and nowhere at the end of the scale."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    channels = [110 + 60 * torch.sin(rows / 5 + phase) * torch.cos(columns / 7) for phase in range(3)]
    image = torch.stack(channels)
    image[:, :, 20:] *= 0.6
    return image.to(torch.uint8)[None]


@pytest.mark.nightly
@pytest.mark.parametrize("severity", [1, 4])
@pytest.mark.parametrize("name", RANDOM)
def test_many_draws_of_one_picture_have_the_published_distribution(name: str, severity: int) -> None:
    """Kolmogorov and Smirnov's test of what 200 draws on either side do to the same picture."""
    images = picture().expand(COUNT, -1, -1, -1).contiguous()
    ours = robench.corrupt(images, name, severity, "imagecorruptions", seed=1, index=range(len(images))).double()
    theirs = reference_corrupt(images, name, severity, index=range(COUNT)).double()
    if (name, severity) == ("spatter", 1):  # Where no drop forms, the package divides 0 by 0 and returns black.
        theirs = theirs[theirs.flatten(1).amax(dim=1) > 0]
    assert alike(
        ours,
        theirs,
        lambda x: x.mean(dim=(1, 2, 3)),
        lambda x: (x - images[0]).abs().mean(dim=(1, 2, 3)),
        lambda x: x[:, :, :16, :16].mean(dim=(1, 2, 3)),
        lambda x: x[:, 0, 16:].mean(dim=(1, 2)),
    )


def test_clouds_have_the_published_distribution() -> None:
    """At the published size; means, extremes and neighbours of ours and the package's plasma."""
    ours = plasma(KeyedDraws(0, torch.arange(1000), "fog"), 64, 2.0).double()
    with package(keyed_state("clouds")) as published:
        function = published.corruptions.plasma_fractal
        theirs = torch.from_numpy(np.stack([function(mapsize=64, wibbledecay=2.0) for _ in range(1000)]))
    assert alike(
        ours,
        theirs,
        lambda cloud: cloud.mean(dim=(1, 2)),
        lambda cloud: cloud[:, 17, 40],
        lambda cloud: cloud.diff(dim=1).abs().mean(dim=(1, 2)),
        lambda cloud: cloud.std(dim=(1, 2)),
    )


def angles(corrupted: Tensor) -> Floats:
    """Direction of the line that a white dot became, degrees, by the moments of its light."""
    light = corrupted.double().mean(dim=1)
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in light.shape[1:])
    total = light.sum(dim=(1, 2))
    row = (light.sum(dim=2) * rows).sum(dim=1) / total
    column = (light.sum(dim=1) * columns).sum(dim=1) / total
    down, right = rows - row[:, None], columns - column[:, None]
    both = (light * down[:, :, None] * right[:, None, :]).sum(dim=(1, 2))
    apart = (light * right[:, None, :] ** 2).sum(dim=(1, 2)) - (light * down[:, :, None] ** 2).sum(dim=(1, 2))
    found: Floats = torch.rad2deg(torch.atan2(2 * both, apart) / 2).numpy()
    return found


@pytest.mark.parametrize(
    "suite",
    ["imagenet-c", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("imagenet-c-299", "imagecorruptions"))],
)
def test_motion_has_every_direction(suite: str) -> None:
    """Angles are uniform from -45 to 45 degrees. (At 32 and 64 pixels lines are short, and their moments snap to the grid.)"""
    dots = torch.zeros((2000, 3, 65, 65), dtype=torch.uint8)
    dots[:, :, 31:34, 31:34] = 255
    found = angles(robench.corrupt(dots, "motion_blur", 5, suite, seed=0, index=range(len(dots))))
    assert stats.kstest(found, stats.uniform(-45, 90).cdf).pvalue > CHANCE


def test_frost_has_every_crop() -> None:
    """A black picture shows the photograph's crop; a slope in it would show where that was taken."""
    black = torch.zeros((COUNT, 3, 32, 32), dtype=torch.uint8)
    ours = robench.corrupt(black, "frost", 3, "imagecorruptions", seed=0, index=range(len(black))).double()
    theirs = reference_corrupt(black, "frost", 3, index=range(COUNT)).double()
    assert alike(ours, theirs, lambda x: x.mean(dim=(1, 2, 3)), lambda x: x[:, 0, 5, 5], lambda x: x.std(dim=(1, 2, 3)))
    draws = KeyedDraws(0, torch.arange(1000), "frost")
    high = torch.full((1000,), 977)
    assert (
        stats.kstest(draws.integers("top", 0, high, (1,)).flatten().numpy(), stats.uniform(0, 977).cdf).pvalue > CHANCE
    )


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_channels_of_many_pictures_have_the_published_statistics(name: str, shared: Path) -> None:
    """Mean and standard deviation of every channel over 200 pictures, within 1 % or four standard deviations of a seed."""
    images = open_dataset(shared / "data/cifar10")
    positions = select(images, limit=COUNT)
    clean = torch.from_numpy(decode_few(images, positions, Geometry(resize=(32, 32))))
    for severity in (1, 3, 5):
        theirs = np.stack(
            [
                channels(reference_corrupt(clean, name, severity, index=positions.tolist(), seed=seed))
                for seed in range(4 if IMAGECORRUPTIONS[name].random else 1)
            ]
        )
        if (name, severity) == ("spatter", 1):
            continue  # The package's black pictures: see test_pixel_statistics.
        ours = np.stack(
            [
                channels(robench.corrupt(clean, name, severity, "imagecorruptions", seed=seed, index=positions))
                for seed in range(len(theirs))
            ]
        )
        spread = theirs.std(axis=0, ddof=1) if len(theirs) > 1 else np.zeros(6)
        allowed = np.maximum(0.01 * theirs.mean(axis=0), 4 * spread)
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= allowed).all()


def channels(corrupted: Images) -> Floats:
    """(6,) mean and standard deviation of each channel."""
    values = corrupted.double().permute(1, 0, 2, 3).flatten(1)
    found: Floats = torch.cat([values.mean(dim=1), values.std(dim=1)]).numpy()
    return found


def test_the_moments_find_a_direction() -> None:
    for degrees in (-40, -10, 0, 25, 44):
        line = torch.zeros((1, 1, 65, 65))
        for step in np.linspace(-20, 20, 400):
            row, column = 32 + step * math.sin(math.radians(degrees)), 32 + step * math.cos(math.radians(degrees))
            line[0, 0, round(row), round(column)] = 1
        assert angles(line).item() == pytest.approx(degrees, abs=2)
