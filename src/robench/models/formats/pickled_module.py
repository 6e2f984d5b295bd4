"""Pickled modules, which run code when they are read; the user must allow it with --trust-pickle."""

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
from robench.models.class_names import class_names_in
from robench.models.formats.base import LoadedModel
from robench.models.preprocessing import assumed

__all__ = ["TRUST_NOTE", "find_module", "matches", "read_state", "unpickle"]

TRUST_NOTE = (
    "the file was read with --trust-pickle: its code ran with your rights, and could read, change and send your files"
)

_MAIN_HINT = "its class was defined in a script; save its state_dict there, and give --arch script.py:function"


def matches(path: Path) -> bool:
    """Return whether a file is a pickle, bare or in torch's archive, as state dicts are too."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(2)
    return start in PICKLES or (start == b"PK" and {"data.pkl"} <= torch_archive.names(path) - {"constants.pkl"})


def unpickle(path: Path) -> object:
    """Return the content of a file, and run its code; its classes may be imported from its folder or the current one."""
    try:
        with importable(path.parent), warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # They are about versions of classes; errors report all that matters.
            # torch.load gets the open file, because it also goes by the name of a path.
            return _CpuUnpickler(file).load() if is_bare_pickle(path) else _torch_load(file)
    except (Exception, SystemExit) as error:
        # Code in the file can raise anything, and so do torch's readers for a damaged file.
        raise CheckpointError(
            f"{path} cannot be unpickled ({type(error).__name__}: {one_line(Exception(str(error)))})",
            _MAIN_HINT
            if "'__main__'" in str(error) or "__main__." in str(error)
            else "run where its classes can be imported",
        ) from error


def _torch_load(file: Any) -> object:
    return torch.load(file, map_location="cpu", weights_only=False)


class _CpuUnpickler(pickle.Unpickler):
    """Read a pickle of pickle.dump, and load tensors of a GPU to the CPU as torch.load does."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of that name."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda content: _torch_load(io.BytesIO(content))
        return super().find_class(module, name)


def read_state(path: Path, trust_pickle: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors by name in a file, or in all shards of an index, and `TRUST_NOTE` if code in them ran."""
    notes: tuple[str, ...] = ()

    def read(file: Path) -> dict[str, Tensor]:
        nonlocal notes
        try:
            return read_tensors(file)
        except CheckpointError:
            if not (trust_pickle and matches(file)):
                raise
        notes = (TRUST_NOTE,)
        content = unpickle(file)
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            raise CheckpointError(f"{file} does not hold tensors by name", "give a state dict")
        return content

    return read_sharded(path, read) if is_index(path) else read(path), notes


def find_module(path: Path, content: object, sha256: str) -> LoadedModel | None:
    """Return the module that is the content of a file, or that its dict holds under `model`; None if there is none."""
    module = content.get("model") if isinstance(content, Mapping) else content
    if not isinstance(module, nn.Module):
        return None
    stated = preprocessing_of(module)
    assumption, note = assumed()
    notes = (TRUST_NOTE,) if stated else (TRUST_NOTE, note)
    attributes = {key: getattr(module, key, None) for key in ("names", "CLASSES", "classes", "class_names")}
    config = getattr(getattr(module, "config", None), "id2label", None)
    return LoadedModel(
        path.stem,
        f"pickle:{type(module).__name__}",
        module,
        stated or assumption,
        sha256,
        class_names=class_names_in(content) or class_names_in({**attributes, "id2label": config}),
        notes=notes,
    )
