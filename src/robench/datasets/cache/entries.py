"""The folder of the decode cache: its entries, who uses them, and how much room they take.

An entry is a folder named by its key, with `images.npy`, uint8; `sizes.npy` where the images keep their own shapes; and
`entry.json`: what it holds, and checksums of everything. Its time of change is when the entry was last opened.

Who makes or removes an entry holds `<key>.lock`; only the holder touches `.tmp-<key>`, which becomes the entry by being
renamed. Who uses an entry holds a shared lock on its `images.npy` as long as the memory map lives, and no entry that is
locked so is removed. The system releases both kinds of locks when a process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from robench.datasets.cache.image_stack import Decoded, ImageStack
from robench.datasets.cache.locks import is_same_file, locked
from robench.errors import OptionError, unknown_name

__all__ = [
    "VERSION",
    "Cleared",
    "Entry",
    "Note",
    "Parts",
    "as_json",
    "building",
    "cache_folder",
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
    "size_text",
]

VERSION = 1
"""Of the layout of an entry, and of which images can be read; entries of others are never opened, and make room as all do."""

Note = Callable[[str], object]
"""Takes one line that the user should know."""

Parts = list[tuple[int, int]]
"""Length in bytes and CRC-32 of the parts of a file, one after the other to its end."""

_DEFAULT_LIMIT = 50 * 10**9
_BLOCK = 1 << 18  # Bytes read at once: they stay in the processor's cache until their checksum is made.
_KEY = re.compile(r"[0-9a-f]{32}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """What is known about an entry without reading its images.

    name: of the dataset it was made from.  images: how many; None, with an empty name, for another version's entry.
    bytes: on disk.  used: when it was last opened.  in_use: whether a process has it open now.
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
        """The first digits of its key, by which it can be named."""
        return self.path.name[:8]

    @property
    def label(self) -> str:
        """What it is, in words."""
        return f"{self.name} at {self.geometry} ({self.key})" if self.name else f"another version's entry ({self.key})"


@dataclass(frozen=True)
class Cleared:
    """What `clear` did.  left: entries that stay, and why."""

    removed: tuple[Entry, ...]
    kept: tuple[tuple[Entry, str], ...]

    @property
    def bytes(self) -> int:
        """How much was freed."""
        return sum(entry.bytes for entry in self.removed)


