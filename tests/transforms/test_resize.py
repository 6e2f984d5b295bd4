"""Oracles: Pillow, NumPy and exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from PIL import Image

from robench.errors import OptionError
from robench.suites.geometry import INTERPOLATIONS
from robench.transforms.resize import (
    from_pil,
    resize,
    resize_tensors,
    resize_with_pillow,
    to_float,
    to_pil,
    to_uint8,
)
from robench.types import Images
from tests.builders import each

SIZES = [  # before, after: rows, columns; one factor for both axes
    ((32, 32), (17, 17)),
    ((64, 64), (40, 40)),
    ((75, 75), (224, 224)),
    ((224, 224), (134, 134)),
    ((100, 100), (25, 25)),
    ((65, 65), (65, 65)),
    ((60, 90), (40, 60)),
    ((90, 60), (150, 100)),
]


def noise(height: int, width: int, count: int = 2) -> Images:
    return torch.from_numpy(np.random.default_rng(height * width).integers(0, 256, (count, 3, height, width), np.uint8))


def as_pillow(images: Images) -> list[Image.Image]:
    return [Image.fromarray(one) for one in images.permute(0, 2, 3, 1).contiguous().numpy()]


def as_tensor(found: list[Image.Image]) -> Images:
    return torch.from_numpy(np.stack([np.asarray(one) for one in found])).permute(0, 3, 1, 2)


def test_to_float_is_the_nearest_float() -> None:
    """Oracle: fractions; the quotient is rounded once."""
    every = torch.arange(256, dtype=torch.uint8)
    assert to_float(every).tolist() == [float(np.float32(value / 255)) for value in range(256)]
    for value, found in enumerate(to_float(every).tolist()):
        step = float(np.spacing(np.float32(found)))
        assert abs(Fraction(found) - Fraction(value, 255)) <= Fraction(step) / 2


def test_all_values_survive_the_round_trip() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_to_uint8_clips_and_truncates() -> None:
    values = [-3.0, -0.001, 0.0, 0.5 / 255, 0.999 / 255, 1.001 / 255, 0.5, 254.999 / 255, 1.0, 1.7]
    expected = [min(255, max(0, floor(Fraction(value) * 255))) for value in values]
    given = torch.tensor(values)
    assert to_uint8(given).tolist() == expected
    assert given.tolist() == torch.tensor(values).tolist()


@pytest.mark.parametrize("shape", [(33, 47), (120, 75)])
def test_pictures_are_what_pillow_makes(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    made, expected = list(to_pil(images)), as_pillow(images)
    for one, other in zip(made, expected, strict=True):
        assert (one.mode, one.size, one.tobytes()) == ("RGB", other.size, other.tobytes())
    back = from_pil(expected, images.shape)
    assert torch.equal(back, images)
    assert back.is_contiguous()


@each("interpolation", INTERPOLATIONS)
@each(("before", "after"), SIZES)
def test_resize_equals_pillow(before: tuple[int, int], after: tuple[int, int], interpolation: str) -> None:
    images = noise(*before)
    images[0, :, :5] = 255  # A sharp edge: negative lobes leave 0..255 and are clipped.
    images[0, :, 5:9] = 0
    copy = images.clone()
    way = INTERPOLATIONS[interpolation]
    expected = as_tensor([one.resize(after[::-1], way) for one in as_pillow(images)])
    tensors = resize if interpolation in ("hamming", "lanczos") else resize_tensors
    for resized in (resize(images, after, interpolation), tensors(images, after, interpolation)):
        assert torch.equal(resized, expected)
        assert resized.dtype == torch.uint8
        assert resized.is_contiguous()
    assert torch.equal(resize_with_pillow(images, after, interpolation), expected)
    assert torch.equal(images, copy)


@each("interpolation", INTERPOLATIONS)
@each(("before", "after"), [((40, 90), (90, 31)), ((150, 61), (60, 64)), ((70, 100), (70, 33))])
def test_axes_that_shrink_differently_go_columns_first(
    before: tuple[int, int], after: tuple[int, int], interpolation: str
) -> None:
    """Oracle: two calls of Pillow's, one an axis."""
    images, way = noise(*before), INTERPOLATIONS[interpolation]
    columns = [one.resize((after[1], before[0]), way) for one in as_pillow(images)]
    expected = as_tensor([one.resize(after[::-1], way) for one in columns])
    assert torch.equal(resize_with_pillow(images, after, interpolation), expected)
    tensors = resize if interpolation in ("hamming", "lanczos") else resize_tensors
    assert torch.equal(tensors(images, after, interpolation), expected)


def test_resize_of_an_empty_batch_and_of_other_layouts() -> None:
    for size in (40, 100):
        images = noise(size, size, 3)
        assert resize(images[:0], (20, 20)).shape == (0, 3, 20, 20)
        swapped = images.to(memory_format=torch.channels_last)
        assert torch.equal(resize(swapped, (20, 20)), resize(images, (20, 20)))


def test_an_unknown_interpolation_is_named() -> None:
    with pytest.raises(OptionError, match=r"bilinaer.*did you mean 'bilinear'"):
        resize(noise(40, 40), (20, 20), "bilinaer")
