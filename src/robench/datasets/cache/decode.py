"""Decode once: the uint8 images of a dataset under one geometry, memory-mapped and keyed by content.

An entry's key is the SHA-256 of (decoder, geometry, hashes of all encoded images): a changed image is another entry, and the
same images are one, wherever they lie. `entries.py` says how entries lie on disk and how processes share them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from robench.datasets.cache.entries import (
    VERSION,
    Note,
    Parts,
    building,
    cache_folder,
    discard,
    entry_path,
    finish_entry,
    make_room,
    new_entry,
    open_entry,
    part_checksums,
)
from robench.datasets.cache.image_stack import Decoded
from robench.datasets.dataset import ImageDataset
from robench.datasets.io.image_formats import check_scans, image_formats
from robench.errors import DatasetError
from robench.suites.geometry import Geometry, without_border
from robench.types import Ints

__all__ = ["Hashes", "decode", "decode_few", "decode_one", "decoders", "find_decoded", "hash_images"]

# Pillow's plugins raise many kinds of errors on damaged files; its documentation promises no base class.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError,
           AttributeError, RuntimeError, NotImplementedError, Image.DecompressionBombError, ImportError, Warning)  # fmt: skip

# Pillow warns of damaged metadata, and of a picture with more than 89 million pixels; it refuses one with twice as many, and
# refusals are enough. Images are decoded on threads, so the filter can only be the process's; where warnings are errors in
# spite of it, such a picture is unreadable.
warnings.filterwarnings("ignore", module=r"PIL\.")

Advance = Callable[[int], None]
T = TypeVar("T")

_PART = 32
"""Most images of a thread's task: a task costs 30 us, a quarter of what a 32-pixel image does."""


@dataclass(frozen=True)
class Hashes:
    """SHA-256 (hex) of the encoded images at `positions`; empty where `unreadable` says why there is none."""

    positions: Ints
    sha: tuple[str, ...]
    unreadable: dict[int, str]


def hash_images(images: ImageDataset, positions: Ints, advance: Advance = lambda _: None) -> Hashes:
    """Read the images at `positions` once and hash them."""
    chosen = positions.tolist()

    def digests(rows: range) -> list[tuple[str, str]]:
        return [_digest(images, chosen[row]) for row in rows]

    hashes, unreadable = [], {}
    with closing(_in_parts(digests, len(chosen))) as parts:
        for rows, part in parts:
            for row, (sha, reason) in zip(rows, part, strict=True):
                hashes.append(sha)
                if reason:
                    unreadable[chosen[row]] = reason
            advance(len(rows))
    return Hashes(positions, tuple(hashes), unreadable)


def _digest(images: ImageDataset, position: int) -> tuple[str, str]:
    try:
        return hashlib.sha256(images.read(position)).hexdigest(), ""
    except OSError as error:
        return "", _reason(error)


