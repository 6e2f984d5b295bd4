"""Atomic writes, the rule against overwriting, and translation of disk errors."""

from __future__ import annotations

import codecs
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from robench.errors import OptionError, RunError

__all__ = ["atomic_write", "cache_folder", "check_replaceable", "decode_text", "read_start", "translate_os_errors"]


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a temporary file in the same directory, flush it to disk and rename it to `path`.

    Args:
        path: The file to write or replace. Readers never see a part of the new content.
        write: Writes the content to the open temporary file.
    """
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


def cache_folder() -> Path:
    """Return the folder of the user's cache: $ROBENCH_CACHE, else robench in $XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("ROBENCH_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robench"


def check_replaceable(path: Path, is_ours: Callable[[Path], bool], option: str, force: bool = False) -> None:
    """Refuse to write a file over one of another kind, or into a run directory.

    Args:
        path: The file that the command is about to write.
        is_ours: Returns whether an existing file is one that the same command wrote.
        option: The option that named the path, such as `--out`; errors begin with it.
        force: Write the file all the same.

    Raises:
        OptionError: The path is a directory, has no parent directory, or is a file that may not be replaced.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise OptionError(f"{option} {path} is a directory", "name a file")
    if not folder.is_dir():
        raise OptionError(f"{option} {path} is in a directory that does not exist", f"create {folder}")
    hint = "choose another path, or write it with --force"
    if not force and (folder / "manifest.json").exists():
        raise OptionError(f"{option} {path} is inside a run directory", hint)
    if not force and path.exists() and not is_ours(path):
        raise OptionError(f"{option} {path} is a file of another kind", hint)


def decode_text(content: bytes) -> str:
    """Return the text of a file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        UnicodeDecodeError: The file is in another encoding.
    """
    return content.decode("utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def read_start(path: Path) -> str:
    """Return the first 64 KiB of a file as text, or an empty text if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode(errors="replace")
    except OSError:
        return ""


_ERRORS: dict[int, tuple[str, str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), ("no space left to write {}", "free some space, then give the same command again")
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ("no permission to write {}", "choose another path")),
    errno.ENOENT: ("cannot write {}: its directory is gone or accepts no files", "choose another path"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), ("cannot write {}: a file is in the way", "choose another path")),
}


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into a RunError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ERRORS:
            raise
        problem, hint = _ERRORS[error.errno]
        raise RunError(problem.format(path), hint) from error