def cache_folder() -> Path:
    """Where decoded images are kept: $ROBENCH_CACHE, else robench in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("ROBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robench"


def entry_path(key: str) -> Path:
    """Where the entry of a key is, or would be."""
    return cache_folder() / "decoded" / key


def open_entry(path: Path, *, check: bool = True) -> Decoded | None:
    """Open an entry; None where there is none, or where it is not what was written.

    check: whether the images are compared with their checksums. The entry is in use until nobody holds the array.
    """
    try:
        with (path / "images.npy").open("rb") as file:
            # A lock belongs to the open file, and the memory map keeps a duplicate of that: both end together.
            fcntl.flock(file, fcntl.LOCK_SH)
            if not is_same_file(file.fileno(), path / "images.npy"):
                return None  # It was removed while we waited.
            about = _read_about(path)
            if check and not all(_sound(path / name, parts) for name, parts in about["files"].items()):
                return None
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                return None
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            pixels = np.memmap(file, np.uint8, "r", file.tell(), shape)
        sizes = np.load(path / "sizes.npy", allow_pickle=False) if "sizes.npy" in about["files"] else None
        unreadable = {int(position): reason for position, reason in about["unreadable"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with suppress(OSError):  # A cache that may only be read serves too.
        os.utime(path / "entry.json")
    return Decoded(ImageStack(pixels, sizes), unreadable)


@contextmanager
def building(path: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Be the only one who makes the entry at `path`; `waiting` is called if another process does that first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(_lock(path), waiting):
        yield


@contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """A folder that takes the place of the entry if the block ends well; for the holder of `making`."""
    folder = _temporary(path)
    _erase(folder)
    folder.mkdir()
    try:
        yield folder
        folder.rename(path)
    finally:
        _erase(folder)


def discard(path: Path) -> None:
    """Remove an entry that cannot be opened; for the holder of `making`. Who still maps it keeps its pixels."""
    _erase(_temporary(path))
    path.rename(_temporary(path))
    _erase(_temporary(path))


def finish_entry(
    folder: Path, *, name: str, geometry: str, images: int, unreadable: dict[int, str], files: dict[str, Parts]
) -> None:
    """Write `entry.json`, the last file of an entry."""
    about = {
        "version": VERSION,
        "name": name,
        "geometry": geometry,
        "images": images,
        "bytes": sum(length for parts in files.values() for length, _ in parts),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "unreadable": {str(position): reason for position, reason in unreadable.items()},
        "files": files,
    }
    (folder / "entry.json").write_text(json.dumps({**about, "crc32": _crc(about)}))


def part_checksums(file: Path) -> Parts:
    """Length and checksum of a small file, as one part."""
    content = file.read_bytes()
    return [(len(content), zlib.crc32(content))]


def make_room(path: Path, size: int, note: Note) -> None:
    """Remove the entries that were used longest ago until one of `size` bytes fits at `path` beside the others.

    Entries in use stay. An entry that is larger than the limit alone is kept all the same, and is the first to go.
    """
    limit = size_limit()
    _sweep(path.parent)
    stored = _entries(path.parent)
    written = sum(_bytes(folder) for folder in path.parent.glob(".tmp-*") if folder != _temporary(path))
    excess = sum(entry.bytes for entry in stored) + written + size - limit
    removed = []
    for entry in sorted(stored, key=lambda entry: (entry.bytes <= limit, entry.used)):
        if excess <= 0:
            break
        if not _remove(entry.path):
            removed.append(entry)
            excess -= entry.bytes
    if removed:
        freed = size_text(sum(entry.bytes for entry in removed))
        note(
            f"removed {freed} that was used longest ago from the decode cache, to keep its limit of {size_text(limit)}"
        )
    if excess > 0:
        note(
            f"the decode cache is {size_text(excess)} over its limit of {size_text(limit)} until it can remove more: "
            "ROBENCH_CACHE_SIZE sets another limit"
        )


def size_limit() -> int:
    """How many bytes the entries may take: $ROBENCH_CACHE_SIZE, else 50 GB, or half of what the disk would have free without
    them where that is less. OptionError for a size that is none."""
    if text := os.environ.get("ROBENCH_CACHE_SIZE", "").strip():
        return _parse_size(text)
    folder = cache_folder() / "decoded"
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    held = sum(entry.bytes for entry in _entries(folder))
    return min(_DEFAULT_LIMIT, (shutil.disk_usage(existing).free + held) // 2)


def _parse_size(text: str) -> int:
    """Bytes of `50GB`, `800MB`, `2GiB` or a plain number."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise OptionError(f"ROBENCH_CACHE_SIZE is {text!r}: give a size like 50GB, 800MB, 2GiB, or a number of bytes")
    number, prefix, binary = found.groups()
    power = " kmgt".index(prefix.lower()) if prefix else 0
    amount = float(number) * (1024 if binary else 1000) ** power
    if amount > 2**63:
        raise OptionError("ROBENCH_CACHE_SIZE is larger than any disk: give a size like 50GB, 800MB or 2GiB")
    return int(amount)


