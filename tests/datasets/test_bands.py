"""Images of other bands than RGB, and of more than 8 bits."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, to_grayscale

from robench.datasets import decode_one, open_dataset
from robench.errors import DatasetError
from robench.suites.geometry import Geometry, PixelFormat
from tests.builders import each

RNG = np.random.default_rng(0)
CUBE = RNG.integers(0, 256, (24, 30, 13), dtype=np.uint8)
AS_STORED = Geometry()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def pillow(array: np.ndarray[Any, Any], kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


@each(
    "encoded",
    [
        npy(CUBE),
        npy(CUBE.transpose(2, 0, 1)),
        npy(np.asfortranarray(CUBE)),
        tiff(CUBE, photometric="minisblack", planarconfig="contig"),
        tiff(CUBE.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"),
        tiff(CUBE.transpose(2, 0, 1)),  # A page for each band.
        tiff(CUBE),  # Pages of rows, with the shape in the description.
        tiff(CUBE, photometric="minisblack", planarconfig="contig", compression="zlib"),
        tiff(CUBE.astype(np.uint16), photometric="minisblack", planarconfig="contig"),
        tiff(CUBE, photometric="minisblack", planarconfig="contig", bigtiff=True, byteorder=">"),
    ],
)
def test_every_layout_has_the_same_bands(encoded: bytes) -> None:
    pixels = decode_one(encoded, AS_STORED, pixels=PixelFormat(13))
    np.testing.assert_array_equal(pixels, CUBE.transpose(2, 0, 1))


def test_three_bands_equal_the_path_of_rgb() -> None:
    """Each band is resized as Pillow resizes RGB, to the bit."""
    image = RNG.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    geometry = Geometry(resize=36, crop=(32, 40))
    as_rgb = decode_one(pillow(image, "png"), geometry)
    np.testing.assert_array_equal(decode_one(npy(image), geometry), as_rgb)
    np.testing.assert_array_equal(decode_one(npy(image), geometry, pixels=PixelFormat(3, (0, 255))), as_rgb)


def test_a_range_maps_values_to_8_bits() -> None:
    """Rounded to the nearest level; values outside are cut off. The oracle is numpy's rounding of the exact fraction."""
    values = np.array([[0, 100, 5000, 9999, 10000, 12000]], np.uint16)
    expected = np.rint(np.clip(values / 10000, 0, 1) * 255).astype(np.uint8)
    for encoded in (npy(values), tiff(values), pillow(values, "png"), npy(values.astype(np.float32))):
        pixels = decode_one(encoded, AS_STORED, pixels=PixelFormat(1, (0, 10000)))
        np.testing.assert_array_equal(pixels[0], expected)
    signed = npy((values.astype(np.int32) - 5000).astype(np.int16))
    np.testing.assert_array_equal(decode_one(signed, AS_STORED, pixels=PixelFormat(1, (-5000, 5000)))[0], expected)


