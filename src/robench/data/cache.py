"""Decode once: the uint8 images of a dataset under one geometry, memory-mapped and keyed by content.

An entry is a folder named by the SHA-256 of (decoder, geometry, hashes of all encoded images), with `images.npy`, (n, 3,
side, side) uint8, and `unreadable.json`; where the geometry keeps the pictures' shapes, `images.npy` is flat, and
`sizes.npy` has the height and width of each. It is written under a temporary name and renamed, so processes that start at once
never see half of it; and because the key is the content, a changed image is another entry, wherever it lies.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from robench.data.image_set import ImageSet
from robench.errors import DatasetError
from robench.geometry import Geometry
from robench.types import Ints

__all__ = ["Decoded", "Hashes", "Stack", "cache_folder", "decode", "decode_few", "decode_one", "hash_images"]

_VERSION = 1

# Pillow's plugins raise many kinds of errors on damaged files; its documentation promises no base class.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError,
           AttributeError, RuntimeError, NotImplementedError, Image.DecompressionBombError, ImportError)  # fmt: skip

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Hashes:
    """SHA-256 (hex) of the encoded images at `positions`; empty where `unreadable` says why there is none."""

    positions: Ints
    sha: tuple[str, ...]
    unreadable: dict[int, str]


@dataclass(frozen=True)
class Stack:
    """Decoded images of one size, or each of its own, possibly memory-mapped.

    pixels: (n, 3, height, width) uint8; where `sizes` are given, all of them one after the other, (values,).
    sizes: (n, 2) height and width of each.
    """

    pixels: NDArray[np.uint8]
    sizes: Ints | None = None

    def take(self, rows: Ints) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
        """Return some images, (k, 3, H, W) uint8, each in the top left of its row, and the height and width of each."""
        if self.sizes is None:
            height, width = self.pixels.shape[2:]
            return np.ascontiguousarray(self.pixels[rows]), [(height, width)] * len(rows)
        ends = 3 * self.sizes.prod(axis=1).cumsum()
        taken = np.zeros((len(rows), 3, *self.sizes[rows].max(axis=0)), np.uint8)
        for target, row in zip(taken, rows.tolist(), strict=True):
            height, width = self.sizes[row].tolist()
            target[:, :height, :width] = self.pixels[ends[row] - 3 * height * width : ends[row]].reshape(
                3, height, width
            )
        return taken, [(height, width) for height, width in self.sizes[rows].tolist()]


@dataclass(frozen=True)
class Decoded:
    """Decoded images: number k of `images` is the sample at position `positions[k]`.

    unreadable: reason by position in `positions`; such rows are black.
    """

    images: Stack
    unreadable: dict[int, str]


def cache_folder() -> Path:
    """Where decoded images are kept: $ROBENCH_CACHE, else robench in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("ROBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robench"


def hash_images(images: ImageSet, positions: Ints, advance: Advance = lambda _: None) -> Hashes:
    """Read the images at `positions` once and hash them."""

    def digest(position: int) -> tuple[str, str]:
        try:
            return hashlib.sha256(images.read(position)).hexdigest(), ""
        except OSError as error:
            return "", str(error)

    hashes, unreadable = [], {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for position, (sha, reason) in zip(positions, pool.map(digest, positions.tolist()), strict=True):
            hashes.append(sha)
            if reason:
                unreadable[int(position)] = reason
            advance(1)
    return Hashes(positions, tuple(hashes), unreadable)


def decode_one(encoded: bytes, geometry: Geometry) -> NDArray[np.uint8]:
    """Decode one image to (3, side, side) uint8 RGB; DatasetError with the decoder's reason where that fails."""
    try:
        with Image.open(BytesIO(encoded)) as image:
            pixels = np.asarray(geometry.apply(image))
    except UnidentifiedImageError as error:
        raise DatasetError("it is no image that Pillow knows") from error
    except _DAMAGE as error:
        raise DatasetError(" ".join(str(error).split()) or type(error).__name__) from error
    return pixels.transpose(2, 0, 1)


def decode_few(images: ImageSet, positions: Ints, geometry: Geometry) -> NDArray[np.uint8]:
    """Decode some images to (n, 3, height, width) uint8, past the cache; DatasetError names the first that fails."""
    pixels = []
    for position in positions.tolist():
        try:
            pixels.append(decode_one(images.read(position), geometry))
        except (DatasetError, OSError) as error:
            raise DatasetError(f"cannot read the image {images.paths[position]}: {error}") from error
    return np.stack(pixels)


def decode(
    images: ImageSet, hashes: Hashes, geometry: Geometry, *, skip: bool, advance: Advance = lambda _: None
) -> Decoded:
    """Return the images at `hashes.positions` under `geometry`, from the cache or into it.

    skip: whether unreadable images become black rows that are listed; else the first one is a DatasetError.
    """
    identity = [_VERSION, PIL.__version__, str(geometry), *hashes.sha]
    entry = cache_folder() / "decoded" / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    decoded = _open(entry)
    if decoded is None:
        with _cache_errors(entry.parent):
            _fill(entry, images, hashes, geometry, skip, advance)
        decoded = _open(entry)
        if decoded is None:
            raise DatasetError(f"the decode cache {entry} cannot be read back: check the disk, or set ROBENCH_CACHE")
    else:
        advance(len(hashes.positions))
    if decoded.unreadable and not skip:
        position = min(decoded.unreadable)
        _refuse(images, position, decoded.unreadable[position])
    return decoded


def _open(entry: Path) -> Decoded | None:
    try:
        unreadable = json.loads((entry / "unreadable.json").read_text())
        pixels = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    sizes = np.load(entry / "sizes.npy", allow_pickle=False) if (entry / "sizes.npy").exists() else None
    return Decoded(Stack(pixels, sizes), {int(position): reason for position, reason in unreadable.items()})


def _fill(entry: Path, images: ImageSet, hashes: Hashes, geometry: Geometry, skip: bool, advance: Advance) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".tmp-"))
    try:
        unreadable = dict(hashes.unreadable)
        count = len(hashes.positions)
        if geometry.square:
            pixels = _allocate(folder / "images.npy", (count, 3, geometry.side, geometry.side))
            targets = list(pixels)
        else:
            sizes = np.array([_size(images, int(position), geometry) for position in hashes.positions], np.int64)
            np.save(folder / "sizes.npy", sizes)
            ends = 3 * sizes.prod(axis=1).cumsum()
            pixels = _allocate(folder / "images.npy", (int(ends[-1]),))
            parts = np.split(pixels, ends[:-1])
            targets = [part.reshape(3, *size) for part, size in zip(parts, sizes.tolist(), strict=True)]

        def one(row: int) -> str:
            position = int(hashes.positions[row])
            if position in unreadable:
                return unreadable[position]
            try:
                targets[row][...] = decode_one(images.read(position), geometry)
            except (DatasetError, OSError, ValueError) as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for position, reason in zip(hashes.positions, pool.map(one, range(count)), strict=True):
                if reason:
                    unreadable[int(position)] = reason
                    if not skip:
                        pool.shutdown(cancel_futures=True)
                        _refuse(images, int(position), reason)
                advance(1)
        pixels.flush()
        (folder / "unreadable.json").write_text(json.dumps(unreadable))
        folder.chmod(0o755)
        try:
            folder.rename(entry)
        except OSError:
            # Another process has finished the same entry first; anything else that is in the way cannot be opened.
            if _open(entry) is None:
                shutil.rmtree(entry, ignore_errors=True)
                folder.rename(entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(images: ImageSet, position: int, geometry: Geometry) -> tuple[int, int]:
    """Height and width of a picture under a geometry, from its header; one pixel where that cannot be read."""
    try:
        with Image.open(BytesIO(images.read(position))) as image:
            return geometry.size(image.height, image.width)
    except _DAMAGE:
        return 1, 1


def _allocate(file: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """Make the array on disk, with its blocks: writing to a memory map on a full disk would kill the process."""
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    with file.open("r+b") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    return pixels


def _refuse(images: ImageSet, position: int, reason: str) -> None:
    raise DatasetError(f"cannot read the image {images.paths[position]}: {reason}; mend it or give --skip-unreadable")


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
        ):
            reason = os.strerror(error.errno).lower()
            raise DatasetError(
                f"cannot keep decoded images in {folder} ({reason}): set ROBENCH_CACHE to another folder"
            ) from error
        raise
