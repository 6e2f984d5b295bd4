"""Oracle: pixels that the published code made, from the draws that it used.

The quick tier tests severities 1 and 5 of the files with small images, and severity 5 of the others. The rest is nightly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robench.transforms.corruptions import CORRUPTIONS, IMAGECORRUPTIONS, find_corruption
from robench.transforms.corruptions.jpeg import jpeg_round_trip_library, jpeg_round_trip_tensors
from robench.transforms.draws import KeyedDraws
from robench.types import Images
from tests.parity.published import (
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

SMALL = ("tiny-imagenet-c", "cifar10-c")
"""Golden files whose images have 64 and 32 pixels a side."""


def golden_cells() -> pytest.MarkDecorator:
    """One case a file with the severities of the quick tier, and one a night with the others."""
    cases = []
    for file, (_, severities) in FILES.items():
        quick = (1, 5) if file in SMALL else (5,)
        rest = tuple(severity for severity in severities if severity not in quick)
        for chosen, marks in ((quick, ()), (rest, pytest.mark.nightly)):
            cases.append(pytest.param(file, chosen, id=f"{file}-{'-'.join(map(str, chosen))}", marks=marks))
    return pytest.mark.parametrize(("file", "severities"), cases)


every_cell = golden_cells()


def test_no_golden_cell_is_left_out(golden: Path) -> None:
    for file, (_, severities) in FILES.items():
        with np.load(golden / f"{file}.npz") as arrays:
            found = set(arrays.files) - {"inputs"}
        assert found == {f"{name}/{severity}" for name in NAMES for severity in severities}
    assert {*EQUAL, *LOOSE, *CLOSE, "impulse_noise"} == set(CORRUPTIONS) == set(IMAGECORRUPTIONS)


@every_cell
@pytest.mark.parametrize("name", EQUAL)
def test_bytes_are_equal(name: str, file: str, severities: tuple[int, ...], golden: Path) -> None:
    for severity in severities:
        cell = golden_cell(name, file, severity, golden)
        if file == "imagecorruptions" and name in PACKAGED:
            assert cell.difference.max() <= 1, f"severity {severity}"
            assert (cell.difference > 0).double().mean() <= 0.001, f"severity {severity}"
        else:
            assert torch.equal(cell.ours, cell.expected), f"severity {severity}"


@every_cell
@pytest.mark.parametrize("name", CLOSE)
def test_values_truncate_to_the_same_bytes(name: str, file: str, severities: tuple[int, ...], golden: Path) -> None:
    """Before truncation a value lies in [g, g + 1) of the golden byte g; after it, at most 1 beside it."""
    for severity in severities:
        cell = golden_cell(name, file, severity, golden)
        assert cell.outside <= 0.001, f"severity {severity}"
        assert cell.difference.max() <= 1, f"severity {severity}"


@every_cell
@pytest.mark.parametrize("name", LOOSE)
def test_thresholds_leave_a_few_values_apart(name: str, file: str, severities: tuple[int, ...], golden: Path) -> None:
    """Ours is float32, the published code float64: a flake or a drop on a threshold gains or loses a pixel."""
    for severity in severities:
        difference = golden_cell(name, file, severity, golden).difference
        assert difference.mean() <= 0.1, f"severity {severity}"
        assert (difference <= 1).double().mean() >= 0.995, f"severity {severity}"


@every_cell
@pytest.mark.parametrize("side", ["ours", "golden"])
def test_impulse_noise_sets_the_published_share(
    side: str, file: str, severities: tuple[int, ...], golden: Path
) -> None:
    """The golden seeds do not reach the published generator, so both sides must have binomial shares."""
    images = pixels(golden, file, "inputs")
    constants = FILES[file][0]
    corruption = find_corruption("impulse_noise", constants)
    draws = KeyedDraws(0, torch.arange(len(images)), corruption.name)
    for severity in severities:
        level = corruption.params(constants, severity)
        given = pixels(golden, file, f"impulse_noise/{severity}")
        result = corruption(images, draws, level) if side == "ours" else given
        deviation, untouched = impulse_deviation(images, result, level["amount"])
        assert deviation <= 4, f"severity {severity}"
        assert untouched, f"severity {severity}"


QUALITIES = (1, 7, 10, 18, 25, 49, 50, 65, 85, 95)
OTHER_QUALITIES = (2, 5, 15, 40, 51, 58, 75, 80, 90)
JPEG = [
    *(pytest.param(quality, ((101, 77),), id=f"{quality}-one size") for quality in QUALITIES),
    *(
        pytest.param(quality, ((32, 32), (224, 224), (299, 299), (101, 77)), id=f"{quality}", marks=pytest.mark.nightly)
        for quality in (*QUALITIES, *OTHER_QUALITIES)
    ),
]


@pytest.mark.parametrize(("quality", "shapes"), JPEG)
def test_jpeg_in_tensors_equals_the_library(quality: int, shapes: tuple[tuple[int, int], ...]) -> None:
    """The oracle is libjpeg through Pillow. The released files went through quality 85."""
    for shape in shapes:
        images = jpeg_pictures(quality, shape)
        expected = jpeg_round_trip_library(images, quality)
        assert torch.equal(jpeg_round_trip_tensors(images, quality), expected), shape


def jpeg_pictures(seed: int, shape: tuple[int, int]) -> Images:
    """Noise, waves, and blocks with sharp edges."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = np.stack([127 + 127 * np.sin(rows / 11 + phase) * np.cos(columns / 17) for phase in range(3)])
    blocks = 255 * ((rows // 5 + columns // 7) % 2) * np.array([1, 0, 1])[:, None, None]
    return torch.from_numpy(np.stack([rng.integers(0, 256, (3, *shape)), smooth, blocks]).astype(np.uint8))


@pytest.mark.parametrize("file", FILES)
def test_jpeg_in_tensors_equals_the_library_on_photographs(file: str, golden: Path) -> None:
    images = pixels(golden, file, "inputs")
    for quality in (1, 10, 25, 50, 85, 95):
        expected = jpeg_round_trip_library(images, quality)
        assert torch.equal(jpeg_round_trip_tensors(images, quality), expected), f"quality {quality}"
