"""Reading of one weights file, without running any code in it."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from pathlib import Path

import torch

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints import torch_archive
from robench.models.checkpoints.stand_ins import Refused, read_with_stand_ins
from robench.models.memory import physical_memory

__all__ = [
    "FILE_EXTENSIONS",
    "PICKLES",
    "check_file",
    "extension_mismatch_note",
    "file_sha256",
    "holds_weights",
    "is_bare_pickle",
    "metadata",
    "needs_code",
    "read_bytes",
    "read_content",
]

FILE_EXTENSIONS = (".pth", ".pt", ".th", ".ckpt", ".bin", ".tar", ".pkl", ".pickle", ".safetensors")

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of a bare pickle of protocol 2 and above."""

_ARCHIVE = b"PK\x03\x04"
"""First bytes by which torch recognises its own archives."""
_MAGIC = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")
_HEADER = 100_000_000
"""Largest header of a safetensors file in bytes, by its format."""
_OTHERS = {
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "get the file with git lfs pull"),
    b"<": ("a web page or another text", "download the file itself"),
    b"\x1f\x8b": ("packed by gzip", "unpack it first"),
    b"\x89HDF": ("an HDF5 file, as Keras writes them", "save the state dict of the network in PyTorch"),
}
"""Descriptions and hints for files that users mistake for weights, by their first bytes."""
_SAVE = "save the state dict alone where it was made, torch.save(model.state_dict(), 'weights.pth')"
_TRUST = "--trust-pickle runs it with your rights, if you trust its author"


def read_content(path: Path) -> object:
    """Return the content of a weights file, with tensors on the CPU and a `StandIn` for every object of another kind.

    The content shows whether safetensors or torch wrote the file; the name decides only if neither is recognised.

    Raises:
        CheckpointError: The file holds no weights, is damaged, or would need to run code.
    """
    check_file(path)
    is_safetensors = _is_safetensors(path) or (_is_named_safetensors(path) and not _is_pickle(path))
    return _read_safetensors(path) if is_safetensors else _read_torch(path)


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; CheckpointError if it cannot be read or is larger than the memory."""
    try:
        _check_size(path)
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def extension_mismatch_note(path: Path) -> str | None:
    """Return a note if a file was read as another format than its name says, else None."""
    is_safetensors = _is_safetensors(path)
    if is_safetensors == _is_named_safetensors(path):
        return None
    return f"{path} is a {'safetensors' if is_safetensors else 'PyTorch'} file despite its name, and was read as one"


def metadata(path: Path) -> dict[str, str]:
    """Return the texts in the header of a safetensors file that has been read; empty for another file."""
    if not _is_safetensors(path):
        return {}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return dict(header.get("__metadata__") or {})


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def holds_weights(path: Path) -> bool:
    """Return whether the content of a file is that of safetensors or of torch.save; OSError if it cannot be read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(64)
    return _is_safetensors(path) or _MAGIC in start or "data.pkl" in torch_archive.names(path)


def check_file(path: Path) -> None:
    """Raise CheckpointError unless a path is a file that could hold weights, by its name or content and its size."""
    extensions = ", ".join(FILE_EXTENSIONS)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder", f"give one weights file ({extensions})")
    if not path.exists():
        raise CheckpointError(f"no weights file {path}", "check the path")
    try:
        if not path.name.lower().endswith(FILE_EXTENSIONS) and not holds_weights(path):
            raise CheckpointError(
                f"{path} has none of the extensions of weights files: {extensions}",
                "rename it, or give the file of weights",
            )
        with path.open("rb") as file:
            if not file.read(1):
                raise CheckpointError(f"{path} is empty", "copy or download it again")
        _check_size(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def _check_size(path: Path) -> None:
    size, memory = path.stat().st_size, physical_memory()
    if size > memory:
        raise CheckpointError(
            f"{path} has {size / 2**30:,.0f} GiB, more than the {memory / 2**30:,.0f} GiB of memory here",
            "is it damaged?",
        )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: object = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise (_damaged(path, error) if _is_safetensors(path) else _unknown_file(path, "a safetensors")) from error
    return content


def _is_named_safetensors(path: Path) -> bool:
    return path.name.lower().endswith(".safetensors")


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins with the length of a JSON header and that header, as no pickle or archive can."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _HEADER


def _read_torch(path: Path) -> object:
    if "constants.pkl" in torch_archive.names(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which carries code",
            "save its weights alone where it was made, torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
        )
    with path.open("rb") as file:
        is_archive = file.read(4) == _ARCHIVE
    if is_archive:
        torch_archive.check_sums(path)
        if "data.pkl" not in torch_archive.names(path):
            raise _unknown_file(path, "a PyTorch")
    try:
        # An open file, because torch also looks at the name of a path.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings about pickle protocols; problems arrive as errors.
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no error class for damaged files.
        if not _is_pickle(path):
            raise _unknown_file(path, "a PyTorch") from error
        if is_bare_pickle(path):
            raise CheckpointError(
                f"{path} was refused, and nothing in it was run: it is a plain pickle, which torch did not write, and "
                "could run code",
                f"{_SAVE}; {_TRUST}",
            ) from error
        if not isinstance(error, pickle.UnpicklingError):
            raise _damaged(path, error) from error
    try:
        return read_with_stand_ins(path)
    except Refused as error:
        raise needs_code(path, str(error)) from error
    except CheckpointError:
        raise
    except Exception as error:  # A damaged pickle raises any error of the step that is damaged.
        raise _damaged(path, error) from error


def needs_code(path: Path, name: str) -> CheckpointError:
    """Return the error for a file whose content needs a class or function of that name."""
    return CheckpointError(
        f"{path} was refused, and nothing in it was run: it holds more than weights and would need to run code ({name})",
        f"{_SAVE}, or convert it to .safetensors; {_TRUST}",
    )


def is_bare_pickle(path: Path) -> bool:
    """Return whether a file is a pickle that torch.save did not write; its own begin with a number, or are archives."""
    with path.open("rb") as file:
        start = file.read(64)
    return start.startswith(PICKLES) and _MAGIC not in start


def _is_pickle(path: Path) -> bool:
    """Return whether a file is a torch archive (a zip) or a bare pickle (protocol 2 and above)."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", *PICKLES)


def _unknown_file(path: Path, kind: str) -> CheckpointError:
    """Return the error for a file of another format."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[257:262] == b"ustar" or torch_archive.names(path):
        return CheckpointError(f"{path} is an archive that torch did not write", "unpack it and give its weights file")
    for first_bytes, (description, hint) in _OTHERS.items():
        if start.startswith(first_bytes):
            return CheckpointError(f"{path} is {description}", hint)
    return CheckpointError(f"{path} is not {kind} file", "check the file, or download it again")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or incomplete ({one_line(error)})", "copy or download it again")
