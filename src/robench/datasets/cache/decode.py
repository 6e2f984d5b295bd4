"""Decoded images of a dataset under one geometry: uint8, memory-mapped and keyed by content.

The key of an entry is the SHA-256 of the decoders' versions, the geometry and the hashes of all encoded images. A changed
image therefore makes another entry, and equal images share one, whatever their paths.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from robench.datasets.cache.entries import (
    VERSION,
    Note,
    Parts,
    building,
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
from robench.datasets.io.bands import is_array, is_tiff, planes_of, read_array
from robench.datasets.io.ignored import ignored_properties
from robench.datasets.io.image_formats import check_scans, image_formats
from robench.errors import DatasetError, one_line
from robench.runs.files import cache_folder
from robench.suites.geometry import RGB, Geometry, PixelFormat, without_border
from robench.types import Ints

__all__ = ["Hashes", "decode", "decode_few", "decode_one", "decoders", "find_decoded", "hash_images"]

# Pillow's plugins raise many kinds of errors for damaged files; its documentation promises no base class.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError,
           AttributeError, RuntimeError, NotImplementedError, Image.DecompressionBombError, ImportError, Warning)  # fmt: skip

# Pillow warns of damaged metadata, and of an image with more than 89 million pixels. It refuses twice as many, which is enough.
# Threads decode the images, so that only the filter of the process works. If warnings are errors, such an image is unreadable.
warnings.filterwarnings("ignore", module=r"PIL\.")

Advance = Callable[[int], None]
T = TypeVar("T")

_PART = 32
"""Most images of a thread's task. A task costs 30 us, a quarter of the time for a 32-pixel image."""
_DECODERS = PIL.__version__, features.version("jpg"), features.version("libjpeg_turbo")


@dataclass(frozen=True)
class Hashes:
    """Hashes of encoded images.

    Attributes:
        positions: (n,) positions of the images in the dataset.
        sha: SHA-256 of each image, hexadecimal; empty for an unreadable image.
        unreadable: Reason by position of each image that cannot be read.
    """

    positions: Ints
    sha: tuple[str, ...]
    unreadable: dict[int, str]


def hash_images(images: ImageDataset, positions: Ints, advance: Advance = lambda _: None) -> Hashes:
    """Read the images at `positions` once and hash them; `advance` takes the number of images after each part."""
    selected = positions.tolist()

    def digests(rows: range) -> list[tuple[str, str]]:
        return [_digest(images, selected[row]) for row in rows]

    hashes, unreadable = [], {}
    with closing(_in_parts(digests, len(selected))) as parts:
        for rows, part in parts:
            for row, (sha, reason) in zip(rows, part, strict=True):
                hashes.append(sha)
                if reason:
                    unreadable[selected[row]] = reason
            advance(len(rows))
    return Hashes(positions, tuple(hashes), unreadable)


def _digest(images: ImageDataset, position: int) -> tuple[str, str]:
    try:
        return hashlib.sha256(images.read(position)).hexdigest(), ""
    except OSError as error:
        return "", _reason(error)


