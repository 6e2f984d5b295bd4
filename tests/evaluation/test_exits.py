"""Networks with several exits or widths, against brute force on the records and against torch by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import robench
from robench.analysis.metrics.intervals import split_half
from robench.analysis.report.exits import exit_groups
from robench.errors import CheckpointError, OptionError
from robench.runs.directory import RunDirectory
from robench.types import Ints
from tests.builders import each, tiny_dataset

MEAN, STD = (0.5,) * 3, (0.25,) * 3


class ThreeExits(nn.Module):
    """A list of logits after one, two and three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(before, 6, 3, stride=2, bias=False) for before in (3, 6, 6))
        self.heads = nn.ModuleList(nn.Linear(6, 3, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x).relu()
            logits.append(8 * head(x.mean((2, 3))))
        return logits


class SlicedNorm(nn.BatchNorm2d):
    """The first channels of one BatchNorm, as universally slimmable networks have it."""

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        mean, var = self.running_mean[:count], self.running_var[:count]
        return functional.batch_norm(x, mean, var, self.weight[:count], self.bias[:count], False, 0.0, self.eps)


class TwoWidths(nn.Module):
    """Half or all of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, float | None] = {"0.5x": None, "1.0x": None}
        self.setting = "1.0x"
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 5, stride=3, bias=False), SlicedNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        count = 4 if self.setting == "0.5x" else 8
        x = self.norm(functional.conv2d(x, self.conv.weight[:count], stride=3)).relu().mean((2, 3))
        return 8 * functional.linear(x, self.head.weight[:, :count], self.head.bias)


N = TypeVar("N", bound=nn.Module)


def seeded(kind: type[N]) -> N:
    torch.manual_seed(3)
    return kind().eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("exits") / "data")


@pytest.fixture(scope="module")
def pixels(data: Path) -> Tensor:
    """All images as the networks take them."""
    images = [
        np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)) for path in sorted(data.rglob("*.png"))
    ]
    return (torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25


def values(results: pd.DataFrame, metric: str, corruption: str, key: str) -> dict[object, float]:
    rows = results[
        (results["suite"] == "exits") & (results["metric"] == metric) & (results["corruption"] == corruption)
    ]
    return dict(zip(rows[key], rows["value"], strict=True))


def budgeted(
    confidence: NDArray[np.float32], right: NDArray[np.bool_], cost: list[float], halves: Sequence[Ints], p: float
) -> list[tuple[float, float]]:
    """The published loop of MSDNet: thresholds on one half, then accuracy and operations of each image of the other."""
    (calibration, test), exits = halves, len(cost)
    shares = [p**k for k in range(1, exits + 1)]
    shares = [share / sum(shares) for share in shares]
    thresholds: list[float] = []
    gone: set[int] = set()
    for k in range(exits - 1):
        order = sorted(calibration, key=lambda i: -confidence[k, i])
        waiting = [i for i in order if i not in gone]
        wanted = math.floor(len(calibration) * shares[k])
        thresholds.append(confidence[k, waiting[wanted - 1]] if 0 < wanted <= len(waiting) else math.inf)
        gone |= {i for i in calibration if confidence[k, i] >= thresholds[k]}
    thresholds.append(-math.inf)
    found = []
    for i in test:
        k = next(k for k in range(exits) if confidence[k, i] >= thresholds[k])
        found.append((float(right[k, i]), cost[k]))
    return found


def test_three_exits(data: Path, pixels: Tensor, tmp_path: Path) -> None:
    network = seeded(ThreeExits)
    run = robench.evaluate(
        lambda images: network(images), data, ["exits", "cifar-c"], tmp_path, size=32, mean=MEAN, std=STD,
        corruption="fog", severity=3, batch_size=7, progress=False,
    )  # fmt: skip
    directory, results = RunDirectory.open(run.path), run.results
    with torch.no_grad():
        by_hand = torch.stack(network(pixels))
    clean = directory.read_records("exits-clean-0-32px")
    assert clean["pred"].tolist() == by_hand.argmax(2).flatten().tolist()
    np.testing.assert_allclose(clean["confidence"], by_hand.softmax(2).amax(2).flatten(), atol=1e-5)
    # A convolution: 2 x 9 x channels before x 6 x pixels after; a head: 2 x 6 x 3.
    convolutions = [2 * 9 * before * 6 * side**2 for before, side in ((3, 15), (6, 7), (6, 3))]
    cost = [(sum(convolutions[: k + 1]) + 36) / 1e9 for k in range(3)]
    names = ["exit 1", "exit 2", "exit 3"]
    assert values(results, "gflops", "clean", "method") == pytest.approx(dict(zip(names, cost, strict=True)))
    # The corrupted images are those of cifar-c, whose run takes the first exit.
    foggy = directory.read_records("exits-fog-3-32px")
    first = foggy[foggy["frame"] == 0]
    assert first["confidence"].tolist() == directory.read_records("cifar-c-fog-3-32px")["confidence"].tolist()
    half = split_half(np.arange(30), 0)
    for corruption, records in (("clean", clean), ("fog", foggy)):
        confidence = records["confidence"].to_numpy().reshape(3, 30)
        right = (records["pred"] == records["label"]).to_numpy().reshape(3, 30)
        accuracy = values(results, "accuracy", corruption, "method")
        assert accuracy == pytest.approx(dict(zip(names, right.mean(axis=1), strict=True)))
        halves = np.flatnonzero(half), np.flatnonzero(~half)
        points = {
            round(p / 20, 2): np.mean(
                [*budgeted(confidence, right, cost, halves, p / 20), *budgeted(confidence, right, cost, halves[::-1], p / 20)],
                axis=0,
            )
            for p in range(1, 40)
        }  # fmt: skip
        for metric, column in (("budgeted_accuracy", 0), ("budgeted_gflops", 1)):
            found = {
                round(float(str(p)), 2): value for p, value in values(results, metric, corruption, "axis_value").items()
            }
            assert found == pytest.approx({p: point[column] for p, point in points.items()})
        best = values(results, "best_accuracy", corruption, "axis_value")
        assert best == pytest.approx(dict(zip(cost, np.maximum.accumulate(right.mean(axis=1)), strict=True)))
    charted(results)


def charted(results: pd.DataFrame) -> None:
    """The section of the report has a chart for each condition: three exits and 39 budgeted batches, and the best exits."""
    (group,) = exit_groups("exits", results, pd.DataFrame(), ["model"])
    assert [chart.title for chart in group.charts] == ["Clean", "Fog, severity 3"]
    assert [len(chart.rows) for chart in group.charts] == [3 + 39, 3 + 39]
    assert group.below is not None
    assert [row[:3:2] for row in group.below.rows][:1] == [["Clean", "exit 1"]]
    assert len(group.below.rows) == 6


def test_two_widths_with_statistics_of_each(data: Path, pixels: Tensor, tmp_path: Path) -> None:
    """The oracle of the statistics is torch's: mean and biased variance of all maps of the calibration images."""
    network = seeded(TwoWidths)
    run = robench.evaluate(
        network, data, "exits", tmp_path, size=32, mean=MEAN, std=STD, progress=False,
        treatment="bn-resolution:M=30", calibration=data,
    )  # fmt: skip
    records = RunDirectory.open(run.path).read_records("exits-clean-0-32px")
    assert network.setting == "1.0x"
    accuracy = values(run.results, "accuracy", "clean", "method")
    for frame, (name, count) in enumerate((("0.5x", 4), ("1.0x", 8))):
        with torch.no_grad():
            maps = functional.conv2d(pixels, network.conv.weight[:count], stride=3)
            norm = functional.batch_norm(
                maps, None, None, network.norm.weight[:count], network.norm.bias[:count], True, 0.0, 1e-5
            )
            pooled = norm.relu().mean((2, 3))
            logits = 8 * functional.linear(pooled, network.head.weight[:, :count], network.head.bias)
        own = records[records["frame"] == frame]
        assert own["pred"].tolist() == logits.argmax(1).tolist()
        np.testing.assert_allclose(own["confidence"], logits.softmax(1).amax(1), atol=1e-5)
        assert accuracy[name] == pytest.approx((own["pred"] == own["label"]).mean())
    costs = values(run.results, "gflops", "clean", "method")
    assert costs == pytest.approx({"0.5x": (2 * 75 * 4 * 100 + 24) / 1e9, "1.0x": (2 * 75 * 8 * 100 + 48) / 1e9})


@each(
    "change, kind, match",
    [
        (lambda network: None, CheckpointError, "settings is no mapping from names to GFLOPs"),
        (lambda network: setattr(network, "settings", {"=1": None}), OptionError, "would run as a formula"),
        (lambda network: setattr(network, "settings", None), OptionError, "has one output and no settings, so it has no exits"),
    ],
)  # fmt: skip
def test_networks_without_exits(change: object, kind: type[Exception], match: str, data: Path, tmp_path: Path) -> None:
    network = seeded(TwoWidths)
    network.settings = {"a": -1.0}
    assert callable(change)
    change(network)
    with pytest.raises(kind, match=match):
        robench.evaluate(network, data, "exits", tmp_path / "run", size=32, mean=MEAN, std=STD, progress=False)
    assert not (tmp_path / "run").exists()
