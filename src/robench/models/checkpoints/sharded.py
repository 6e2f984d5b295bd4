"""Weights in several files, safetensors or pickles, with an index of the tensors in each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.read import file_sha256, needs_code, read_content
from robench.models.checkpoints.stand_ins import find_stand_ins, holds_tensors

__all__ = ["INDEX", "files_sha256", "is_index", "read_json", "read_sharded", "read_tensors", "shards"]

INDEX = (".safetensors.index.json", ".bin.index.json")
_LARGEST = 64 * 2**20
"""Largest JSON file in bytes; the index of the largest models has a few MB."""
_COPY = "copy or download it again"
_COPY_ALL = "copy all files again"


def is_index(path: Path) -> bool:
    """Return whether a file has the name of an index of shards."""
    return path.name.endswith(INDEX)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file by name, read by safetensors or torch's restricted reader."""
    content = read_content(path)
    if (stand_in := next(find_stand_ins(content), None)) is not None and holds_tensors(stand_in):
        raise needs_code(path, stand_in.name)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds other values than tensors by name", "give a state dict")
    return content


def read_sharded(index: Path, read: Callable[[Path], dict[str, Tensor]] = read_tensors) -> dict[str, Tensor]:
    """Return the tensors of all shards by name.

    Args:
        index: The index file; shards are in its folder.
        read: Reader of one shard.

    Raises:
        CheckpointError: The shards do not hold exactly the tensors of the index.
    """
    content = read_json(index)
    files = _weight_map(content) or {}
    state: dict[str, Tensor] = {}
    for shard in shards(index):
        for key, value in read(shard).items():
            if files.get(key) != shard.name:
                raise CheckpointError(
                    f"{shard.name} holds {key!r}, which {index} does not list: they are of different models", _COPY_ALL
                )
            state[key] = value
    if missing := sorted(files.keys() - state.keys()):
        raise CheckpointError(f"{files[missing[0]]} lacks {missing[0]!r}, which {index} lists", _COPY_ALL)
    total = content["metadata"].get("total_size") if isinstance(content.get("metadata"), dict) else None
    size = sum(value.numel() * value.element_size() for value in state.values())
    # Some writers count tied weights once and others twice, so that the total can only be too small.
    if total is not None and (not isinstance(total, int) or size > total):
        raise CheckpointError(f"the shards of {index} hold {size} bytes, not {total}", _COPY_ALL)
    return state


def shards(index: Path) -> list[Path]:
    """Return the files that an index names, sorted.

    Raises:
        CheckpointError: The index is damaged, or a file is missing or outside the index's folder.
    """
    files = _weight_map(read_json(index))
    if not files:
        raise CheckpointError(f"{index} has no weight_map from names of tensors to files", _COPY)
    paths = []
    for name in sorted(set(files.values())):
        if name != Path(name).name or name in ("", ".", ".."):
            raise CheckpointError(
                f"{index} was refused: it names {name!r}, no file of its own folder",
                "download the folder from a source that you trust",
            )
        path = index.parent / name
        if not path.is_file():
            raise CheckpointError(f"{index} names {name}, which is missing from its folder", "copy all files")
        paths.append(path)
    return paths


def files_sha256(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file's bytes; of several files, that of the list of their own hashes."""
    if len(paths) == 1:
        return file_sha256(paths[0])
    lines = "".join(f"{file_sha256(path)}  {path.name}\n" for path in sorted(paths))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointError: The file is too large, unreadable, or holds no JSON object.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} is larger than {_LARGEST / 2**20:.0f} MiB, too large for JSON", _COPY)
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({one_line(error)})", _COPY) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object", _COPY)
    return content


def _weight_map(content: dict[str, Any]) -> dict[str, str] | None:
    files = content.get("weight_map")
    return files if isinstance(files, dict) and all(isinstance(name, str) for name in files.values()) else None
