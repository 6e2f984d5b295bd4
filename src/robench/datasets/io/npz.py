"""NumPy's archives of arrays (.npz), which are zip files."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from io import FileIO
from pathlib import Path

from robench.datasets.byte_sizes import format_bytes
from robench.datasets.io.bounded import REDOWNLOAD, open_regular, os_error
from robench.datasets.io.npy import ArrayFile, open_array
from robench.errors import DatasetError, one_line

__all__ = ["npz_array", "npz_names"]

_DIRECTORY_BYTES = 2**22
"""Most bytes that zipfile reads at once for the list of members."""
_UNPACKED_BYTES = 2**31
"""Most bytes of a compressed array, which is unpacked in memory."""
_LOCAL_HEADER = 30
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    LookupError,
)
"""Errors of zipfile for damaged files; RuntimeError covers encrypted members and unknown compression."""


class _Limited(FileIO):
    """A file that limits how many bytes `zipfile` reads at once."""

    limit = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        content: bytes = super().read(self.limit + 1 if size is None or size < 0 else min(size, self.limit + 1))
        if len(content) > self.limit:
            raise zipfile.BadZipFile("its list of arrays is too large")
        return content


def npz_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays in an .npz file, without their extension."""
    return tuple(_members(path))


def npz_array(path: Path, name: str) -> ArrayFile:
    """Open an array of an .npz file; a compressed one is unpacked in memory.

    Raises:
        DatasetError: The array is damaged, encrypted, too large, or not of plain numbers.
    """
    info = _members(path)[name]
    try:
        with open_regular(path) as (file, size):
            if info.flag_bits & 1:
                raise DatasetError(f"{path}: {name} is encrypted", "save the file without a password")
            if info.compress_type != zipfile.ZIP_STORED:
                if info.file_size > _UNPACKED_BYTES:
                    raise DatasetError(
                        f"{path}: {name} unpacks to {format_bytes(info.file_size)}, more than the limit of "
                        f"{format_bytes(_UNPACKED_BYTES)}",
                        "save it with numpy.savez, which does not compress",
                    )
                limited = _Limited(file.fileno(), closefd=False)
                with zipfile.ZipFile(limited) as archive, archive.open(info) as member:
                    limited.limit = _UNPACKED_BYTES
                    return open_array(path, content=member.read(_UNPACKED_BYTES + 1))
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            # The lengths of the name and of the extra field are local: they may differ from the directory's.
            lengths = (int.from_bytes(header[start : start + 2], "little") for start in (26, 28))
            start = info.header_offset + _LOCAL_HEADER + sum(lengths)
            if not header.startswith(b"PK\3\4") or start + info.file_size > size:
                raise zipfile.BadZipFile(f"{name} lies outside the file")
    except OSError as error:
        raise os_error(path, error) from error
    except _ERRORS as error:
        raise _damaged(path, error) from error
    return open_array(path, start, info.file_size)


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with open_regular(path) as (file, _), zipfile.ZipFile(_Limited(file.fileno(), closefd=False)) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    except OSError as error:
        raise os_error(path, error) from error
    except _ERRORS as error:
        raise _damaged(path, error) from error
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) < len(infos):
        raise DatasetError(f"{path} holds two arrays of one name", "save it again")
    return members


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be read as NumPy arrays ({one_line(error)})", REDOWNLOAD)
