"""Networks of one channel and of many, against the run in RGB and against torch by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

import robench
from robench.errors import OptionError
from robench.runs.directory import RunDirectory
from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.draws import KeyedDraws
from tests.builders import each, tiny_dataset

RGB_ONLY = {"snow", "frost", "fog", "brightness", "jpeg_compression", "spatter", "saturate"}


class Levels(nn.Module):
    """Whole grey levels, of which a convolution of few bits is exact in any order of its sums."""

    def forward(self, images: Tensor) -> Tensor:
        return (images * 255).round()


def network(channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    ).eval()


def bands_of(data: Path, out: Path) -> Path:
    """Write 13 bands of each image: noise, and red, green and blue as the bands 3, 2 and 1, 16 bits each."""
    rng = np.random.default_rng(0)
    for path in sorted(data.rglob("*.png")):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        cube = rng.integers(0, 256, (*rgb.shape[:2], 13)).astype(np.uint16)
        cube[:, :, [3, 2, 1]] = rgb
        target = out / path.relative_to(data).with_suffix(".tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, cube, photometric="minisblack", planarconfig="contig")
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("channels") / "data")


def as_function(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function has no trial of other inputs, which takes two seconds."""
    return lambda images: module(images)


def test_13_bands_with_an_embedded_rgb_network_equal_the_rgb_run(data: Path, tmp_path: Path) -> None:
    """Clean images, and corruptions whose draws all channels share, byte for byte."""
    rgb, wide = network(3), network(13)
    wide.load_state_dict(rgb.state_dict() | {"0.weight": torch.zeros(8, 13, 5, 5)})
    first, embedded = (next(module.parameters()) for module in (rgb, wide))
    with torch.no_grad():
        first.copy_((first * 256).round() / 256)
        embedded[:, [3, 2, 1]] = first
    options: dict[str, Any] = {
        "corruption": ["defocus_blur", "contrast", "pixelate", "elastic_transform", "zoom_blur"],
        "severity": [3],
    }
    runs = [
        robench.evaluate(
            as_function(nn.Sequential(Levels(), module)), images, "cifar-c", tmp_path / name, mean=[0.0] * channels,
            std=[1.0] * channels,
            size=32, data_range=(0, 255), label="net", progress=False, **options,
        )
        for name, module, images, channels in (
            ("rgb", rgb, data, 3), ("wide", wide, bands_of(data, tmp_path / "bands"), 13)
        )
    ]  # fmt: skip
    for condition in runs[0].directory.conditions:
        records = [run.directory.records_path(condition.name).read_bytes() for run in runs]
        assert records[0] == records[1], condition.name
    protocols = [run.directory.conditions[0].protocol for run in runs]
    assert "+13bands+range0to255+" in protocols[1]
    assert "+range0to255+" in protocols[0]


def test_a_grey_network_equals_torch_by_hand(tmp_path: Path) -> None:
    """Images of mode L, as MNIST's, and the same in RGB, which become grey again with a note."""
    rng, module = np.random.default_rng(1), network(1)
    grey = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    for number, image in enumerate(grey):
        for kind in ("L", "RGB"):
            file = tmp_path / kind / "abc"[number % 3] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).convert(kind).save(file)
    order = [0, 3, 1, 4, 2, 5]
    with torch.no_grad():
        logits = module((torch.tensor(grey[order])[:, None] / 255 - 0.1307) / 0.3081)
    for kind in ("L", "RGB"):
        run = robench.evaluate(
            as_function(module), tmp_path / kind, "clean", tmp_path / f"run-{kind}", size=28, mean=[0.1307], std=[0.3081],
            progress=False,
        )  # fmt: skip
        records = RunDirectory.open(run.path).read_records("clean-28px")
        assert records["pred"].tolist() == logits.argmax(1).tolist()
        np.testing.assert_allclose(records["confidence"], logits.softmax(1).amax(1), atol=1e-6)
        notes = [note for note in run.directory.manifest["notes"] if "become grey" in note]
        assert len(notes) == (kind == "RGB")


def test_rgb_corruptions_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    def evaluate(out: str, **options: Any) -> robench.Run:
        return robench.evaluate(
            as_function(network(1)), data, ["cifar-c", "noise", "occlusion", "shift", "scale", "resolution"],
            tmp_path / out, size=32, mean=[0.5], std=[0.5], limit=3, progress=False, severity=3, **options,
        )  # fmt: skip

    with pytest.raises(OptionError, match="snow, fog of cifar-c are defined on RGB images alone"):
        evaluate("refused", corruption=["snow", "fog", "contrast", "rectangle", "gaussian", "crop", "scale", "network"])
    assert not (tmp_path / "refused").exists()
    run = evaluate("whole", extra_corruptions=True)
    present = {entry.corruption for entry in run.directory.conditions if entry.suite == "cifar-c"}
    assert present == CORRUPTIONS.keys() - RGB_ONLY
    (note,) = [note for note in run.directory.manifest["notes"] if "left out" in note]
    assert set(note.split("left out ")[1].split(", which")[0].split(", ")) == RGB_ONLY


@each("name", sorted(CORRUPTIONS.keys() - RGB_ONLY))
def test_each_band_is_corrupted_alone(name: str) -> None:
    """Three of five bands get the pixels of an RGB image of these bands, unless each channel has draws of its own."""
    images = torch.randint(0, 256, (2, 5, 36, 44), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    corruption = CORRUPTIONS[name]
    params = corruption.params("32", 3)

    def corrupt(pixels: Tensor) -> Tensor:
        return corruption(pixels, KeyedDraws(0, torch.arange(2), name), params)

    wide = corrupt(images)
    assert wide.shape == images.shape
    if not name.endswith("_noise"):
        assert torch.equal(wide[:, :3], corrupt(images[:, :3]))
        assert torch.equal(wide[:, 2:], corrupt(images[:, 2:]))
    else:
        assert all((wide[:, band] != images[:, band]).any() for band in range(5))


@each("name", sorted(RGB_ONLY))
def test_other_corruptions_take_rgb_alone(name: str) -> None:
    corruption = CORRUPTIONS[name]
    with pytest.raises(OptionError, match=f"{name} takes"):
        corruption(
            torch.zeros((1, 4, 32, 32), dtype=torch.uint8),
            KeyedDraws(0, torch.arange(1), name),
            corruption.params("32", 1),
        )


@each(
    "channels, options, match",
    [
        (13, {"mean": [0.5] * 3, "std": [0.5] * 3}, "--mean has 3 values, but .* takes 13 channels"),
        (3, {"mean": [0.5], "std": [0.5]}, "--mean has 1 value, but .* takes 3 channels"),
        (3, {"mean": [0.5] * 3, "std": [0.5] * 2}, "mean has 3 values, but std has 2"),
        (1, {"mean": [0.5]}, "--mean has 1 value, and .* states a std of 3"),
        (1, {"mean": [0.5], "std": [0.5], "channels": "bgr"}, "--channels bgr needs a model of 3 channels"),
        (1, {"mean": [0.5], "std": [0.5], "data_range": [5, 5]}, "--data-range 5,5 is no range"),
        (1, {"mean": [0.5], "std": [0.5], "data_range": [5]}, "--data-range must be two numbers"),
    ],
)
def test_a_wrong_number_of_channels_is_named(channels: int, options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        robench.load_classifier(network(channels), size=32, **options)


def test_channels_come_from_the_first_layer() -> None:
    classifier = robench.load_classifier(network(13), size=32)
    assert classifier.preprocessing.mean == (0.0,) * 13
    assert any("takes 13 channels and states no mean and std" in note for note in classifier.notes)
