"""The tensors in weights files, wherever training scripts put them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.read import FILE_EXTENSIONS, read_content
from robench.models.checkpoints.sharded import INDEX, is_index, read_sharded

__all__ = ["EXTENSIONS", "Weights", "read_weights", "weights_in"]

EXTENSIONS = (*FILE_EXTENSIONS, *INDEX)

_NESTINGS = ("state_dict", "model", "model_state_dict", "net", "network", "module")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "swa_model", "shadow")
"""Where training scripts keep the weights, and where the moving average of them; the former is what is read by default."""
_DEPTH = 8
"""How deep weights may be nested; a file may say that a dict holds itself."""
_SAVE = "torch.save(model.state_dict(), 'weights.pth')"
_PREFIXES = ("module.", "model.", "_orig_mod.")


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file, on the CPU, by name.

    key: where in the file they lie, empty at its top.  others: where other sets of weights lie.
    stated: the architecture that the file names, as training scripts write it; None where it names none.
    """

    state: dict[str, Tensor]
    key: str = ""
    others: tuple[str, ...] = ()
    stated: str | None = None


def read_weights(path: Path, key: str | None = None) -> Weights:
    """Return the tensors of a weights file, on the CPU, by name.

    A plain state dict, or one nested under a name that training scripts use (`state_dict`, `model`, ...), or under `key`;
    `module.`, `model.` and `_orig_mod.` are stripped while every name carries them.
    Pickles are read by torch's restricted reader only. Raises CheckpointError for everything else.
    """
    return weights_in(path, read_sharded(path) if is_index(path) else read_content(path), key)


def weights_in(path: Path, content: object, key: str | None = None) -> Weights:
    """Return the tensors in what was read from a weights file, as `read_weights` does."""
    found, inner = _innermost(content) if key is None else _under(path, content, key)
    state = _tensors(inner)
    if not state:
        _, where = max(_elsewhere(content), default=(0, ""))
        told = f"--weights-key {where} takes those under it" if where else f"save a state dict, {_SAVE}"
        raise CheckpointError(f"{path} holds no weights ({_described(content)}): {told}")
    odd = next((name for name, value in state.items() if value.is_meta or value.layout != torch.strided), None)
    if odd is not None:
        raise CheckpointError(f"{path}: {odd} has no values, or is sparse: save a state dict of dense tensors, {_SAVE}")
    stated = content.get("arch") if isinstance(content, Mapping) else None
    others = tuple(name for name in _sets(content) if name != found.partition(".")[0])
    return Weights(_without_prefixes(state), found, others, stated if isinstance(stated, str) else None)


def _innermost(content: object) -> tuple[str, object]:
    """What is nested deepest under the usual names, and where that is."""
    keys: list[str] = []
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            break
        names = [key for key in (*_NESTINGS, *_AVERAGED) if isinstance(content.get(key), Mapping)]
        if not names:
            break
        keys.append(names[0])
        content = content[names[0]]
    return ".".join(keys), content


def _under(path: Path, content: object, key: str) -> tuple[str, object]:
    """What is nested under a key with dots between its parts, and that key; or the tensors whose names begin with it."""
    inner = content
    for part in key.split("."):
        inner = inner.get(part) if isinstance(inner, Mapping) else None
    if isinstance(inner, Mapping):
        return key, inner
    state = _tensors(_innermost(content)[1])
    chosen = {name.removeprefix(f"{key}."): value for name, value in state.items() if name.startswith(f"{key}.")}
    if not chosen:
        known = ", ".join(dict.fromkeys([*_sets(content), *(name.partition(".")[0] for name in state)]))
        raise CheckpointError(f"{path} has no weights under {key!r}: --weights-key takes one of {known}")
    return key, chosen


def _sets(content: object) -> Iterator[str]:
    """Where a file holds sets of weights, at its top."""
    if isinstance(content, Mapping):
        for key in (*_NESTINGS, *_AVERAGED):
            if isinstance(content.get(key), Mapping) and _tensors(_innermost(content[key])[1]):
                yield key


def _elsewhere(content: object, key: str = "", depth: int = _DEPTH) -> Iterator[tuple[int, str]]:
    """How many tensors by name are nested under any names, and where."""
    if isinstance(content, Mapping) and depth:
        for name, inner in content.items():
            if isinstance(name, str) and "." not in name and isinstance(inner, Mapping):
                if tensors := _tensors(inner):
                    yield len(tensors), f"{key}{name}"
                yield from _elsewhere(inner, f"{key}{name}.", depth - 1)


def _tensors(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while (prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None)) is not None:
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _described(content: object) -> str:
    """What lies at the top of a file, where no tensors are."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [str(key) for key in content]
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return f"no tensor under its keys: {', '.join(keys[:8])}{more}" if keys else "an empty dict"
