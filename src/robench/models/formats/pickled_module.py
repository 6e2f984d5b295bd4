"""Whole pickled modules, which run code when they are read: only where the user says that the file may."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, one_line
from robench.models.architectures.factory import importable, preprocessing_of
from robench.models.checkpoints import torch_archive
from robench.models.checkpoints.read import PICKLES, is_bare_pickle
from robench.models.checkpoints.sharded import is_index, read_sharded, read_tensors
from robench.models.formats.base import LoadedModel
from robench.models.preprocessing import assumed

__all__ = ["NOTE", "matches", "module_in", "tensors_of", "unpickle"]

NOTE = (
    "the file was read with --trust-pickle: code in it ran with your rights, and could read, change and send your files"
)


def matches(path: Path) -> bool:
    """Whether a file is a pickle, bare or in torch's archive; state dicts are, too."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(2)
    return start in PICKLES or (start == b"PK" and {"data.pkl"} <= torch_archive.names(path) - {"constants.pkl"})


def unpickle(path: Path) -> object:
    """Return what is in the file; code in it runs. Its classes may come from beside it or from here."""
    try:
        with importable(path.parent), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of classes; what matters comes as an error
            content = _plain(path) if is_bare_pickle(path) else _saved(path)
    except (Exception, SystemExit) as error:
        # Code in the file can raise anything, and so do torch's readers for a damaged one.
        raise CheckpointError(
            f"{path} cannot be unpickled ({type(error).__name__}: {one_line(Exception(str(error)))}): "
            "run where its classes can be imported"
        ) from error
    return content


def _plain(path: Path) -> object:
    with path.open("rb") as file:
        return _OnCpu(file).load()


def _saved(path: Path) -> object:
    with path.open("rb") as file:  # not its path: torch goes by the name too
        return torch.load(file, map_location="cpu", weights_only=False)


class _OnCpu(pickle.Unpickler):
    """Reads what pickle.dump wrote; tensors that were on a GPU come to the CPU, as torch.load has them."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        return _storage if (module, name) == ("torch.storage", "_load_from_bytes") else super().find_class(module, name)


def _storage(content: bytes) -> object:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)


def tensors_of(path: Path, trust_pickle: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors by name in one file, or in all shards of an index, and `NOTE` if code in them ran."""
    ran = []

    def read(file: Path) -> dict[str, Tensor]:
        try:
            return read_tensors(file)
        except CheckpointError:
            if not (trust_pickle and matches(file)):
                raise
        ran.append(file)
        content = unpickle(file)
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            raise CheckpointError(f"{file} holds something else than tensors by name: give a state dict")
        return content

    return read_sharded(path, read) if is_index(path) else read(path), (NOTE,) if ran else ()


def module_in(path: Path, content: object, sha256: str) -> LoadedModel | None:
    """Return the module that was in a file, or under `model` in its dict; None where there is none."""
    module = content.get("model") if isinstance(content, Mapping) else content
    if not isinstance(module, nn.Module):
        return None
    preprocessing = preprocessing_of(module)
    assumption, note = assumed()
    notes = (NOTE,) if preprocessing else (NOTE, note)
    arch = f"pickle:{type(module).__name__}"
    return LoadedModel(path.stem, arch, module, preprocessing or assumption, sha256, notes=notes)
