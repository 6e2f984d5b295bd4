"""Geometry against its oracle, torchvision's transforms on PIL images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from robench.errors import OptionError
from robench.suites.geometry import INTERPOLATIONS, Geometry


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (256, 256), (97, 300), (31, 40), (257, 1000), (224, 224), (225, 300)]
)
def test_resize_and_center_crop_as_torchvision(size: tuple[int, int]) -> None:
    image = picture(*size)
    oracle = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(image)
    assert np.array_equal(np.asarray(Geometry(resize=256, crop=224).apply(image)), np.asarray(oracle))


@pytest.mark.parametrize("size", [(257, 262), (225, 231), (224, 500)])
def test_an_odd_margin_floored_is_transformers_own(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("transformers.image_transforms")
    image = picture(*size)
    oracle = transforms.center_crop(np.asarray(image), (224, 224), input_data_format="channels_last")
    assert np.array_equal(np.asarray(Geometry(crop=224, floors=True).apply(image)), oracle)


def test_a_floored_crop_is_another_protocol() -> None:
    assert str(Geometry(resize=256, crop=224, floors=True)) == "resize256-bilinear-crop224floor"


@pytest.mark.parametrize("size", [(300, 100), (20, 20), (64, 65)])
def test_crop_pads_small_images_as_torchvision(size: tuple[int, int]) -> None:
    image = picture(*size)
    assert np.array_equal(np.asarray(Geometry(crop=70).apply(image)), np.asarray(v2.CenterCrop(70)(image)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_mode_becomes_rgb_as_convert_does(mode: str) -> None:
    image = picture(40, 40).convert(mode)
    assert np.array_equal(np.asarray(Geometry(crop=40).apply(image)), np.asarray(image.convert("RGB")))


def test_exif_orientation_is_ignored() -> None:
    image = picture(40, 32)
    image.getexif()[0x0112] = 6
    assert Geometry(resize=(32, 40)).apply(image).size == (40, 32)


def test_fraction_cuts_the_centre_first() -> None:
    image = picture(400, 320)
    oracle = v2.Resize((299, 299))(v2.CenterCrop(280)(image))
    assert np.array_equal(np.asarray(Geometry(fraction=0.875, resize=(299, 299)).apply(image)), np.asarray(oracle))


def test_names_and_side() -> None:
    assert str(Geometry(resize=256, crop=224)) == "resize256-bilinear-crop224"
    assert Geometry(resize=(32, 32)).side == 32
    with pytest.raises(OptionError, match="did you mean 'bicubic'"):
        Geometry(resize=1, interpolation="bicubik")
    with pytest.raises(OptionError, match="give a crop"):
        _ = Geometry(resize=256).side


def test_filters_are_numbered_as_pillow_numbers_them() -> None:
    assert {name: int(Image.Resampling[name.upper()]) for name in INTERPOLATIONS} == INTERPOLATIONS


@pytest.mark.parametrize(
    ("dtype", "high"), [(np.uint16, 300), (np.uint16, 65535), (np.int32, 300), (np.float32, 1), (np.float32, np.nan)]
)
def test_values_that_are_no_8_bits_are_refused(dtype: type, high: float) -> None:
    """Pillow makes white of most, and black of fractions."""
    image = Image.fromarray(np.array([[0, high], [0, 0]]).astype(dtype))
    with pytest.raises(ValueError, match="not 0 to 255; give --data-range LOW,HIGH"):
        Geometry().apply(image)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_values_of_8_bits_are_kept_in_any_type(dtype: type) -> None:
    values = np.array([[0, 255], [7, 128]])
    pixels = np.asarray(Geometry().apply(Image.fromarray(values.astype(dtype))))
    assert np.array_equal(pixels, np.repeat(values[..., None], 3, axis=2))
