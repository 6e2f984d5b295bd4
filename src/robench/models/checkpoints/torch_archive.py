"""Zip archives of torch.save, TorchScript and torch.export."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from robench.errors import CheckpointError, one_line
from robench.models.memory import physical_memory

__all__ = ["Archive", "check_sums", "names", "opened"]

_PACKED = 256 * 2**20
"""Largest size in bytes of all unpacked compressed members; torch compresses code alone, not weights."""
_MEMBERS = 100_000
"""Largest number of members; torch writes one for each tensor and a few more, and the largest models have thousands."""
_CHUNK = 2**20
_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, OverflowError, MemoryError)
"""Errors of zipfile for damaged files; RuntimeError covers encrypted members and unknown compression."""


@dataclass(frozen=True)
class Archive:
    """An open archive.

    Attributes:
        path: The file.
        sizes: Bytes of every member, by name without the common folder of all members.
    """

    path: Path
    sizes: dict[str, int]
    _root: str = field(repr=False)
    _file: zipfile.ZipFile = field(repr=False)

    def read(self, name: str) -> bytes:
        """Return a member's bytes after a check of its checksum."""
        try:
            return self._file.read(self._root + name)
        except _ERRORS as error:
            raise _damaged(self.path, error) from error

    def copied(self) -> io.BytesIO:
        """Return a new archive of the same members.

        A malicious zip can show torch's own zip library other members than Python's. From this copy, torch reads the
        members that were checked here, with the checksums that torch does not compare.
        """
        copy = io.BytesIO()
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
            for name in self.sizes:
                target.writestr(f"archive/{name}", self.read(name))
        copy.seek(0)
        return copy


def names(path: Path) -> frozenset[str]:
    """Return the names of an archive's members without their common folder; empty for a file that is no archive."""
    try:
        with zipfile.ZipFile(path) as file:
            members = [] if _is_nested(file) else file.namelist()
    except (IsADirectoryError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return frozenset()
    root = _root(members)
    return frozenset(name.removeprefix(root) for name in members)


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Archive]:
    """Open an archive.

    Args:
        path: The file.
        content: Its bytes, if they have been read.

    Raises:
        CheckpointError: It is missing or damaged, holds a name twice, or is larger than any model or than memory.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder", "give the file itself")
    try:
        file = zipfile.ZipFile(path if content is None else io.BytesIO(content))
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}", "check the path") from error
    except _ERRORS as error:
        raise _damaged(path, error) from error
    with file:
        if _is_nested(file):
            raise _damaged(path, zipfile.BadZipFile("only an archive inside it is complete"))
        members = [info for info in file.infolist() if not info.is_dir()]
        if len(members) > _MEMBERS:
            raise CheckpointError(
                f"{path} has {len(members):,} members, more than the {_MEMBERS:,} that robench accepts",
                "save the state dict alone with torch.save",
            )
        root = _root([info.filename for info in members])
        sizes = {info.filename.removeprefix(root): info.file_size for info in members}
        if len(sizes) != len(members):
            raise CheckpointError(
                f"{path} was refused, and nothing in it was run: it holds two members of one name",
                "download it from a source that you trust",
            )
        packed = sum(info.file_size for info in members if info.compress_type != zipfile.ZIP_STORED)
        if packed > _PACKED:
            raise CheckpointError(
                f"{path} has {packed / 1e6:,.0f} MB of compressed members, and torch compresses code alone",
                "save it again with torch",
            )
        if (size := sum(sizes.values())) > physical_memory():
            raise CheckpointError(
                f"{path} unpacks to {size / 1e9:,.0f} GB, which does not fit in memory",
                "use a machine with more memory, or save the state dict alone",
            )
        yield Archive(path, sizes, root, file)


def check_sums(path: Path) -> None:
    """Raise CheckpointError unless every member has its checksum, which torch does not compare.

    A checksum of 0 means none, because torch can write archives without.
    """
    try:
        with opened(path) as archive:
            for info in archive._file.infolist():
                if info.CRC and not info.is_dir():
                    with archive._file.open(info) as member:
                        while member.read(_CHUNK):
                            pass
    except _ERRORS as error:
        raise _damaged(path, error) from error


def _is_nested(file: zipfile.ZipFile) -> bool:
    """Return whether bytes precede the first member: zipfile may have found an archive inside a truncated one."""
    return bool(file.infolist()) and min(info.header_offset for info in file.infolist()) > 0


def _root(members: list[str]) -> str:
    """Return the common folder of all members, with its slash; empty if there is none."""
    first = members[0].partition("/")[0] + "/" if members else ""
    return first if all(name.startswith(first) for name in members) else ""


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else one_line(Exception(str(error)))
    return CheckpointError(f"{path} is damaged or incomplete ({reason})", "copy or download it again")
