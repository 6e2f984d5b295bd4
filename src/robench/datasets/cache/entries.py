"""Entries of the decode cache on disk: creation, use by several processes, and removal.

An entry is a folder named by its key. It holds `images.npy` (uint8), `entry.json` (a description, and checksums of all files)
and, if the images have their own sizes, `sizes.npy`. The modification time of `entry.json` is the last use.

The process that creates or removes an entry holds the lock of its key. Only the holder touches `.tmp-<key>`, which becomes
the entry when it is renamed. A process that uses an entry holds a shared lock on `images.npy` as long as the memory map
lives. An entry with a shared lock is not removed. The system releases both kinds of locks when a process ends.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from robench.datasets.byte_sizes import format_bytes, parse_bytes
from robench.datasets.cache.image_stack import Decoded, ImageStack
from robench.datasets.cache.locks import lock_shared, locked, unshared
from robench.errors import OptionError, printable, unknown_name
from robench.runs.files import cache_folder

__all__ = [
    "VERSION",
    "Cleared",
    "Entry",
    "Note",
    "Parts",
    "as_json",
    "building",
    "clear",
    "discard",
    "entry_path",
    "finish_entry",
    "list_entries",
    "make_room",
    "new_entry",
    "open_entry",
    "part_checksums",
    "size_limit",
]

VERSION = 2
"""Version of the layout and of the image readers. Entries of other versions are never read, but removed like all others."""

Note = Callable[[str], object]
"""Takes one line for the user."""

Parts = list[tuple[int, int]]
"""Length in bytes and CRC-32 of each part of a file, in order."""

_DEFAULT_LIMIT = 50 * 10**9
_BLOCK = 1 << 18
"""Bytes that are read at once for a checksum; they fit in the processor's cache."""
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Entry:
    """Description of an entry, without its images.

    Attributes:
        path: Folder of the entry.
        name: Name of the dataset; empty for an entry of another version.
        geometry: Geometry of the images, as text.
        images: Number of images; None for an entry of another version.
        bytes: Size on disk.
        used: Time of the last use.
        in_use: Whether a process has the entry open.
    """

    path: Path
    name: str
    geometry: str
    images: int | None
    bytes: int
    used: datetime
    in_use: bool

    @property
    def key(self) -> str:
        """The first eight digits of the key, which name the entry."""
        return self.path.name[:8]

    @property
    def label(self) -> str:
        """The entry as a phrase for the user."""
        return f"{self.name} at {self.geometry} ({self.key})" if self.name else f"another version's entry ({self.key})"


@dataclass(frozen=True)
class Cleared:
    """Result of `clear`.

    Attributes:
        removed: Entries that were removed.
        kept: Chosen entries that could not be removed, each with the reason.
    """

    removed: tuple[Entry, ...]
    kept: tuple[tuple[Entry, str], ...]

    @property
    def bytes(self) -> int:
        """Freed bytes."""
        return sum(entry.bytes for entry in self.removed)


def entry_path(key: str) -> Path:
    """Return the path of the entry with a key, whether or not it exists."""
    return cache_folder() / "decoded" / key


