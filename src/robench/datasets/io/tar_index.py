"""The index of a tar archive; nothing is extracted."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from robench.datasets.io.bounded import REDOWNLOAD, open_regular, os_error
from robench.errors import DatasetError

__all__ = ["Member", "members"]

_HEADER_BYTES = 2**14
"""Most bytes of all headers of one member; a path has at most 4 KiB."""
_GLOBAL_RECORDS = 100
"""Most records of global headers, which apply to each member again."""
_DIGITS = re.compile(rb"\d{200}")
"""Digits that no header has in a row; Python before 3.11.10 takes quadratic time for them (CVE-2024-6232)."""
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}
"""First bytes of compressed files, and the program that decompresses them."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive.

    Attributes:
        name: Path in the archive.
        offset: Position of the first byte of its content.
        size: Bytes of its content.
    """

    name: str
    offset: int
    size: int


class _Headers(FileIO):
    """A file that limits how many bytes `tarfile` reads for each member."""

    left = _HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("too large a header")
        self.left -= size
        content: bytes = super().read(size)
        if _DIGITS.search(content):
            raise tarfile.ReadError("too many digits in a header")
        return content


def members(path: Path) -> list[Member]:
    """Return the regular files of an uncompressed tar archive (ustar, pax, GNU, v7) in order; folders are skipped.

    Raises:
        DatasetError: The archive is damaged or cut off. Or a member is a link, a device or sparse, or its path is
            absolute or contains `..`.
    """
    try:
        with open_regular(path) as (file, size):
            start = file.read(tarfile.BLOCKSIZE)
            tool = next((tool for magic, tool in _COMPRESSED.items() if start.startswith(magic)), None)
            if tool is not None and start[257:262] != b"ustar":
                raise DatasetError(
                    f"{path} is compressed, so that its samples have no positions", f"unpack it with {tool}"
                )
            file.seek(0)
            return _read_index(path, _Headers(file.fileno(), closefd=False), size)
    except OSError as error:
        raise os_error(path, error) from error
    except (tarfile.TarError, ValueError, LookupError, OverflowError) as error:
        raise DatasetError(f"{path} is damaged or cut off", REDOWNLOAD) from error


def _read_index(path: Path, file: _Headers, end: int) -> list[Member]:
    found = []
    archive = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="strict")
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]
        file.left = _HEADER_BYTES
        if info.size < 0:  # tarfile would go back and read the same members for ever.
            raise ValueError("a member has a negative size")
        if {"path", "size"} & archive.pax_headers.keys() or len(archive.pax_headers) > _GLOBAL_RECORDS:
            raise ValueError("a global header describes members")
        if info.isdir() or info.name.endswith("/"):
            continue
        if not info.isreg() or info.issparse() or any(key.startswith("GNU.sparse.") for key in info.pax_headers):
            raise DatasetError(
                f"{path} has a member that is not a regular file, {info.name!r}",
                "pack the files themselves with plain tar",
            )
        if info.offset_data + info.size > end:
            raise ValueError("a member ends after the file")
        parts = [part for part in info.name.split("/") if part not in ("", ".")]
        if info.name.startswith("/") or ".." in parts or not parts:
            raise DatasetError(
                f"{path} has a member that leaves its folder, {info.name!r}", "pack it with relative paths"
            )
        found.append(Member("/".join(parts), info.offset_data, info.size))
    # tarfile takes a damaged header, and the end of the file, for the end of the archive.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError("the archive has no end")
    return found
