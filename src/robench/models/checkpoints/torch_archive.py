"""Zip archives as torch writes them: TorchScript's and torch.export's."""

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
"""Bytes that compressed members may unpack to: torch compresses code only, and stores weights as they are."""
_MEMBERS = 100_000
"""Most members of an archive: torch writes one a tensor and a few more, and the largest models have thousands."""
_CHUNK = 2**20
_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, OverflowError, MemoryError)
"""What zipfile raises for damaged files; RuntimeError covers encrypted and oddly compressed members."""


@dataclass(frozen=True)
class Archive:
    """A readable archive; sizes: bytes of every member, by name without the folder that torch puts all of them in."""

    path: Path
    sizes: dict[str, int]
    _root: str = field(repr=False)
    _file: zipfile.ZipFile = field(repr=False)

    def read(self, name: str) -> bytes:
        """Return a member's bytes, checked against their checksum."""
        try:
            return self._file.read(self._root + name)
        except _ERRORS as error:
            raise _damaged(self.path, error) from error

    def check_sums(self) -> None:
        """Read every member that has a checksum to its end, where it is compared."""
        try:
            for info in self._file.infolist():
                if info.CRC and not info.is_dir():
                    with self._file.open(info) as member:
                        while member.read(_CHUNK):
                            pass
        except _ERRORS as error:
            raise _damaged(self.path, error) from error

    def copied(self) -> io.BytesIO:
        """Return a fresh archive of the same members.

        torch reads zips with a library of its own, which can be made to see other members than Python's; what it reads of
        this copy is what was checked here, and the checksums, which torch leaves out, have been compared.
        """
        copy = io.BytesIO()
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
            for name in self.sizes:
                target.writestr(f"archive/{name}", self.read(name))
        copy.seek(0)
        return copy


def names(path: Path) -> frozenset[str]:
    """Return the names of an archive's members without their folder; none for a file that is no archive."""
    try:
        with zipfile.ZipFile(path) as file:
            listed = [] if _is_within_another(file) else file.namelist()
    except IsADirectoryError:
        return frozenset()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return frozenset()
    root = _root(listed)
    return frozenset(name.removeprefix(root) for name in listed)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive; raise CheckpointError where it is damaged, holds a name twice, or more than a model or memory does."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the file itself")
    try:
        file = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}: check the path") from error
    except _ERRORS as error:
        raise _damaged(path, error) from error
    with file:
        if _is_within_another(file):
            raise _damaged(path, zipfile.BadZipFile("an archive in it is whole, it is not"))
        members = [info for info in file.infolist() if not info.is_dir()]
        if len(members) > _MEMBERS:
            raise CheckpointError(f"{path} has {len(members):,} members: no model has more than {_MEMBERS:,}")
        root = _root([info.filename for info in members])
        sizes = {info.filename.removeprefix(root): info.file_size for info in members}
        if len(sizes) != len(members):
            raise CheckpointError(f"{path} was refused, and nothing in it was run: it holds two members of one name")
        packed = sum(info.file_size for info in members if info.compress_type != zipfile.ZIP_STORED)
        if packed > _PACKED:
            raise CheckpointError(
                f"{path} has compressed members of {packed / 1e6:,.0f} MB, where torch compresses code alone: save it again with torch"
            )
        if sum(sizes.values()) > physical_memory():
            raise CheckpointError(f"{path} unpacks to {sum(sizes.values()) / 1e9:,.0f} GB: it does not fit in memory")
        yield Archive(path, sizes, root, file)


def check_sums(path: Path) -> None:
    """Raise CheckpointError unless every member is what its checksum says, which torch does not compare.

    A checksum of 0 is none: torch can be told to write none.
    """
    with opened(path) as archive:
        archive.check_sums()


def _is_within_another(file: zipfile.ZipFile) -> bool:
    """Whether something lies before the first member: of a file that is cut, an archive that it holds may be found."""
    return bool(file.infolist()) and min(info.header_offset for info in file.infolist()) > 0


def _root(listed: list[str]) -> str:
    first = listed[0].partition("/")[0] + "/" if listed else ""
    return first if all(name.startswith(first) for name in listed) else ""


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else one_line(Exception(str(error)))
    return CheckpointError(f"{path} is damaged or incomplete: copy or download it again ({reason})")