def open_entry(path: Path, *, check: bool = True) -> Decoded | None:
    """Open an entry, which is in use until the returned array is freed; None if it is missing or damaged.

    Args:
        path: Folder of the entry.
        check: Whether to compare all files with their checksums.
    """
    images = path / "images.npy"
    try:
        with images.open("rb") as file:
            # The lock belongs to the open file, and the memory map keeps a duplicate of the file: both end together.
            lock_shared(file)
            if not os.path.samestat(os.fstat(file.fileno()), images.stat()):
                return None  # Another process removed the entry before the lock was taken.
            about = _read_about(path)
            if check and not all(_is_intact(path / name, parts) for name, parts in about["files"].items()):
                return None
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            pixels = np.memmap(file, np.uint8, "r", file.tell(), shape)
        sizes = np.load(path / "sizes.npy", allow_pickle=False) if "sizes.npy" in about["files"] else None
        unreadable = {int(position): reason for position, reason in about["unreadable"].items()}
        ignored = {name: int(count) for name, count in about["ignored"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with suppress(OSError):  # The cache may be read-only.
        os.utime(path / "entry.json")
    return Decoded(ImageStack(pixels, sizes), unreadable, ignored)


@contextmanager
def building(path: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of an entry in order to create it.

    Args:
        path: Folder of the entry.
        waiting: Called once if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(_lock(path), waiting):
        yield


@contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes the entry unless the block raises; the caller holds `building`."""
    folder = _temporary(path)
    _erase(folder)
    folder.mkdir()
    try:
        yield folder
        folder.rename(path)
    finally:
        _erase(folder)


def discard(path: Path) -> None:
    """Remove an entry whose lock the caller holds; a process that maps it keeps its pixels."""
    _erase(_temporary(path))
    path.rename(_temporary(path))
    _erase(_temporary(path))


def finish_entry(
    folder: Path,
    *,
    name: str,
    geometry: str,
    images: int,
    unreadable: dict[int, str],
    ignored: Mapping[str, int],
    files: dict[str, Parts],
) -> None:
    """Write `entry.json`, the last file of an entry.

    Args:
        folder: Folder that `new_entry` yields.
        name: Name of the dataset.
        geometry: Geometry of the images, as text.
        images: Number of images.
        unreadable: Reason by row of each unreadable image.
        ignored: Number of images by ignored property.
        files: Lengths and checksums of the parts of each file, by file name.
    """
    about = {
        "version": VERSION,
        "name": name,
        "geometry": geometry,
        "images": images,
        "bytes": sum(length for parts in files.values() for length, _ in parts),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "unreadable": {str(position): reason for position, reason in unreadable.items()},
        "ignored": dict(ignored),
        "files": files,
    }
    (folder / "entry.json").write_text(json.dumps({**about, "crc32": _crc(about)}))


def part_checksums(file: Path) -> Parts:
    """Return the length and checksum of a small file, as one part."""
    content = file.read_bytes()
    return [(len(content), zlib.crc32(content))]


def make_room(path: Path, size: int, note: Note) -> None:
    """Remove the least recently used entries until the limit leaves room for a new one.

    Entries in use stay. An entry that is larger than the limit is created too, and is the first to be removed.

    Args:
        path: Folder of the new entry.
        size: Bytes of the new entry.
        note: Called with a line about removed entries, and about an exceeded limit.
    """
    limit = size_limit()
    _remove_leftovers(path.parent)
    stored = _entries(path.parent)
    unfinished = sum(_bytes(folder) for folder in path.parent.glob(".tmp-*") if folder != _temporary(path))
    excess = sum(entry.bytes for entry in stored) + unfinished + size - limit
    freed = 0
    for entry in sorted(stored, key=lambda entry: (entry.bytes <= limit, entry.used)):
        if excess <= 0:
            break
        if not _remove(entry.path):
            freed += entry.bytes
            excess -= entry.bytes
    if freed:
        note(
            f"removed {format_bytes(freed)} of least recently used images from the decode cache, "
            f"to keep its limit of {format_bytes(limit)}"
        )
    if excess > 0:
        note(
            f"the decode cache exceeds its limit of {format_bytes(limit)} by {format_bytes(excess)} until more can be removed; "
            "set another limit with ROBENCH_CACHE_SIZE"
        )


def size_limit() -> int:
    """Return the limit of the cache in bytes: $ROBENCH_CACHE_SIZE, else 50 GB.

    The default is at most half of the disk space that would be free without the cache.
    """
    folder = cache_folder() / "decoded"
    if text := os.environ.get("ROBENCH_CACHE_SIZE", "").strip():
        size, hint = parse_bytes(text), "give a size like 50GB, 800MB, 2GiB, or a number of bytes"
        if size is None:
            raise OptionError(f"ROBENCH_CACHE_SIZE must be a size, not {text!r}", hint)
        if size > 2**63:
            raise OptionError("ROBENCH_CACHE_SIZE is larger than any disk", hint)
        return size
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    cached = sum(entry.bytes for entry in _entries(folder))
    return min(_DEFAULT_LIMIT, (shutil.disk_usage(existing).free + cached) // 2)


def list_entries() -> list[Entry]:
    """Return all entries, the most recently used first."""
    folder = cache_folder()
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"the decode cache {folder} is a file", "set ROBENCH_CACHE to a folder")
    return sorted(_entries(folder / "decoded"), key=lambda entry: entry.used, reverse=True)


def as_json(entries: Sequence[Entry]) -> str:
    """Return the folder, limit and entries of the cache as JSON; sizes are in bytes, times in ISO 8601."""
    items = [
        {
            "key": entry.path.name,
            "name": entry.name,
            "geometry": entry.geometry,
            "images": entry.images,
            "bytes": entry.bytes,
            "last_used": entry.used.isoformat(timespec="seconds"),
            "in_use": entry.in_use,
        }
        for entry in entries
    ]
    cache = {"folder": str(cache_folder()), "bytes": sum(entry.bytes for entry in entries), "limit": size_limit()}
    return json.dumps({**cache, "entries": items}, indent=2) + "\n"


def clear(names: Sequence[str] = (), older_than: float | None = None) -> Cleared:
    """Remove entries that are not in use.

    Args:
        names: Names of datasets, or first digits of keys; empty for all entries.
        older_than: Remove only entries that were not used for this number of days.

    Raises:
        OptionError: No entry has one of the names, or `older_than` is negative.
    """
    if older_than is not None and not older_than >= 0:
        raise OptionError(f"--older-than must be 0 or more days, not {older_than:g}", "omit it for all entries")
    entries = list_entries()
    for name in names:
        if not any(_is_named(entry, name) for entry in entries):
            known = {known for entry in entries for known in (entry.name, entry.key) if known}
            raise OptionError(*unknown_name("entry of the decode cache", name, known))
    now = datetime.now(UTC)
    removed, kept = [], []
    for entry in entries:
        if names and not any(_is_named(entry, name) for name in names):
            continue
        if older_than is not None and (now - entry.used).total_seconds() < older_than * 86_400:
            continue
        if reason := _remove(entry.path):
            kept.append((entry, reason))
        else:
            removed.append(entry)
    _remove_leftovers(cache_folder() / "decoded")
    return Cleared(tuple(removed), tuple(kept))


def _is_named(entry: Entry, name: str) -> bool:
    return name == entry.name or (len(name) >= 8 and entry.path.name.startswith(name))


def _entries(folder: Path) -> list[Entry]:
    entries = []
    with suppress(OSError):
        for path in folder.iterdir():
            if _KEY.fullmatch(path.name):
                with suppress(OSError):  # Another process may remove it meanwhile.
                    entries.append(_describe(path))
    return entries


def _describe(path: Path) -> Entry:
    name, geometry, images = "", "", None
    used = path.stat().st_mtime
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = _read_about(path)
        used = (path / "entry.json").stat().st_mtime
        name, geometry, images = printable(about["name"]), printable(about["geometry"]), int(about["images"])
    with unshared(path / "images.npy") as unused:
        return Entry(path, name, geometry, images, _bytes(path), datetime.fromtimestamp(used, UTC), not unused)


def _read_about(path: Path) -> dict[str, Any]:
    about = json.loads((path / "entry.json").read_text())
    if about.pop("crc32") != _crc(about) or about["version"] != VERSION:
        raise ValueError(f"{path / 'entry.json'} is damaged or of another version")
    return dict(about)


def _crc(about: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())


def _is_intact(file: Path, parts: Parts) -> bool:
    """Compare a file with the checksums of its parts, with all threads; raise OSError if it cannot be read."""
    starts = np.cumsum([0, *(length for length, _ in parts)]).tolist()
    if file.stat().st_size != starts[-1]:
        return False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The file is read, not mapped: a mapped file that is cut short ends the process.
        sums = pool.map(lambda start, end: _checksum(file, start, end), starts[:-1], starts[1:])
        return all(crc == expected for crc, (_, expected) in zip(sums, parts, strict=True))


def _checksum(file: Path, start: int, end: int) -> int:
    crc = 0
    with file.open("rb", buffering=0) as handle:
        handle.seek(start)
        for position in range(start, end, _BLOCK):
            crc = zlib.crc32(handle.read(min(_BLOCK, end - position)), crc)
    return crc


def _remove(path: Path) -> str:
    """Remove an entry; return the reason if it stays, else an empty text."""
    try:
        with locked(_lock(path)) as held, unshared(path / "images.npy") as unused:
            if not (held and unused):
                return "in use"
            discard(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""


def _remove_leftovers(folder: Path) -> None:
    """Remove the unfinished entries of killed processes."""
    for leftover in folder.glob(".tmp-*"):
        with suppress(OSError), locked(_lock(folder / leftover.name.removeprefix(".tmp-"))) as held:
            if held:
                _erase(leftover)


def _lock(path: Path) -> Path:
    return cache_folder() / "locks" / f"{path.name}.lock"


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{path.name}")


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _bytes(folder: Path) -> int:
    size = 0
    with suppress(OSError):
        for file in folder.iterdir():
            with suppress(OSError):
                size += file.stat().st_size
    return size
