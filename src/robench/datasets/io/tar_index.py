"""The index of a tar archive: where its files lie. Nothing is extracted, and little is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robench.datasets.io.bounded import file_size
from robench.errors import DatasetError

__all__ = ["Member", "members"]

_BLOCK = 512
_NAME_BYTES = 2**16
_PAX_BYTES = 2**20
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}
"""First bytes of compressed files, and what undoes that."""
_KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"}


@dataclass(frozen=True)
class Member:
    """A regular file in an archive: its path there, and where its bytes are."""

    name: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files of an uncompressed tar archive (ustar, pax, GNU, v7), in its order; folders are passed over.

    DatasetError where the archive is damaged or cut off, and for members that are links, devices or sparse, that have an
    absolute path or one with '..'.
    """
    end = file_size(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield from _members(path, descriptor, end)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error


def _members(path: Path, descriptor: int, end: int) -> Iterator[Member]:
    place = 0
    said: dict[str, str] = {}
    while True:
        header = os.pread(descriptor, _BLOCK, place)
        if place == 0:
            _check_start(path, header)
        if len(header) < _BLOCK:
            raise DatasetError(f"{path} has no end: it was cut off; copy or download it again")
        if not any(header):
            return
        try:
            if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
                raise ValueError
            size, kind = _number(header[124:136]), header[156:157]
            start = place + _BLOCK
            if kind in (b"0", b"\0", b"7") and "size" in said:
                size = _decimal(said["size"])
            if size > end - start:
                raise DatasetError(f"{path} ends within a member: it was cut off; copy or download it again")
            place = start + -(-size // _BLOCK) * _BLOCK
            if kind == b"L":
                said["path"] = _content(descriptor, start, size, _NAME_BYTES).rstrip(b"\0").decode()
                continue
            if kind == b"K":
                continue
            if kind in (b"x", b"g"):
                records = _records(_content(descriptor, start, size, _PAX_BYTES))
                if any(key.startswith("GNU.sparse.") for key in records) or (
                    kind == b"g" and {"path", "size"} & {*records}
                ):
                    raise DatasetError(f"{path} has a member that is a sparse file: pack the samples with plain tar")
                said.update(records if kind == b"x" else {})
                continue
            name = said.get("path") or _name(header)
        except ValueError as error:
            raise DatasetError(f"{path} is damaged at byte {place}: copy or download it again") from error
        said = {}
        if kind == b"5" or name.endswith("/"):
            continue
        if kind not in (b"0", b"\0", b"7"):
            raise DatasetError(
                f"{path} has a member that is {_KINDS.get(kind, 'no plain file')}, {name!r}: pack the files themselves"
            )
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or not parts:
            raise DatasetError(
                f"{path} has a member that leaves its folder, {name!r}: pack it again with relative paths"
            )
        yield Member("/".join(parts), start, size)


def _check_start(path: Path, header: bytes) -> None:
    tool = next((tool for start, tool in _COMPRESSED.items() if header.startswith(start)), None)
    if tool is not None and header[257:262] != b"ustar":
        raise DatasetError(
            f"{path} is compressed, so its samples have no fixed places: unpack it to a .tar with {tool}"
        )


def _content(descriptor: int, start: int, size: int, limit: int) -> bytes:
    if size > limit:
        raise ValueError
    return os.pread(descriptor, size, start)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode()


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or, where the first bit is set, binary."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    return int(digits, 8) if digits.isdigit() else _zero(digits)


def _zero(digits: bytes) -> int:
    if digits:
        raise ValueError
    return 0


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError
    return int(text)


def _records(content: bytes) -> dict[str, str]:
    """The `LENGTH KEY=VALUE` lines of a pax header; ValueError if they are none."""
    records, place = {}, 0
    while place < len(content):
        space = content.index(b" ", place, place + 20)
        length = _decimal(content[place:space].decode("ascii"))
        record = content[space + 1 : place + length]
        if not place + length <= len(content) or not record.endswith(b"\n") or b"=" not in record:
            raise ValueError
        key, _, value = record[:-1].partition(b"=")
        records[key.decode()] = value.decode() if key in (b"path", b"size") else ""
        place += length
    return records
