"""Oracle: pixels that the published code made, with the very draws that it made them from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parity.published import (
    CLOSE,
    EQUAL,
    FILES,
    LOOSE,
    NAMES,
    PACKAGED,
    golden_cell,
    impulse_deviation,
    pixels,
)
from robench.transforms.corruptions import CORRUPTIONS, IMAGECORRUPTIONS, find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip_library, jpeg_round_trip_tensors
from robench.transforms.draws import KeyedDraws

CELLS = [(file, severity) for file, (_, severities) in FILES.items() for severity in severities]


def test_no_golden_cell_is_left_out(golden: Path) -> None:
    for file, (_, severities) in FILES.items():
        with np.load(golden / f"{file}.npz") as arrays:
            found = set(arrays.files) - {"inputs"}
        assert found == {f"{name}/{severity}" for name in NAMES for severity in severities}
    assert {*EQUAL, *LOOSE, *CLOSE, "impulse_noise"} == set(CORRUPTIONS) == set(IMAGECORRUPTIONS)


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", EQUAL)
def test_bytes_are_equal(name: str, file: str, severity: int, golden: Path) -> None:
    cell = golden_cell(name, file, severity, golden)
    if file == "imagecorruptions" and name in PACKAGED:
        assert cell.difference.max() <= 1
        assert (cell.difference > 0).double().mean() <= 0.001
    else:
        assert torch.equal(cell.ours, cell.expected)


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", CLOSE)
def test_values_truncate_to_the_same_bytes(name: str, file: str, severity: int, golden: Path) -> None:
    """Before truncation a value lies in [g, g + 1) of the golden byte g; after it, at most 1 beside it."""
    cell = golden_cell(name, file, severity, golden)
    assert cell.outside <= 0.001
    assert cell.difference.max() <= 1


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("name", LOOSE)
def test_thresholds_leave_a_few_values_apart(name: str, file: str, severity: int, golden: Path) -> None:
    """float32 beside the published float64: where a layer lies on a threshold, a flake or a drop gains or loses a pixel."""
    difference = golden_cell(name, file, severity, golden).difference
    assert difference.mean() <= 0.1
    assert (difference <= 1).double().mean() >= 0.995


@pytest.mark.parametrize(("file", "severity"), CELLS)
@pytest.mark.parametrize("side", ["ours", "golden"])
def test_impulse_noise_sets_the_published_share(side: str, file: str, severity: int, golden: Path) -> None:
    """The published code's generator is out of reach of its seed: binomial shares in place of pixels, on both sides."""
    images = pixels(golden, file, "inputs")
    constants = FILES[file][0]
    corruption = find_corruption("impulse_noise", constants)
    level = corruption.params(constants, severity)
    draws = KeyedDraws(0, torch.arange(len(images)), corruption.name)
    result = corruption(images, draws, level) if side == "ours" else pixels(golden, file, f"impulse_noise/{severity}")
    deviation, untouched = impulse_deviation(images, result, level["amount"])
    assert deviation <= 4
    assert untouched


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
