"""Pixel by pixel against the published code's outputs, with its own draws injected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.corruptions import CORRUPTIONS
from robench.corruptions.jpeg import jpeg_round_trip_library, jpeg_round_trip_tensors
from robench.images import to_float
from robench.suites import SUITES

FILES = {"imagenet-c": "224", "imagenet-c-299": "299", "tiny-imagenet-c": "64", "cifar10-c": "32"}
ORDER = (*SUITES["imagenet-c"].corruptions, *SUITES["imagenet-c"].extra)
EQUAL = ("jpeg_compression", "pixelate")
CASES = [(file, name, severity) for file in FILES for name in ORDER if name in CORRUPTIONS for severity in range(1, 6)]


@dataclass(frozen=True)
class ReferenceDraws:
    """The reference's own stream for one image: NumPy's frozen legacy generator, in its call order, height first."""

    state: np.random.RandomState

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        channels, height, width = shape
        return self._first(self.state.normal(size=(height, width, channels)))

    def poisson(self, name: str, rates: tuple[float, ...], row: Tensor) -> Tensor:
        rate = np.asarray(rates)[row[0].permute(1, 2, 0).numpy()]
        return self._first(self.state.poisson(rate))

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        raise AssertionError("the nine corruptions draw no uniform values in the reference's order")

    def int16(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.uniform(name, shape)

    def integers(self, name: str, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        return self.uniform(name, shape)

    def rows(self, chosen: slice) -> ReferenceDraws:
        return self

    @staticmethod
    def _first(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None].float()


@lru_cache(maxsize=1)
def load(path: Path) -> dict[str, NDArray[np.uint8]]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def batch(array: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(("file", "name", "severity"), CASES)
def test_pixels(golden: Path, file: str, name: str, severity: int) -> None:
    path = golden / f"{file}.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    arrays = load(path)
    if f"{name}/{severity}" not in arrays:
        pytest.skip(f"{file}.npz has no {name} at severity {severity}")
    images, expected = batch(arrays["inputs"]), batch(arrays[f"{name}/{severity}"])
    corruption = CORRUPTIONS[name]
    level = corruption.level(FILES[file], severity)
    for number, (image, target) in enumerate(zip(images, expected, strict=True)):
        seed = 100_000 * ORDER.index(name) + 1_000 * severity + number
        draws = ReferenceDraws(np.random.RandomState(seed))
        if name == "impulse_noise":
            check_impulses(image, target, float(level["amount"]))
            continue
        result = corruption(image[None], draws, level)[0]
        if name in EQUAL:
            assert torch.equal(result, target)
            continue
        assert (result.int() - target.int()).abs().max() <= 1
        value = corruption.kernel(to_float(image[None]), ReferenceDraws(np.random.RandomState(seed)), **level)[0]
        value = value.clamp(0, 1) * 255
        within = (value >= target - 0.002) & (value < target + 1.002)
        assert within.float().mean() >= 0.999


def check_impulses(image: Tensor, target: Tensor, amount: float) -> None:
    """The reference's stream is out of reach: its output and ours must both have the same shares of salt and pepper."""
    from robench.draws import KeyedDraws

    corruption = CORRUPTIONS["impulse_noise"]
    ours = corruption(image[None], KeyedDraws(0, torch.tensor([0]), "impulse_noise"), {"amount": amount})[0]
    for result in (ours, target):
        free = (image > 0) & (image < 255)
        changed = (result != image) & free
        assert ((result[changed] == 0) | (result[changed] == 255)).all(), "everything else is untouched"
        count = int(free.sum())
        for value in (0, 255):
            share = float(((result == value) & free).sum()) / count
            assert abs(share - amount / 2) <= 4 * (amount / 2 * (1 - amount / 2) / count) ** 0.5


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (299, 299), (101, 77), (33, 64)])
@pytest.mark.parametrize("quality", [1, 5, 7, 10, 25, 40, 50, 65, 80, 85, 95])
def test_jpeg_in_tensors_is_the_librarys(size: tuple[int, int], quality: int) -> None:
    generator = torch.Generator().manual_seed(quality)
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator)
    coarse = torch.rand((1, 3, 9, 8), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)
    images = torch.cat([noise, smooth])
    assert torch.equal(jpeg_round_trip_tensors(images, quality), jpeg_round_trip_library(images, quality))
