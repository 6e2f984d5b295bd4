"""The decode cache: Pillow is the oracle for pixels; content is the key."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from robench.datasets import ImageDataset, cache_folder, decode, hash_images, ignored_notes, open_dataset, select
from robench.datasets.cache import decode as cache
from robench.datasets.cache import entries as store
from robench.datasets.cache.image_stack import Decoded
from robench.datasets.cache.locks import locked
from robench.errors import DatasetError, OptionError
from robench.suites.geometry import Geometry

GEOMETRY = Geometry(resize=36, crop=32)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageDataset:
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (40 + number, 50), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{number}.png")
    return open_dataset(tmp_path / "set")


def load(
    images: ImageDataset,
    *,
    skip: bool = False,
    limit: int | None = None,
    geometry: Geometry = GEOMETRY,
    note: Callable[[str], object] = lambda text: pytest.fail(text),
) -> Decoded:
    return decode(images, hash_images(images, select(images, limit=limit)), geometry, skip=skip, note=note)


def entries() -> list[Path]:
    return sorted((cache_folder() / "decoded").iterdir())


def test_pixels_are_pillows_and_are_decoded_once(
    images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_changed_content_is_another_entry(images: ImageDataset, tmp_path: Path) -> None:
    before = np.array(load(images).images.pixels)
    file = tmp_path / "set" / images.paths[3]
    stat = file.stat()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load(images).images.pixels
    assert tuple(after[3, :, 0, 0]) == (1, 2, 3)
    assert np.array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))
    assert len(entries()) == 2


def test_unreadable_images_stop_or_are_listed(images: ImageDataset, tmp_path: Path) -> None:
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


def test_a_file_that_vanished(images: ImageDataset, tmp_path: Path) -> None:
    (tmp_path / "set" / images.paths[2]).unlink()
    with pytest.raises(DatasetError, match=images.paths[2]):
        load(images)
    assert list(load(images, skip=True).unreadable) == [2]


def test_threads_at_once(images: ImageDataset) -> None:
    found: list[Decoded] = []
    threads = [threading.Thread(target=lambda: found.append(load(images, note=str))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(one.images.pixels, found[0].images.pixels) for one in found)
    assert len(entries()) == 1


PROCESS = """
import sys, time
from pathlib import Path
from robench.datasets.cache import decode as cache
from robench.datasets import decode, hash_images, open_dataset, select
from robench.suites.geometry import Geometry
name, gate, log = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
real = cache.decode_one
def slow(*arguments):
    with log.open("a") as file:
        file.write(name + "\\n")
    while name == "first" and not gate.exists():
        time.sleep(0.01)
    return real(*arguments)
