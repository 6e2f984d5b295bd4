"""Batches of images against Pillow and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from robench.errors import OptionError
from robench.geometry import INTERPOLATIONS
from robench.images import from_pictures, pictures, resize, resize_library, resize_tensors, to_float, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8)[None, None, None]


def noise(height: int, width: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


def test_to_float_is_one_division_and_comes_back() -> None:
    assert np.array_equal(to_float(LEVELS).numpy().ravel(), (np.arange(256, dtype=np.float32) / np.float32(255)))
    assert torch.equal(to_uint8(to_float(LEVELS)), LEVELS)


def test_to_uint8_clips_and_truncates() -> None:
    values = torch.tensor([-0.5, 0.0, 0.9999, 0.5, 1.0, 7.0, 1.9 / 255])
    assert to_uint8(values).tolist() == [0, 0, 254, 127, 255, 255, 1]


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (101, 77), (224, 224)])
def test_pictures_there_and_back(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    found = list(pictures(images))
    for picture, image in zip(found, images, strict=True):
        assert np.array_equal(np.asarray(picture), image.permute(1, 2, 0).numpy())
    assert torch.equal(from_pictures(found, images.shape), images)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("before", "after"), [(32, 48), (48, 32), (224, 89), (89, 224), (64, 65), (299, 74)])
def test_resize_is_pillows(before: int, after: int, interpolation: str) -> None:
    images = noise(before, before)
    filtered = INTERPOLATIONS[interpolation]
    for resized in (resize, resize_library, resize_tensors):
        result = resized(images, (after, after), interpolation)
        for image, one in zip(images, result, strict=True):
            oracle = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((after, after), filtered)
            assert np.array_equal(one.permute(1, 2, 0).numpy(), np.asarray(oracle)), resized.__name__


@pytest.mark.parametrize(("before", "after"), [((101, 77), (60, 50)), ((90, 120), (100, 30)), ((70, 64), (33, 99))])
def test_columns_come_first(before: tuple[int, int], after: tuple[int, int]) -> None:
    images = noise(*before)
    for resized in (resize, resize_library, resize_tensors):
        result = resized(images, after, "bilinear")
        for image, one in zip(images, result, strict=True):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            oracle = picture.resize((after[1], before[0]), Image.Resampling.BILINEAR)
            oracle = oracle.resize((after[1], after[0]), Image.Resampling.BILINEAR)
            assert np.array_equal(one.permute(1, 2, 0).numpy(), np.asarray(oracle)), resized.__name__


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'bicubic'"):
        resize(noise(32, 32), (40, 40), "bicubc")