def _reason(error: Exception) -> str:
    """Why an image cannot be read, without its path, which is said beside it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def decode_one(encoded: bytes, geometry: Geometry, border: int = 0) -> NDArray[np.uint8]:
    """Decode one image to (3, side, side) uint8 RGB; DatasetError with the decoder's reason where that fails.

    border: pixels to cut off every side first.
    """
    check_scans(encoded)
    try:
        with Image.open(BytesIO(encoded), formats=image_formats()) as image:
            pixels = np.asarray(geometry.apply(without_border(image, border)))
    except UnidentifiedImageError as error:
        raise DatasetError("it is no image that Pillow knows") from error
    except DECODE_ERRORS as error:
        raise DatasetError(" ".join(str(error).split()) or type(error).__name__) from error
    return pixels.transpose(2, 0, 1)


def decode_few(images: ImageDataset, positions: Ints, geometry: Geometry) -> NDArray[np.uint8]:
    """Decode some images to (n, 3, height, width) uint8, past the cache; DatasetError names the first that fails."""
    pixels = []
    for position in positions.tolist():
        try:
            pixels.append(decode_one(images.read(position), geometry, images.border))
        except (DatasetError, OSError) as error:
            raise DatasetError(f"cannot read the image {images.paths[position]}: {_reason(error)}") from error
    return np.stack(pixels)


def decode(
    images: ImageDataset,
    hashes: Hashes,
    geometry: Geometry,
    *,
    skip: bool,
    advance: Advance = lambda _: None,
    note: Note = lambda _: None,
) -> Decoded:
    """Return the images at `hashes.positions` under `geometry`, from the cache or into it.

    skip: whether unreadable images become black rows that are listed; else the first one is a DatasetError.
    note: told when another process decodes the same images and is waited for, when the cache holds a damaged copy of them,
    and when others are removed to make room.
    """
    entry = _entry(hashes, geometry, images.border)
    what = f"{images.name} at {geometry}"
    decoded = open_entry(entry)
    if decoded is None:
        with (
            _cache_errors(entry.parent),
            building(entry, lambda: note(f"another process is decoding {what}: waiting for it")),
        ):
            decoded = open_entry(entry)  # Another process may have made it meanwhile.
            if decoded is None:
                if entry.exists():
                    note(f"the decode cache holds a damaged copy of {what}: decoding again")
                    discard(entry)
                _fill(entry, images, hashes, geometry, skip, advance, note)
                decoded = open_entry(entry, check=False)
                if decoded is None:
                    raise DatasetError(
                        f"the decode cache {entry} cannot be read back: check the disk, or set ROBENCH_CACHE"
                    )
                return _at(hashes.positions, decoded)
    advance(len(hashes.positions))
    decoded = _at(hashes.positions, decoded)
    if decoded.unreadable and not skip:
        position = min(decoded.unreadable)
        _refuse(images, position, decoded.unreadable[position])
    return decoded


def find_decoded(hashes: Hashes, geometry: Geometry, border: int) -> Decoded | None:
    """Return what `decode` would, if the cache holds it; the images themselves are not read.

    border: of the dataset.
    """
    with _cache_errors(cache_folder()):
        decoded = open_entry(_entry(hashes, geometry, border))
    return None if decoded is None else _at(hashes.positions, decoded)


def decoders() -> str:
    """Return the versions of what decodes images, on which pixels depend."""
    return " ".join(str(one) for one in _DECODERS)


_DECODERS = PIL.__version__, features.version("jpg"), features.version("libjpeg_turbo")


def _entry(hashes: Hashes, geometry: Geometry, border: int) -> Path:
    """Where the cache keeps these images under a geometry: a name made of everything that their pixels depend on."""
    identity = json.dumps([VERSION, *_DECODERS, border, str(geometry), *hashes.sha])
    return entry_path(hashlib.sha256(identity.encode()).hexdigest()[:32])


def _at(positions: Ints, decoded: Decoded) -> Decoded:
    """An entry with its unreadable rows as positions: the same images may be at others in another dataset."""
    return replace(decoded, unreadable={int(positions[row]): why for row, why in decoded.unreadable.items()})


def _fill(
    entry: Path, images: ImageDataset, hashes: Hashes, geometry: Geometry, skip: bool, advance: Advance, note: Note
) -> None:
    positions = hashes.positions.tolist()
    unreadable: dict[int, str] = {}
    files: dict[str, Parts] = {}
    with new_entry(entry) as folder:
        if geometry.square:
            shapes = [(3, geometry.side, geometry.side)] * len(positions)
            whole: tuple[int, ...] = (len(positions), *shapes[0])
        else:
            shapes = _shapes(images, positions, geometry)
            whole = (sum(map(math.prod, shapes)),)
            np.save(folder / "sizes.npy", np.array([shape[1:] for shape in shapes], np.int64))
            files["sizes.npy"] = part_checksums(folder / "sizes.npy")
        make_room(entry, math.prod(whole), note)
        with (folder / "images.npy").open("wb", buffering=0) as file:
            header = _header(whole)
            starts = list(accumulate(map(math.prod, shapes), initial=len(header)))
            _reserve(file.fileno(), starts[-1])
            _write(file.fileno(), header, 0)
            files["images.npy"] = [(len(header), zlib.crc32(header))]

            def part(rows: range) -> tuple[list[str], int]:
                reasons, crc = [], 0
                for row in rows:
                    pixels = np.zeros(shapes[row], np.uint8)
                    reasons.append(
                        hashes.unreadable.get(positions[row]) or _read(images, positions[row], geometry, pixels)
                    )
                    crc = zlib.crc32(pixels.data, crc)
                    _write(file.fileno(), pixels.data.cast("B"), starts[row])
                return reasons, crc

            with closing(_in_parts(part, len(positions))) as parts:
                for rows, (reasons, crc) in parts:
                    for row, reason in zip(rows, reasons, strict=True):
                        if reason:
                            unreadable[row] = reason
                            if not skip:
                                _refuse(images, positions[row], reason)
                    files["images.npy"].append((starts[rows.stop] - starts[rows.start], crc))
                    advance(len(rows))
        finish_entry(
            folder,
            name=images.name,
            geometry=str(geometry),
            images=len(positions),
            unreadable=unreadable,
            files=files,
        )


def _read(images: ImageDataset, position: int, geometry: Geometry, pixels: NDArray[np.uint8]) -> str:
    """Decode an image into `pixels`; the reason where that fails."""
    try:
        pixels[...] = decode_one(images.read(position), geometry, images.border)
    except (DatasetError, OSError, ValueError) as error:
        return _reason(error)
    return ""


def _in_parts(work: Callable[[range], T], count: int) -> Generator[tuple[range, T], None, None]:
    """Do `work` on the numbers below `count`, in parts, in all threads; results in order."""
    threads = os.cpu_count() or 1
    step = max(1, min(_PART, count // (4 * threads)))
    parts = [range(start, min(start + step, count)) for start in range(0, count, step)]
    pool = ThreadPoolExecutor(threads)
    try:
        yield from zip(parts, pool.map(work, parts), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _shapes(images: ImageDataset, positions: list[int], geometry: Geometry) -> list[tuple[int, int, int]]:
    """Shape of each decoded picture, from the headers."""

    def sizes(rows: range) -> list[tuple[int, int]]:
        return [_size(images, positions[row], geometry) for row in rows]

    with closing(_in_parts(sizes, len(positions))) as parts:
        return [(3, *size) for _, part in parts for size in part]


def _size(images: ImageDataset, position: int, geometry: Geometry) -> tuple[int, int]:
    """Height and width of a picture under a geometry, from its header; one pixel where that cannot be read."""
    try:
        with Image.open(BytesIO(images.read(position)), formats=image_formats()) as image:
            return geometry.size(image.height - 2 * images.border, image.width - 2 * images.border)
    except DECODE_ERRORS:
        return 1, 1


def _header(shape: tuple[int, ...]) -> bytes:
    """What a .npy file of uint8 begins with."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _reserve(file: int, size: int) -> None:
    """Take the room on the disk now, so that a full one is found before the work."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _write(file: int, content: bytes | memoryview, at: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _refuse(images: ImageDataset, position: int, reason: str) -> None:
    raise DatasetError(f"cannot read the image {images.paths[position]}: {reason}; mend it or give --skip-unreadable")


_NAMES = "ENOSPC EDQUOT EACCES EPERM EROFS ENOENT ENOTDIR EEXIST ELOOP ENAMETOOLONG EIO ENOLCK EOPNOTSUPP"
_FOLDER_ERRNOS = {getattr(errno, name) for name in _NAMES.split()}
"""Errors of the system that another folder for the cache avoids."""


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.errno in _FOLDER_ERRNOS:
            reason = os.strerror(error.errno).lower()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            clear = ", or free some with `robench cache clear`" if full else ""
            raise DatasetError(
                f"cannot keep decoded images in {folder} ({reason}): set ROBENCH_CACHE to another folder{clear}"
            ) from error
        raise