@each("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_grey_equals_torchvision(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "png")
    expected = pil_to_tensor(to_grayscale(image))
    found: list[str] = []
    pixels = decode_one(file.getvalue(), AS_STORED, 0, found.extend, PixelFormat(1))
    assert torch.equal(torch.tensor(pixels), expected)
    assert ("colour" in found) == (mode in ("RGB", "P", "RGBA"))


BOMB = zlib.compress(b"\0" * 10**8)


def bomb() -> bytes:
    """A page that claims 64 values, whose content is 100 MB."""
    encoded = tiff(np.zeros((8, 8), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        tags = file.pages.first.tags
        offset, count = tags["StripOffsets"], tags["StripByteCounts"]
        edited = bytearray(encoded) + BOMB
        for tag, value in ((offset, len(encoded)), (count, len(BOMB))):
            size = {"H": 2, "I": 4}[{3: "H", 4: "I"}[int(tag.dtype)]]
            edited[tag.valueoffset : tag.valueoffset + size] = value.to_bytes(size, "little")
    return bytes(edited)


@each(
    "encoded, pixels, match",
    [
        (npy(CUBE), PixelFormat(12), "it has 13 bands, but the model takes 12"),
        (npy(CUBE), PixelFormat(3), "it has 13 bands, but the model takes 3"),
        (tiff(CUBE, photometric="minisblack", planarconfig="contig"), PixelFormat(3), "it has 13 bands, but the model takes 3"),
        (pillow(CUBE[:, :, :3], "png"), PixelFormat(13), "it has 3 bands, but the model takes 13"),
        (npy(CUBE.astype(np.uint16) * 40), PixelFormat(13), "its values are 0 to 10200, not 0 to 255; give --data-range LOW,HIGH"),
        (npy(CUBE / 255), PixelFormat(13), "its values are 0 to 1, not 0 to 255"),
        (npy(np.full((8, 8), np.nan)), PixelFormat(1, (0, 1)), "not finite"),
        (npy(np.zeros((0, 8))), PixelFormat(1), "which is no image"),
        (npy(np.zeros((2, 3, 4, 5, 6))), PixelFormat(1), "which is no image"),
        (npy(np.zeros((8, 8), complex)), PixelFormat(1), "which is no image"),
        (npy(np.array([[{}]], object)), PixelFormat(1), "does not have the length"),
        (npy(CUBE)[:-5], PixelFormat(13), "does not have the length"),
        (tiff(CUBE, photometric="minisblack", planarconfig="contig")[:-50], PixelFormat(13), "damaged"),
        (tiff(CUBE)[:30], PixelFormat(13), "^it is damaged"),
        (bomb(), PixelFormat(1, (0, 255)), "its compressed content is larger"),
        (b"II*\0" + b"\xff" * 40, PixelFormat(13), "^it is damaged"),
    ],
)  # fmt: skip
def test_a_bad_image_is_one_line(encoded: bytes, pixels: PixelFormat, match: str) -> None:
    with pytest.raises(DatasetError, match=match) as error:
        decode_one(encoded, AS_STORED, pixels=pixels)
    assert "\n" not in str(error.value)


def folder(root: Path, suffix: str) -> Path:
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(2):
            content = npy(CUBE) if suffix == ".npy" else tiff(CUBE, photometric="minisblack", planarconfig="contig")
            (root / label / f"{number}{suffix}").write_bytes(content)
    return root


def split(root: Path, suffix: str) -> Path:
    """As DEIC publishes EuroSAT: a list of names without extension and labels, next to a folder of images."""
    folder(root / "images", suffix)
    (root / "test0.txt").write_text("a/0 1\na/1 1\nb/0 0\n")
    return root / "test0.txt"


def array(root: Path, suffix: str) -> Path:
    root.mkdir()
    np.save(root / "images.npy", np.stack([CUBE.astype(np.uint16)] * 3))
    np.save(root / "labels.npy", np.array([1, 1, 0]))
    return root / "images.npy"


@each(
    "make, suffix, labels",
    [(folder, ".npy", [0, 0, 1, 1]), (folder, ".tif", [0, 0, 1, 1]), (split, ".npy", [1, 1, 0]), (split, ".tif", [1, 1, 0]),
     (array, "", [1, 1, 0])],
)  # fmt: skip
def test_readers_open_bands(make: Callable[[Path, str], Path], suffix: str, labels: list[int], tmp_path: Path) -> None:
    images = open_dataset(make(tmp_path / "data", suffix))
    assert images.labels.tolist() == labels
    for position in range(len(labels)):
        pixels = decode_one(images.read(position), AS_STORED, pixels=PixelFormat(13))
        np.testing.assert_array_equal(pixels, CUBE.transpose(2, 0, 1))


def test_arrays_next_to_images_are_no_images(tmp_path: Path) -> None:
    """They are usually features."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "0.png").write_bytes(pillow(CUBE[:, :, :3], "png"))
    np.save(tmp_path / "data" / "a" / "0.npy", CUBE)
    assert open_dataset(tmp_path / "data").paths == ("a/0.png",)
