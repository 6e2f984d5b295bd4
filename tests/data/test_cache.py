"""The decode cache: Pillow is the oracle for pixels; content is the key."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.data import ImageSet, cache, cache_folder, decode, hash_images, open_dataset, select
from robench.data.cache import Decoded
from robench.errors import DatasetError
from robench.geometry import Geometry

GEOMETRY = Geometry(resize=36, crop=32)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (40 + number, 50), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{number}.png")
    return open_dataset(tmp_path / "set")


def load(images: ImageSet, *, skip: bool = False, limit: int | None = None) -> Decoded:
    return decode(images, hash_images(images, select(images, limit=limit)), GEOMETRY, skip=skip)


def entries() -> list[Path]:
    return sorted((cache_folder() / "decoded").iterdir())


def test_pixels_are_pillows_and_are_decoded_once(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = load(images)
    assert decoded.images.pixels.shape == (10, 3, 32, 32)
    for row, path in enumerate(images.paths):
        with Image.open(tmp_path / "set" / path) as image:
            oracle = np.asarray(GEOMETRY.apply(image)).transpose(2, 0, 1)
        assert np.array_equal(decoded.images.pixels[row], oracle)
    monkeypatch.setattr(cache, "decode_one", lambda *_: pytest.fail("decoded twice"))
    assert np.array_equal(load(images).images.pixels, decoded.images.pixels)
    assert len(entries()) == 1


def test_changed_content_is_another_entry(images: ImageSet, tmp_path: Path) -> None:
    before = np.array(load(images).images.pixels)
    file = tmp_path / "set" / images.paths[3]
    stat = file.stat()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(file)
    import os

    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load(images).images.pixels
    assert tuple(after[3, :, 0, 0]) == (1, 2, 3)
    assert np.array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))
    assert len(entries()) == 2


def test_unreadable_images_stop_or_are_listed(images: ImageSet, tmp_path: Path) -> None:
    file = tmp_path / "set" / images.paths[6]
    file.write_bytes(file.read_bytes()[:60])
    (tmp_path / "set" / images.paths[8]).write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=rf"cannot read the image {images.paths[6]}: .*--skip-unreadable"):
        load(images)
    assert not list((cache_folder() / "decoded").iterdir()), "nothing half-written stays"
    assert sorted(load(images, skip=True).unreadable) == [6, 8]
    assert sorted(load(images, skip=True).unreadable) == [6, 8], "from the cache too"
    with pytest.raises(DatasetError, match=images.paths[6]):
        load(images)


def test_a_file_that_vanished(images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "set" / images.paths[2]).unlink()
    with pytest.raises(DatasetError, match=images.paths[2]):
        load(images)
    assert list(load(images, skip=True).unreadable) == [2]


def test_two_at_once(images: ImageSet) -> None:
    found: list[Decoded] = []
    threads = [threading.Thread(target=lambda: found.append(load(images))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(one.images.pixels, found[0].images.pixels) for one in found)
    assert len(entries()) == 1


def test_a_damaged_entry_is_made_again(images: ImageSet) -> None:
    before = np.array(load(images).images.pixels)
    (entries()[0] / "images.npy").write_bytes(b"damaged")
    assert np.array_equal(load(images).images.pixels, before)


def test_no_place_for_the_cache_is_one_line(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set ROBENCH_CACHE"):
        load(images)
