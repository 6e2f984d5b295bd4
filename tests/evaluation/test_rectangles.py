"""Networks whose input is a rectangle, against torchvision and torch by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import robench
from robench.arguments import size_of
from robench.errors import OptionError
from robench.runs.directory import RunDirectory
from tests.builders import each, tiny_dataset

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class SpatialPyramid(nn.Module):
    """SPP-net: maps of any size become 1 + 4 + 16 averages of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.head = nn.Linear(6 * 21, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x).relu()
        pooled = torch.cat([nn.functional.adaptive_avg_pool2d(maps, n).flatten(1) for n in (1, 2, 4)], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


class FullyConvolutional(nn.Module):
    """The mean of a map of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(6, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x).mean((2, 3))
        return logits


def seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("rectangles") / "data")


def by_hand(network: nn.Module, data: Path, size: tuple[int, int], crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the classes and their probabilities of every sixth image, resized to `size` and cropped."""
    by_torchvision = transforms.Compose(
        [transforms.Resize(size), transforms.CenterCrop(crop), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    images = torch.stack([by_torchvision(Image.open(path)) for path in sorted(data.rglob("*.png"))[::6]])
    with torch.no_grad():
        best = network(images).softmax(1).max(1)
    return best.indices, best.values


@each("kind", (SpatialPyramid, FullyConvolutional))
def test_a_rectangle_equals_torch_by_hand(kind: type[nn.Module], data: Path, tmp_path: Path) -> None:
    network = seeded(kind)
    run = robench.evaluate(  # A function, because a module would first be tried with other inputs.
        lambda images: network(images), data, ["resolution"], tmp_path, size="224x320", mean=MEAN, std=STD,
        corruption="network", resolution=[112, 224], limit=5, progress=False,
    )  # fmt: skip
    for name, size, crop in (
        ("clean-224x320px", (256, 365), (224, 320)),
        ("resolution-network-1-112x160px", (128, 183), (112, 160)),
        ("resolution-network-1-224x320px", (256, 366), (224, 320)),
    ):
        records = RunDirectory.open(run.path).read_records(name)
        pred, confidence = by_hand(network, data, size, crop)
        assert records["pred"].tolist() == pred.tolist()
        np.testing.assert_allclose(records["confidence"], confidence, atol=2e-6)
    costs = run.results[run.results["metric"] == "gflops"].set_index("resolution")["value"]
    assert costs[224] == pytest.approx(4 * costs[112], rel=0.01)  # All convolutions; the pyramid's head is small.


@each(
    "suite, options, match",
    [
        ("cifar-c", {}, "cifar-c has square images of 32 px, but the model takes 40x64"),
        ("imagenet-p", {"geometry": "model"}, "imagenet-p has square images of 224 px"),
    ],
)
def test_a_square_protocol_is_refused(
    suite: str, options: dict[str, Any], match: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=match):
        robench.evaluate(seeded(FullyConvolutional), data, suite, tmp_path / "run", crop=(40, 64), **options)
    assert not (tmp_path / "run").exists()


def test_corruptions_and_sweeps_act_on_rectangles(data: Path, tmp_path: Path) -> None:
    """A corrupted rectangle has the pixels of `robench.corrupt`; a covered share is that of the whole rectangle."""
    shapes: set[tuple[int, ...]] = set()

    def function(images: Tensor) -> Tensor:
        shapes.add(tuple(images.shape[2:]))
        return torch.stack([images.mean((1, 2, 3)), images[:, 0].mean((1, 2)), -images.mean((1, 2, 3))], dim=1)

    run = robench.evaluate(
        function, data, ["cifar-c", "occlusion", "shift", "scale", "noise"], tmp_path, size=(40, 64), mean=[0] * 3,
        std=[1] * 3, geometry="model", limit=3, severity=3, progress=False,
        corruption=["fog", "frost", "glass_blur", "rectangle", "grid", "crop", "circular", "map", "scale", "gaussian"],
    )  # fmt: skip
    assert shapes == {(40, 64)}
    records = RunDirectory.open(run.path).read_records("occlusion-grid-1-40x64px")
    assert set(records["axis_value"]) == {0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}


@each("text, expected", [("224", 224), ("224x320", (224, 320)), (" 32x32 ", (32, 32)), ((8, 9), (8, 9)), (7, 7)])
def test_sizes_are_read(text: object, expected: object) -> None:
    assert size_of("--crop", text) == expected


@each(
    "text", ["", "x", "224x", "x320", "1x2x3", "-3", "2.5", "224X320", "²", "9" * 30, True, None, (1, 2, 3), (1.5, 2)]
)
def test_another_size_is_refused(text: object) -> None:
    with pytest.raises(OptionError, match="--crop must be a whole number of pixels, or HEIGHTxWIDTH"):
        size_of("--crop", text)