cache.decode_one = slow
images = open_dataset(sys.argv[1])
note = lambda text: print(text, flush=True)
decoded = decode(images, hash_images(images, select(images)), Geometry(resize=36, crop=32), skip=False, note=note)
print(int(decoded.images.pixels.astype(int).sum()), flush=True)
"""


class Two:
    """Two processes that want the same entry: the first stops in the middle of decoding, the second waits for it."""

    def __init__(self, tmp_path: Path) -> None:
        self.gate, self.log = tmp_path / "gate", tmp_path / "log"
        self.first = self._start(tmp_path, "first")
        until = time.monotonic() + 30
        while not self.log.exists() and time.monotonic() < until:
            time.sleep(0.01)
        self.second = self._start(tmp_path, "second")
        assert self.second.stdout is not None
        self.said = self.second.stdout.readline()

    def _start(self, tmp_path: Path, name: str) -> subprocess.Popen[str]:
        arguments = [str(tmp_path / "set"), name, str(self.gate), str(self.log)]
        return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stdout=subprocess.PIPE, text=True)

    def sums(self) -> list[str]:
        return [process.communicate(timeout=30)[0].strip() for process in (self.first, self.second)]

    def decoders(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def two(images: ImageDataset, tmp_path: Path) -> Iterator[Two]:
    both = Two(tmp_path)
    yield both
    for process in (both.first, both.second):
        process.kill()
        process.communicate()


def test_a_second_process_waits_for_the_first(two: Two, images: ImageDataset) -> None:
    assert two.said == "another process is decoding set at resize36-bilinear-crop32: waiting for it\n"
    load(images, geometry=Geometry(resize=20, crop=16))  # Another entry is not held up.
    two.gate.touch()
    assert two.sums() == [str(load(images).images.pixels.astype(int).sum())] * 2
    assert two.decoders() == ["first"] * 10
    assert len(entries()) == 2, "no lock and no half of an entry is left"


def test_a_killed_process_holds_nobody_up(two: Two, images: ImageDataset) -> None:
    two.first.kill()
    assert two.sums()[1] == str(load(images).images.pixels.astype(int).sum())
    assert two.decoders().count("second") == 10
    assert len(entries()) == 1


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: flip(entry / "images.npy", -1),
        lambda entry: flip(entry / "images.npy", 5000),
        lambda entry: flip(entry / "images.npy", 100),
        lambda entry: flip(entry / "sizes.npy", -8),
        lambda entry: flip(entry / "entry.json", 60),
        lambda entry: os.truncate(entry / "images.npy", 3000),
        lambda entry: (entry / "images.npy").write_bytes(b"damaged"),
        lambda entry: (entry / "entry.json").write_text("[]"),
        lambda entry: (entry / "sizes.npy").unlink(),
        lambda entry: (entry / "entry.json").unlink(),
        lambda entry: (entry / "images.npy").unlink(),
    ],
)
def test_a_damaged_entry_is_made_again(images: ImageDataset, damage: Callable[[Path], object]) -> None:
    whole = Geometry(resize=30)
    before = np.array(load(images, geometry=whole).images.pixels)
    damage(entries()[0])
    notes: list[str] = []
    assert np.array_equal(load(images, geometry=whole, note=notes.append).images.pixels, before)
    assert notes == ["the decode cache holds a damaged copy of set at resize30-bilinear: decoding again"]
    assert np.array_equal(load(images, geometry=whole).images.pixels, before)


def test_who_uses_a_damaged_entry_keeps_it(images: ImageDataset) -> None:
    decoded = load(images)
    before = np.array(decoded.images.pixels)
    (entries()[0] / "entry.json").unlink()
    again = load(images, note=str)
    assert np.array_equal(decoded.images.pixels, before)
    assert np.array_equal(again.images.pixels, before)


def used(limit: int, days_ago: int, images: ImageDataset) -> Path:
    """An entry of `limit` images (3 kB each), last opened so many days ago."""
    before = set(entries()) if (cache_folder() / "decoded").exists() else set()
    load(images, limit=limit, note=str)
    (entry,) = set(entries()) - before
    os.utime(entry / "entry.json", (time.time() - days_ago * 86_400,) * 2)
    return entry


def test_what_was_used_longest_ago_makes_room(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    older, oldest, old = used(3, 2, images), used(4, 3, images), used(5, 1, images)
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "45kB")
    notes: list[str] = []
    load(images, limit=6, note=notes.append)  # 38 + 18 kB, so that 12 of them must go
    assert not oldest.exists()
    assert older.exists()
    assert old.exists()
    (told,) = notes
    assert re.fullmatch(r"removed 12.\d kB .* to keep its limit of 45.0 kB", told)


def test_opening_counts_as_use(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = used(3, 2, images), used(4, 1, images)
    load(images, limit=3)
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "30kB")
    load(images, limit=5, note=str)
    assert (first.exists(), second.exists()) == (True, False)


def test_what_is_in_use_never_makes_room(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = used(3, 9, images)
    held = load(images, limit=3).images.pixels[1:2]  # A view holds it too.
    os.utime(first / "entry.json", (0, 0))
    second = used(4, 1, images)
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "1")
    notes: list[str] = []
    load(images, limit=5, note=notes.append)
    assert (first.exists(), second.exists()) == (True, False)
    assert "exceeds its limit of 1 B" in notes[-1]
    del held
    load(images, limit=6, note=str)
    assert not first.exists()


def test_what_is_larger_than_the_limit_is_kept_and_goes_first(
    images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "20kB")
    notes: list[str] = []
    load(images, note=notes.append)
    (told,) = notes
    assert told.startswith("the decode cache exceeds its limit of 20.0 kB by 10.7 kB")
    (large,) = entries()
    load(images)  # It serves as any other.
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "50kB")
    small = used(3, 9, images)
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", "20kB")
    load(images, limit=2, note=str)
    assert (small.exists(), large.exists()) == (True, False)


def test_leftovers_of_killed_processes_are_swept(images: ImageDataset) -> None:
    load(images)
    left, held = (cache_folder() / "decoded" / f".tmp-{digit * 32}" for digit in "ab")
    for folder in (left, held):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"half")
    with locked(cache_folder() / "locks" / ("b" * 32 + ".lock")):
        load(images, limit=3)
        assert [folder.name for folder in entries() if folder.name.startswith(".tmp")] == [held.name]
    load(images, limit=4)
    assert all(store._KEY.fullmatch(path.name) for path in entries())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50 * 10**9),
        ("800 mb", 8 * 10**8),
        ("2GiB", 2**31),
        ("1.5k", 1500),
        ("12", 12),
        ("7B", 7),
        ("1TiB", 2**40),
    ],
)
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", text)
    assert store.size_limit() == size


@pytest.mark.parametrize("text", ["lots", "-1", "5 GBs", "1e3", "GB", "0x10"])
def test_a_size_that_is_none(text: str, images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBENCH_CACHE_SIZE", text)
    with pytest.raises(OptionError, match="give a size like 50GB"):
        load(images)
    assert entries() == []


def test_the_limit_is_at_most_half_of_the_free_disk(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    load(images)
    held = sum(file.stat().st_size for file in entries()[0].iterdir())
    for free, limit in ((1000, (1000 + held) // 2), (10**13, 50 * 10**9)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert store.size_limit() == limit


def raising(code: int) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_one_line(function: str, images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, function, raising(errno.ENOSPC))
    with pytest.raises(DatasetError, match=r"no space left.*set ROBENCH_CACHE .*`robench cache clear`"):
        load(images, skip=True)
    assert entries() == []


def test_a_cache_that_may_only_be_read_serves(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = np.array(load(images).images.pixels)
    for function in ("utime", "mkdir", "rename"):
        monkeypatch.setattr(os, function, raising(errno.EROFS))
    assert np.array_equal(load(images).images.pixels, before)
    with pytest.raises(DatasetError, match="read-only file system"):
        load(images, limit=3)


def test_no_locks_is_one_line(images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", raising(errno.ENOLCK))
    with pytest.raises(DatasetError, match="set ROBENCH_CACHE"):
        load(images)


def test_no_place_for_the_cache_is_one_line(
    images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set ROBENCH_CACHE"):
        load(images)


def test_a_link_that_leads_nowhere_is_told_in_words(images: ImageDataset, tmp_path: Path) -> None:
    (tmp_path / "set" / images.paths[3]).unlink()
    (tmp_path / "set" / images.paths[3]).symlink_to(tmp_path / "nowhere")
    assert load(images, skip=True).unreadable == {3: "No such file or directory"}
    with pytest.raises(
        DatasetError, match=rf"cannot read the image {images.paths[3]}: No such file or directory; repair"
    ):
        load(images)


def test_an_unreadable_image_is_told_by_its_row_wherever_it_lies(images: ImageDataset, tmp_path: Path) -> None:
    damaged = tmp_path / "set/a/1.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    images = open_dataset(tmp_path / "set")
    hashes = hash_images(images, np.array([0, 1, 2]))
    assert list(decode(images, hashes, GEOMETRY, skip=True).unreadable) == [1]
    # The same three images, with one more before them.
    Image.new("RGB", (40, 40)).save(tmp_path / "set/a/+.png")
    moved = open_dataset(tmp_path / "set")
    assert moved.paths[2] == "a/1.png"
    hashes = hash_images(moved, np.array([1, 2, 3]))
    assert list(decode(moved, hashes, GEOMETRY, skip=True).unreadable) == [2]
    with pytest.raises(DatasetError, match=r"cannot read the image a/1\.png"):
        decode(moved, hashes, GEOMETRY, skip=False)


def test_a_limit_beyond_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("9" * 400, "9" * 300 + "TB"):
        monkeypatch.setenv("ROBENCH_CACHE_SIZE", text)
        with pytest.raises(OptionError, match="larger than any disk"):
            store.size_limit()


def test_ignored_properties_are_counted_from_the_cache_too(tmp_path: Path) -> None:
    """`ImageOps.exif_transpose`, which viewers agree with, is the oracle of an orientation."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = 0
    for orientation, suffix in (
        (6, "jpg"),
        (3, "png"),
        (2, "webp"),
        (8, "tif"),
        (1, "jpg"),
        (None, "png"),
        (99, "jpg"),
    ):
        tags = Image.Exif()
        if orientation:
            tags[0x0112] = orientation
        file = tmp_path / "set" / "a" / f"{orientation}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, exif=tags)
        with Image.open(file) as stored:
            stored.load()
            expected += ImageOps.exif_transpose(stored).tobytes() != stored.tobytes()
    for alpha in (255, 254):
        Image.fromarray(np.dstack([pixels, np.full((8, 6), alpha, np.uint8)])).save(tmp_path / f"set/a/{alpha}.png")
    (tmp_path / "set" / "a" / "b.jpg").write_bytes(b"not an image")
    images = open_dataset(tmp_path / "set")
    counts = [load(images, skip=True).ignored for _ in range(2)]
    assert counts == [{"orientation": expected, "transparency": 1}] * 2
    assert expected == 3
    assert [note.split(" have")[0] for note in ignored_notes(counts[1], 10)] == ["3 of 10 images", "1 of 10 images"]
