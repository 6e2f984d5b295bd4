"""Reading weights files without running anything that they contain."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.family import one_line

__all__ = ["EXTENSIONS", "file_sha256", "read_state_dict"]

EXTENSIONS = (".pth", ".pt", ".th", ".ckpt", ".safetensors")

_NESTINGS = ("state_dict", "model", "model_state_dict", "state_dict_ema")
_DEPTH = 8
"""How deep weights may be nested; a file may say that a dict holds itself."""
_PREFIXES = ("module.", "model.", "_orig_mod.")


class _Ignored:
    """Stands in for a value beside the weights; whatever the file says about it is dropped."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# Training scripts save these beside the weights (best_acc, args). The real ones are never called: a numpy dtype
# takes its flags from the file, so its state could make numpy follow a pointer that the file wrote.
_IGNORED_GLOBALS = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file, on the CPU, by name.

    A plain state dict, or one nested under the first present of `state_dict`, `model`, `model_state_dict`,
    `state_dict_ema`; `module.`, `model.` and `_orig_mod.` are stripped while every key carries them.
    Pickles are read by torch's restricted reader only. Raises CheckpointError for everything else.
    """
    _check_file(path)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    state = _tensors(_innermost(content))
    if not state:
        raise CheckpointError(
            f"{path} holds no weights ({_described(content)}): "
            "save a state dict, torch.save(model.state_dict(), 'weights.pth')"
        )
    return _without_prefixes(state)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give one weights file ({', '.join(EXTENSIONS)})")
    if not path.exists():
        raise CheckpointError(f"no weights file {path}: check the path")
    if path.suffix.lower() not in EXTENSIONS:
        raise CheckpointError(f"{path} has none of the extensions of weights files: {', '.join(EXTENSIONS)}")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise CheckpointError(f"{path} is empty: copy or download it again")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: object = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _broken(path, error) from error
    return content


def _read_torch(path: Path) -> object:
    if _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which carries code: save only its weights where it was made, "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    ignored: list[Any] = [(_Ignored, name) for name in _IGNORED_GLOBALS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ignored):
            warnings.simplefilter("ignore")  # about pickle protocols; what matters comes as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise CheckpointError(f"{path} is not a PyTorch file: download it again or check what it is") from error
        raise CheckpointError(
            f"{path} was refused, and nothing in it was run: it holds more than weights and would need to run code. "
            "Save only the state dict where it was made, torch.save(model.state_dict(), 'weights.pth'), "
            f"or convert it to .safetensors ({_reason(error)})"
        ) from error
    except Exception as error:
        # torch has no error of its own for a damaged file: whatever its readers trip over arrives here.
        if not _is_pickle(path):
            raise CheckpointError(f"{path} is not a PyTorch file: download it again or check what it is") from error
        raise _broken(path, error) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # torch's own reader says what is wrong with it


def _is_pickle(path: Path) -> bool:
    """Whether the file is a torch archive (a zip) or a bare pickle (protocol 2 and above)."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _reason(error: Exception) -> str:
    """The global that torch names somewhere in its long text."""
    for line in str(error).splitlines():
        if "GLOBAL" in line:
            return line.partition("GLOBAL ")[2].split()[0] if "GLOBAL " in line else line.strip()
    return "unsupported pickle"


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or incomplete: copy or download it again ({one_line(error)})")


def _innermost(content: object) -> object:
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            break
        inner = [content[key] for key in _NESTINGS if isinstance(content.get(key), Mapping)]
        if not inner:
            return content
        content = inner[0]
    return content


def _tensors(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while (prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None)) is not None:
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _described(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [str(key) for key in content]
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return f"keys: {', '.join(keys[:8])}{more}" if keys else "an empty dict"