def _reason(error: Exception) -> str:
    """Return why an image cannot be read, without its path."""
    if isinstance(error, DatasetError):
        return error.problem  # Threads do not know whether options are flags.
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def decode_one(
    encoded: bytes,
    geometry: Geometry,
    border: int = 0,
    ignored: Callable[[Iterable[str]], object] = lambda _: None,
    pixels: PixelFormat = RGB,
) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        encoded: Content of an image file.
        geometry: Resize and crop to apply.
        border: Width in pixels of a frame to cut off first.
        ignored: Called with the properties that are ignored, see `ignored_notes`.
        pixels: Bands and range of values.

    Returns:
        (bands, height, width) uint8; RGB if there are three.

    Raises:
        DatasetError: The image cannot be decoded.
    """
    check_scans(encoded)
    try:
        if is_array(encoded, pixels):
            return _bands(read_array(encoded), geometry, border, ignored, pixels)
        with Image.open(BytesIO(encoded), formats=image_formats()) as image:
            if pixels == RGB:
                values = np.asarray(geometry.apply(without_border(image, border))).transpose(2, 0, 1)
            else:
                values = _bands(image, geometry, border, ignored, pixels)
            with suppress(*DECODE_ERRORS):  # Damaged metadata has no effect on pixels.
                ignored(ignored_properties(image))
    except UnidentifiedImageError as error:
        if is_tiff(encoded):
            return _bands(read_array(encoded), geometry, border, ignored, pixels)
        raise DatasetError("it is not an image that Pillow knows") from error
    except DECODE_ERRORS as error:
        raise DatasetError(one_line(error)) from error
    return values


def _bands(
    image: NDArray[Any] | Image.Image,
    geometry: Geometry,
    border: int,
    ignored: Callable[[Iterable[str]], object],
    pixels: PixelFormat,
) -> NDArray[np.uint8]:
    """Return the bands of an image, each resized and cropped alone, (bands, height, width) uint8."""
    planes, is_grey = planes_of(image, pixels)
    if is_grey:
        ignored(("colour",))
    bands = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack([np.asarray(geometry.apply(without_border(band, border), "L")) for band in bands])


def decode_few(images: ImageDataset, positions: Ints, geometry: Geometry) -> NDArray[np.uint8]:
    """Decode images without the cache to (n, bands, height, width) uint8.

    Raises:
        DatasetError: An image cannot be read.
    """
    pixels = []
    for position in positions.tolist():
        try:
            pixels.append(decode_one(images.read(position), geometry, images.border, pixels=images.pixels))
        except (DatasetError, OSError) as error:
            raise DatasetError(
                f"cannot read the image {images.paths[position]}: {_reason(error)}",
                "replace the file",
            ) from error
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
    """Return the images at `hashes.positions` from the cache; decode them into it if they are missing.

    Args:
        images: The dataset.
        hashes: Result of `hash_images`.
        geometry: Resize and crop to apply.
        skip: Whether unreadable images become black rows that are listed in the result.
        advance: Called with the number of images after each part.
        note: Called if another process decodes the same images, if the cache holds a damaged copy, and if entries are removed.

    Raises:
        DatasetError: An image is unreadable and `skip` is false, or the cache cannot be written.
    """
    entry, bands = _entry(hashes, geometry, images.border, images.pixels), images.pixels.bands
    name = f"{images.name} at {geometry}"
    decoded = open_entry(entry)
    if decoded is None:
        with (
            _cache_errors(entry.parent),
            building(entry, lambda: note(f"another process is decoding {name}: waiting for it")),
        ):
            decoded = open_entry(entry)  # Another process may have created it meanwhile.
            if decoded is None:
                if entry.exists():
                    note(f"the decode cache holds a damaged copy of {name}: decoding again")
                    discard(entry)
                _fill(entry, images, hashes, geometry, skip, advance, note)
                decoded = open_entry(entry, check=False)
                if decoded is None:
                    raise DatasetError(
                        f"the decode cache {entry} cannot be read back", "check the disk, or set ROBENCH_CACHE"
                    )
                return _with_positions(hashes.positions, decoded, bands)
    advance(len(hashes.positions))
    decoded = _with_positions(hashes.positions, decoded, bands)
    if decoded.unreadable and not skip:
        position = min(decoded.unreadable)
        raise _unreadable(images, position, decoded.unreadable[position])
    return decoded


def find_decoded(hashes: Hashes, geometry: Geometry, border: int, pixels: PixelFormat) -> Decoded | None:
    """Return the result of `decode` if the cache holds it; the images themselves are not read.

    Args:
        hashes: Result of `hash_images`.
        geometry: Resize and crop to apply.
        border: Width of the dataset's border in pixels.
        pixels: Bands and range of values.
    """
    with _cache_errors(cache_folder()):
        decoded = open_entry(_entry(hashes, geometry, border, pixels))
    return None if decoded is None else _with_positions(hashes.positions, decoded, pixels.bands)


def decoders() -> str:
    """Return the versions of the image decoders, on which pixels depend."""
    return " ".join(map(str, _DECODERS))


def _entry(hashes: Hashes, geometry: Geometry, border: int, pixels: PixelFormat) -> Path:
    """Return the path of an entry, which is named by everything that its pixels depend on."""
    identity = json.dumps([VERSION, *_DECODERS, border, str(geometry), *pixels.parts, *hashes.sha])
    return entry_path(hashlib.sha256(identity.encode()).hexdigest()[:32])


def _with_positions(positions: Ints, decoded: Decoded, bands: int) -> Decoded:
    """Return an entry with positions instead of rows: the same images may have other positions in another dataset."""
    unreadable = {int(positions[row]): reason for row, reason in decoded.unreadable.items()}
    return replace(decoded, unreadable=unreadable, images=replace(decoded.images, bands=bands))


def _fill(
    entry: Path, images: ImageDataset, hashes: Hashes, geometry: Geometry, skip: bool, advance: Advance, note: Note
) -> None:
    positions = hashes.positions.tolist()
    unreadable: dict[int, str] = {}
    files: dict[str, Parts] = {}
    ignored = Counter[str]()
    with new_entry(entry) as folder:
        if geometry.has_one_shape:
            shapes = [(images.pixels.bands, *geometry.shape)] * len(positions)
            shape: tuple[int, ...] = (len(positions), *shapes[0])
        else:
            shapes = _shapes(images, positions, geometry)
            shape = (sum(map(math.prod, shapes)),)
            np.save(folder / "sizes.npy", np.array(shapes, np.int64)[:, 1:])
            files["sizes.npy"] = part_checksums(folder / "sizes.npy")
        make_room(entry, math.prod(shape), note)
        with (folder / "images.npy").open("wb", buffering=0) as file:
            header = _header(shape)
            starts = list(accumulate(map(math.prod, shapes), initial=len(header)))
            _reserve(file.fileno(), starts[-1])
            _write(file.fileno(), header, 0)
            files["images.npy"] = [(len(header), zlib.crc32(header))]

            def part(rows: range) -> tuple[list[str], int, Counter[str]]:
                reasons, crc, found = [], 0, Counter[str]()
                for row in rows:
                    pixels = np.zeros(shapes[row], np.uint8)
                    position = positions[row]
                    reasons.append(
                        hashes.unreadable.get(position) or _read(images, position, geometry, pixels, found.update)
                    )
                    crc = zlib.crc32(pixels.data, crc)
                    _write(file.fileno(), pixels.data.cast("B"), starts[row])
                return reasons, crc, found

            with closing(_in_parts(part, len(positions))) as parts:
                for rows, (reasons, crc, found) in parts:
                    ignored += found
                    for row, reason in zip(rows, reasons, strict=True):
                        if reason:
                            unreadable[row] = reason
                            if not skip:
                                raise _unreadable(images, positions[row], reason)
                    files["images.npy"].append((starts[rows.stop] - starts[rows.start], crc))
                    advance(len(rows))
        finish_entry(
            folder,
            name=images.name,
            geometry=str(geometry),
            images=len(positions),
            unreadable=unreadable,
            ignored=ignored,
            files=files,
        )


def _read(
    images: ImageDataset,
    position: int,
    geometry: Geometry,
    pixels: NDArray[np.uint8],
    ignored: Callable[[Iterable[str]], object],
) -> str:
    """Decode an image into `pixels`; return the reason if it is unreadable, else an empty text."""
    try:
        pixels[...] = decode_one(images.read(position), geometry, images.border, ignored, images.pixels)
    except (DatasetError, OSError, ValueError) as error:
        return _reason(error)
    return ""


def _in_parts(work: Callable[[range], T], count: int) -> Generator[tuple[range, T], None, None]:
    """Call `work` for parts of the numbers below `count` on all threads; yield each part and its result in order."""
    threads = os.cpu_count() or 1
    step = max(1, min(_PART, count // (4 * threads)))
    parts = [range(start, min(start + step, count)) for start in range(0, count, step)]
    pool = ThreadPoolExecutor(threads)
    try:
        yield from zip(parts, pool.map(work, parts), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _shapes(images: ImageDataset, positions: list[int], geometry: Geometry) -> list[tuple[int, int, int]]:
    """Return the shape of each decoded image, from the headers."""

    def sizes(rows: range) -> list[tuple[int, int]]:
        return [_size(images, positions[row], geometry) for row in rows]

    with closing(_in_parts(sizes, len(positions))) as parts:
        return [(images.pixels.bands, *size) for _, part in parts for size in part]


def _size(images: ImageDataset, position: int, geometry: Geometry) -> tuple[int, int]:
    """Return height and width of an image under a geometry, from its header; one pixel for an unreadable image."""
    try:
        encoded = images.read(position)
        if is_array(encoded, images.pixels):
            return decode_one(encoded, geometry, images.border, pixels=images.pixels).shape[1:]
        with Image.open(BytesIO(encoded), formats=image_formats()) as image:
            return geometry.size(image.height - 2 * images.border, image.width - 2 * images.border)
    except (DatasetError, *DECODE_ERRORS):
        return 1, 1


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a uint8 .npy file."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _reserve(file: int, size: int) -> None:
    """Reserve disk space now, so that a full disk is found before the work."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _write(file: int, content: bytes | memoryview, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _unreadable(images: ImageDataset, position: int, reason: str) -> DatasetError:
    return DatasetError(
        f"cannot read the image {images.paths[position]}: {reason}", "repair it, or give --skip-unreadable"
    )


_NAMES = "ENOSPC EDQUOT EACCES EPERM EROFS ENOENT ENOTDIR EEXIST ELOOP ENAMETOOLONG EIO ENOLCK EOPNOTSUPP"
_FOLDER_ERRNOS = {getattr(errno, name) for name in _NAMES.split()}
"""Errors of the operating system that another folder avoids."""


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FOLDER_ERRNOS:
            raise
        clear = ", or free space with `robench cache clear`" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise DatasetError(
            f"cannot keep decoded images in {folder} ({os.strerror(error.errno or 0).lower()})",
            f"set ROBENCH_CACHE to another folder{clear}",
        ) from error
