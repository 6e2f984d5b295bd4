"""Tensors that take long to compute, kept in the cache under a hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from robench.runs.files import atomic_write, cache_folder

__all__ = ["cached", "key_of"]

_FOLDER = "heads"
_MOST_FILES = 64


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def cached(key: str, names: tuple[str, ...], build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors from the cache, or build and keep them.

    Args:
        key: Hash of everything that the tensors depend on.
        names: Names of the tensors; a file with others is built again, like a damaged one.
        build: Returns the tensors by name.
    """
    with suppress(OSError, RuntimeError, SafetensorError, ValueError):
        path = _path(key)
        tensors: dict[str, Tensor] = load_file(path)
        os.utime(path)
        if tensors.keys() == set(names):
            return tensors
    tensors = build()
    with suppress(OSError, RuntimeError):  # A cache that cannot be written costs time alone.
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({name: value.contiguous() for name, value in tensors.items()})
        atomic_write(path, lambda file: file.write(content))
        others = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for file in others[:-_MOST_FILES]:
            file.unlink(missing_ok=True)
    return tensors


def _path(key: str) -> Path:
    return cache_folder() / _FOLDER / f"{key}.safetensors"
