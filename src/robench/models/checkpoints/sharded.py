"""Weights in several files: safetensors or pickles with an index of which file holds which tensor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.read import file_sha256, read_content

__all__ = ["INDEX", "files_sha256", "is_index", "read_json", "read_sharded", "read_tensors", "shards"]

INDEX = (".safetensors.index.json", ".bin.index.json")
_LARGEST = 64 * 2**20
"""Bytes of a JSON file; the index of the largest models has a few."""


def is_index(path: Path) -> bool:
    """Whether a file is called as an index of shards is."""
    return path.name.endswith(INDEX)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file by their own names, by safetensors or torch's restricted reader."""
    content = read_content(path)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds something else than tensors by name: give a state dict")
    return content


def read_sharded(index: Path, read: Callable[[Path], dict[str, Tensor]] = read_tensors) -> dict[str, Tensor]:
    """Return the tensors of all shards by name; raise CheckpointError unless they are those of the index, in its folder.

    read: what reads a shard.
    """
    content = read_json(index)
    where: dict[str, str] = content["weight_map"] if _is_map(content) else {}
    state: dict[str, Tensor] = {}
    for shard in shards(index):
        for key, value in read(shard).items():
            if where.get(key) != shard.name:
                raise CheckpointError(
                    f"{index} does not say that {shard.name} holds {key!r}: they are of different models"
                )
            state[key] = value
    if missing := sorted(where.keys() - state.keys()):
        raise CheckpointError(f"{where[missing[0]]} lacks {missing[0]!r}, which {index} promises: copy all files again")
    total = content["metadata"].get("total_size") if isinstance(content.get("metadata"), dict) else None
    found = sum(value.numel() * value.element_size() for value in state.values())
    # Tied weights are counted once by some writers and twice by others; what is larger than that is another model.
    if total is not None and (not isinstance(total, int) or found > total):
        raise CheckpointError(f"the shards of {index} hold {found} bytes, not {total}: copy all files again")
    return state


def shards(index: Path) -> list[Path]:
    """Return the files that an index names, sorted; raise CheckpointError for one that is missing or not in its folder."""
    content = read_json(index)
    if not _is_map(content) or not content["weight_map"]:
        raise CheckpointError(f"{index} is no index of shards: it has no weight_map from names of tensors to files")
    files = []
    for name in sorted(set(content["weight_map"].values())):
        if name != Path(name).name or name in ("", ".", ".."):
            raise CheckpointError(f"{index} was refused: it names {name!r}, no file of its own folder")
        file = index.parent / name
        if not file.is_file():
            raise CheckpointError(f"{index} names {name}, which is missing beside it: copy all files")
        files.append(file)
    return files


def files_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 of a file's bytes; of several files, of the list of their own."""
    if len(paths) == 1:
        return file_sha256(paths[0])
    lines = "".join(f"{file_sha256(path)}  {path.name}\n" for path in sorted(paths))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise CheckpointError where there is none."""
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} is too large for what it should be: copy or download it again")
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: copy or download it again ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object: copy or download it again")
    return content


def _is_map(content: dict[str, Any]) -> bool:
    where = content.get("weight_map")
    return isinstance(where, dict) and all(isinstance(name, str) for name in where.values())
