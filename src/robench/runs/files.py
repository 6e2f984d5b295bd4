"""Write files whole or not at all, and turn errors of the disk into one line."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from robench.errors import OptionError, RunError

__all__ = ["atomic_write", "check_replaceable", "translate_os_errors"]


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name beside `path`, flush it to disk and rename it: readers never see half of it."""
    handle = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", suffix=path.suffix, delete=False)  # noqa: SIM115
    try:
        with handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(path)
    except BaseException:
        Path(handle.name).unlink(missing_ok=True)
        raise


def check_replaceable(path: Path, header: Sequence[str], option: str) -> None:
    """Refuse to write a CSV over anything but one of the same columns, into a run, or where there is no folder.

    option: by which the user named the path, for the error, OptionError.
    """
    if path.is_dir():
        raise OptionError(f"{option} {path} is a folder: name a .csv file")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}, make it first")
    if (path.absolute().parent / "manifest.json").exists():
        raise OptionError(f"{option} {path} lies in a run, of which nothing is replaced: choose another place")
    if path.exists():
        with path.open("rb") as file:
            if file.readline(65536).decode(errors="replace").strip() != ",".join(header):
                raise OptionError(f"{option} {path} exists and is another kind of file: choose another name")


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission while writing below `path` into one line; finished conditions stay."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"no space left to write {path}: free some, then give the same command to go on") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"no permission to write {path}: choose another --out") from error
        if error.errno == errno.ENOENT:
            raise RunError(f"{path} cannot be written: its folder is gone, or takes no files") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise RunError(f"{path} cannot be a run directory: a file is in the way") from error
        if error.errno == errno.ENOENT:
            raise RunError(
                f"{path} cannot be written: its folder is gone, or takes no files; choose another --out"
            ) from error
        raise
