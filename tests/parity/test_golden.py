"""Oracle: pixels that the published code made, with the very draws that it made them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robench.corruptions import CORRUPTIONS, PACKAGE, find_corruption
from robench.corruptions.jpeg import jpeg_round_trip_library, jpeg_round_trip_tensors
from robench.draws import Draws, KeyedDraws
from robench.images import to_float
from robench.suites.imagenet_c import CORRUPTIONS as PUBLISHED
from robench.suites.imagenet_c import EXTRA
from robench.types import Images

NAMES = (*PUBLISHED, *EXTRA)
FILES = {  # golden file: its constants, and the severities it has
    "imagenet-c": ("224", (1, 3, 5)),
    "imagenet-c-299": ("299", (1, 3, 5)),
    "tiny-imagenet-c": ("64", (1, 2, 3, 4, 5)),
    "cifar10-c": ("32", (1, 2, 3, 4, 5)),
    "imagecorruptions": ("package", (1, 3, 5)),
}
CELLS = [(file, severity) for file, (_, severities) in FILES.items() for severity in severities]
EQUAL = ("motion_blur", "frost", "pixelate", "jpeg_compression")
LOOSE = ("snow", "elastic_transform", "spatter")
CLOSE = tuple(name for name in NAMES if name not in (*EQUAL, *LOOSE, "impulse_noise"))
PACKAGED = ("motion_blur", "frost")
"""Equal in the published variants; the package's own are sums of floats, and OpenCV's, whose order ours is not."""


def pixels(golden: Path, file: str, key: str) -> Images:
    with np.load(golden / f"{file}.npz") as arrays:
        return torch.from_numpy(arrays[key]).permute(0, 3, 1, 2).contiguous()


def seeds(name: str, severity: int, count: int) -> list[int]:
    return [100_000 * NAMES.index(name) + 1000 * severity + position for position in range(count)]


def test_no_golden_cell_is_left_out(golden: Path) -> None:
    for file, (_, severities) in FILES.items():
        with np.load(golden / f"{file}.npz") as arrays:
            found = set(arrays.files) - {"inputs"}
        assert found == {f"{name}/{severity}" for name in NAMES for severity in severities}
    assert {*EQUAL, *LOOSE, *CLOSE, "impulse_noise"} == set(CORRUPTIONS) == set(PACKAGE)


Make = Callable[[Sequence[int]], Draws]


def golden_cell(name: str, file: str, severity: int, golden: Path, make: Make) -> tuple[Images, Images, Tensor]:
    """Golden bytes, ours, and ours before truncation (as bytes where the corruption returns bytes)."""
    images, expected = pixels(golden, file, "inputs"), pixels(golden, file, f"{name}/{severity}")
    constants = FILES[file][0]
    corruption = find_corruption(name, constants)
    level, seeded = corruption.level(constants, severity), seeds(name, severity, len(images))
    ours = values = corruption(images, make(seeded), level)
    if corruption.values == "float":
        values = corruption.kernel(to_float(images), make(seeded), **level).clamp(0, 1) * 255
    return expected, ours, values


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", EQUAL)
def test_bytes_are_equal(name: str, file: str, severity: int, golden: Path, published_draws: Make) -> None:
    expected, ours, _ = golden_cell(name, file, severity, golden, published_draws)
    if file == "imagecorruptions" and name in PACKAGED:
        difference = (ours.int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() <= 0.001
    else:
        assert torch.equal(ours, expected)


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", CLOSE)
def test_values_truncate_to_the_same_bytes(
    name: str, file: str, severity: int, golden: Path, published_draws: Make
) -> None:
    """Before truncation a value lies in [g, g + 1) of the golden byte g; after it, at most 1 beside it."""
    expected, ours, values = golden_cell(name, file, severity, golden, published_draws)
    inside = (values >= expected - 0.002) & (values < expected + 1.002)
    assert inside.double().mean() >= 0.999
    assert (ours.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", LOOSE)
def test_thresholds_leave_a_few_values_apart(
    name: str, file: str, severity: int, golden: Path, published_draws: Make
) -> None:
    """float32 beside the published float64: where a layer lies on a threshold, a flake or a drop gains or loses a pixel."""
    expected, ours, _ = golden_cell(name, file, severity, golden, published_draws)
    difference = (ours.int() - expected.int()).abs().double()
    assert difference.mean() <= 0.1
    assert (difference <= 1).double().mean() >= 0.995


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("side", ["ours", "golden"])
def test_impulse_noise_sets_the_published_share(side: str, file: str, severity: int, golden: Path) -> None:
    """The published code's generator is out of reach of its seed: binomial shares in place of pixels, on both sides."""
    images = pixels(golden, file, "inputs")
    constants = FILES[file][0]
    corruption = find_corruption("impulse_noise", constants)
    level = corruption.level(constants, severity)
    draws = KeyedDraws(0, torch.arange(len(images)), corruption.name)
    result = corruption(images, draws, level) if side == "ours" else pixels(golden, file, f"impulse_noise/{severity}")
    open_values = (images > 0) & (images < 255)
    half, count = level["amount"] / 2, int(open_values.sum())
    for extreme in (0, 255):
        found = int(((result == extreme) & open_values).sum())
        assert abs(found - count * half) <= 4 * (count * half * (1 - half)) ** 0.5
    touched = (result == 0) | (result == 255)
    assert torch.equal(result[~touched], images[~touched])


@pytest.mark.parametrize("shape", [(32, 32), (224, 224), (299, 299), (101, 77)])
@pytest.mark.parametrize("quality", [1, 2, 5, 7, 10, 15, 18, 25, 40, 49, 50, 51, 58, 65, 75, 80, 85, 90, 95])
def test_jpeg_in_tensors_equals_the_library(quality: int, shape: tuple[int, int]) -> None:
    """Oracle: libjpeg through Pillow; 85 is the pass that the released files went through."""
    rng = np.random.default_rng(quality)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = np.stack([127 + 127 * np.sin(rows / 11 + phase) * np.cos(columns / 17) for phase in range(3)])
    blocks = 255 * ((rows // 5 + columns // 7) % 2) * np.array([1, 0, 1])[:, None, None]
    images = torch.from_numpy(np.stack([rng.integers(0, 256, (3, *shape)), smooth, blocks]).astype(np.uint8))
    assert torch.equal(jpeg_round_trip_tensors(images, quality), jpeg_round_trip_library(images, quality))


@pytest.mark.parametrize("file", FILES)
def test_jpeg_in_tensors_equals_the_library_on_photographs(file: str, golden: Path) -> None:
    images = pixels(golden, file, "inputs")
    for quality in (1, 10, 25, 50, 85, 95):
        assert torch.equal(jpeg_round_trip_tensors(images, quality), jpeg_round_trip_library(images, quality))
