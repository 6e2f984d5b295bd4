"""Errors of real checkpoints on robench's corruptions against the reference's errors on the same images (nightly)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.datasets import decode, hash_images, open_dataset, select
from robench.evaluation.loop import evaluate_condition
from robench.evaluation.samples import Samples
from robench.models import Classifier, load_classifier
from robench.suites import Condition, find_suite
from robench.suites.c_bar import CIFAR_C_BAR
from robench.suites.geometry import Geometry
from robench.transforms.corruptions import BUILT_IN
from robench.types import Ints

DETERMINISTIC = {name for name, corruption in BUILT_IN.items() if not corruption.random}
"""No draws: both implementations must agree but for ties."""


def errors(
    classifier: Classifier, data: Path, positions: Ints, suite: str, cells: Sequence[tuple[str, int]], seeds: int
) -> pd.DataFrame:
    """Mean top-1 error over seeds of the cells, and of the clean images; columns corruption, severity, error."""
    images, chosen = open_dataset(data), find_suite(suite)
    geometry = chosen.geometry or Geometry(resize=256, crop=224)
    decoded = decode(images, hash_images(images, positions), geometry, skip=False)
    samples = Samples(decoded.images, np.arange(len(positions)), positions, images.labels[positions])
    rows = []
    for corruption, severity in [("clean", 0), *cells]:
        condition = Condition(suite, corruption, severity, geometry, chosen.constants)
        wrong = []
        for seed in range(1 if corruption in {*DETERMINISTIC, "clean"} else seeds):
            records = evaluate_condition(classifier, samples, condition, seed=seed, batch_size=50)
            wrong.append(float((records["pred"] != records["label"]).mean()))
        rows.append((corruption, severity, float(np.mean(wrong))))
    return pd.DataFrame(rows, columns=["corruption", "severity", "error"])


def compare(ours: pd.DataFrame, reference: Path) -> pd.Series:
    """Ours minus the reference's mean over its seeds, in points, by (corruption, severity)."""
    theirs = pd.read_csv(reference).groupby(["corruption", "severity"])["top1_error"].mean()
    mine = ours.set_index(["corruption", "severity"])["error"]
    return 100 * (mine - theirs.loc[mine.index])


def report(difference: pd.Series) -> str:
    table = difference.unstack("severity").round(2).to_string()
    absolute = difference.abs()
    return f"{table}\nmean absolute {absolute.mean():.2f}, signed {difference.mean():.2f}, worst {absolute.max():.2f} points"


@pytest.mark.nightly(minutes=3)
@pytest.mark.parametrize(("depth", "severities", "seeds", "worst"), [(20, (1, 2, 3, 4, 5), 5, 4), (56, (1, 5), 2, 5)])
def test_cifar_resnet(
    depth: int,
    severities: tuple[int, ...],
    seeds: int,
    worst: float,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = shared / f"data/checkpoints/cifar10_resnet{depth}.th"
    classifier = load_classifier(checkpoint, f"zoo:cifar_resnet{depth}", device="cpu")
    data = shared / "data/cifar10"
    positions = select(open_dataset(data), per_class=50)
    cells = find_suite("cifar-c").select(severities=severities, extra=True)
    ours = errors(classifier, data, positions, "cifar-c", cells, seeds=seeds)
    difference = compare(ours, shared / f"reference/ref_cifar10c_resnet{depth}.csv")
    with capsys.disabled():
        print(f"\nResNet-{depth} on cifar-c, ours minus reference:\n{report(difference)}")
    assert difference.loc[("clean", 0)] == 0
    assert difference.abs().max() <= worst
    assert difference.abs().mean() <= 0.7
    assert abs(difference.mean()) <= 0.4
    assert (
        difference[[name in DETERMINISTIC for name, _ in difference.index]].abs().max() < 0.6001
    )  # three images in 500


@pytest.mark.nightly
def test_cifar_resnet_on_c_bar(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds of the reference differ by up to 8.5 points in a cell of these 200 images, and by 0.45 in the mean of all."""
    classifier = load_classifier(shared / "data/checkpoints/cifar10_resnet20.th", "zoo:cifar_resnet20", device="cpu")
    positions = select(open_dataset(shared / "data/cifar10"), per_class=20)
    ours = errors(classifier, shared / "data/cifar10", positions, "cifar-c-bar", CIFAR_C_BAR.select(), seeds=1)
    difference = compare(ours, shared / "reference/ref_cifar10cbar_resnet20.csv")
    with capsys.disabled():
        print(f"\nResNet-20 on cifar-c-bar, ours minus reference:\n{report(difference)}")
    assert difference.loc[("clean", 0)] == 0
    cells = difference.drop(("clean", 0))
    assert len(cells) == 50
    assert abs(cells.mean()) <= 1
    assert cells.abs().mean() <= 3.5
    assert difference["circular_motion_blur"].abs().max() <= 0.5


@pytest.mark.nightly(minutes=4)
@pytest.mark.parametrize(
    ("suite", "file", "mean"),
    [
        ("imagecorruptions", "ref_imagenetc_squeezenet1_0.csv", 0.7),
        ("imagenet-c-bar", "ref_imagenetcbar_squeezenet1_0.csv", 1),
    ],
)
def test_squeezenet(suite: str, file: str, mean: float, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every corruption at one severity of three, in turn: all cells of one severity take ten minutes."""
    classifier = load_classifier(
        shared / "data/checkpoints/squeezenet1_0_imagenet.pth", "torchvision:squeezenet1_0", device="cpu"
    )
    data = shared / "data/imagenet"
    images = open_dataset(data)
    positions = np.array([k for k in range(len(images)) if images.labels[k] % 10 in (0, 3, 6)])
    names = dict.fromkeys(name for name, _ in find_suite(suite).select(extra=True))
    cells = list(zip(names, cycle((1, 3, 5)), strict=False))
    ours = errors(classifier, data, positions, suite, cells, seeds=2)
    difference = compare(ours, shared / "reference" / file)
    with capsys.disabled():
        print(f"\nSqueezeNet on {suite}, ours minus reference:\n{report(difference)}")
    assert difference.abs().max() <= 5
    assert abs(difference.mean()) <= mean