def size_text(size: int) -> str:
    """`7.5 GB`, `150.5 MB`, `512 B`."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def list_entries() -> list[Entry]:
    """All entries, the last used first."""
    folder = cache_folder()
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"the decode cache {folder} is a file: set ROBENCH_CACHE to a folder")
    return sorted(_entries(folder / "decoded"), key=lambda entry: entry.used, reverse=True)


def as_json(entries: Sequence[Entry]) -> str:
    """The cache for programs: its folder, limit and entries; sizes in bytes, times in ISO 8601."""
    listed = [
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
    return json.dumps({**cache, "entries": listed}, indent=2) + "\n"


def clear(names: Sequence[str] = (), older_than: float | None = None) -> Cleared:
    """Remove entries that nobody uses: all, or those of some names (of datasets, or the first digits of keys), or those that
    were not used for `older_than` days. OptionError for a name that no entry has."""
    if older_than is not None and not older_than >= 0:
        raise OptionError(f"--older-than must be a number of days, not {older_than:g}")
    entries = list_entries()
    for name in names:
        if not any(_is_named(entry, name) for entry in entries):
            known = [known for entry in entries for known in (entry.name, entry.key) if known]
            raise OptionError(unknown_name("entry of the decode cache", name, set(known)))
    now = datetime.now(UTC)
    removed, left = [], []
    for entry in entries:
        if names and not any(_is_named(entry, name) for name in names):
            continue
        if older_than is not None and (now - entry.used).total_seconds() < older_than * 86_400:
            continue
        if reason := _remove(entry.path):
            left.append((entry, reason))
        else:
            removed.append(entry)
    _sweep(cache_folder() / "decoded")
    return Cleared(tuple(removed), tuple(left))


def _is_named(entry: Entry, name: str) -> bool:
    return name == entry.name or (len(name) >= 8 and entry.path.name.startswith(name))


def _entries(folder: Path) -> list[Entry]:
    found = []
    with suppress(OSError):
        for path in folder.iterdir():
            if _KEY.fullmatch(path.name):
                with suppress(OSError):  # Another process has just removed it.
                    found.append(_describe(path))
    return found


def _describe(path: Path) -> Entry:
    name, geometry, images = "", "", None
    used = path.stat().st_mtime
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = _read_about(path)
        used = (path / "entry.json").stat().st_mtime
        name, geometry, images = _printable(about["name"]), _printable(about["geometry"]), int(about["images"])
    with _unused(path) as unused:
        return Entry(path, name, geometry, images, _bytes(path), datetime.fromtimestamp(used, UTC), not unused)


def _read_about(path: Path) -> dict[str, Any]:
    about = json.loads((path / "entry.json").read_text())
    if about.pop("crc32") != _crc(about) or about["version"] != VERSION:
        raise ValueError(f"{path / 'entry.json'} is damaged, or another version's")
    return dict(about)


def _crc(about: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())


def _sound(file: Path, parts: Parts) -> bool:
    """Whether a file is made of the given parts; read with all threads, OSError where the disk fails."""
    starts = np.cumsum([0, *(length for length, _ in parts)]).tolist()
    with file.open("rb") as handle, ThreadPoolExecutor(os.cpu_count()) as pool:
        if os.fstat(handle.fileno()).st_size != starts[-1]:
            return False
        # Read, not mapped: a file that is cut short, or a disk that fails, would end the process.
        ends = starts[1:]
        found = pool.map(lambda start, end: _checksum(handle.fileno(), start, end), starts[:-1], ends)
        return all(crc == expected for crc, (_, expected) in zip(found, parts, strict=True))


def _checksum(handle: int, start: int, end: int) -> int:
    crc = 0
    for at in range(start, end, _BLOCK):
        crc = zlib.crc32(os.pread(handle, min(_BLOCK, end - at), at), crc)
    return crc


def _remove(path: Path) -> str:
    """Remove an entry; else the reason why it stays."""
    try:
        with locked(_lock(path)) as mine:
            if not mine:
                return "in use"
            with _unused(path) as unused:
                if not unused:
                    return "in use"
                discard(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Whether nobody maps an entry's images; nobody can begin to before the block ends."""
    try:
        handle = os.open(path / "images.npy", os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unused = True
    except BlockingIOError:
        unused = False
    try:
        yield unused
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left."""
    for left in folder.glob(".tmp-*"):
        with suppress(OSError), locked(_lock(folder / left.name.removeprefix(".tmp-"))) as free:
            if free:
                _erase(left)
    for left in folder.glob("*.lock"):
        with suppress(OSError), locked(left):
            pass  # Its release removes it.


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


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


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
