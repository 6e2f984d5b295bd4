"""Tensors of weights files, at the top or nested as training scripts save them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.fit import abbreviate
from robench.models.checkpoints.names import inside, shortened
from robench.models.checkpoints.read import FILE_EXTENSIONS, needs_code, read_content
from robench.models.checkpoints.sharded import INDEX, is_index, read_sharded
from robench.models.checkpoints.stand_ins import StandIn, find_stand_ins, holds_tensors
from robench.models.checkpoints.statistics import Statistics, nested_statistics
from robench.models.class_names import class_names_in

__all__ = ["EXTENSIONS", "Weights", "read_weights", "weights_in"]

EXTENSIONS = (*FILE_EXTENSIONS, *INDEX)

_NESTINGS = (
    *("state_dict", "model", "model_state_dict", "net", "network", "module"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "swa_model", "shadow"),
)
"""Keys of the weights in training scripts, then those of their moving average, in the order of preference."""
_DEPTH = 8
"""Deepest nesting of weights; a file may hold a dict that contains itself."""
_SAVE = "torch.save(model.state_dict(), 'weights.pth')"
_PREFIXES = ("module.", "model.", "_orig_mod.")


@dataclass(frozen=True)
class Weights:
    """Tensors of a weights file, on the CPU.

    Attributes:
        state: Tensors by name, without the prefix that all names share.
        prefix: That prefix with its dot; empty if there is none.
        key: Position in the file as keys with dots between them; empty at its top.
        others: Keys of other sets of weights.
        stated: Architecture that the file names, as training scripts write it; None if it names none.
        class_names: Names of the outputs next to the weights, in their order; empty if there are none.
        statistics: Pairs of a mean and a std anywhere in the file.
        objects: Classes and functions of other objects in the file, which were not read.
    """

    state: dict[str, Tensor]
    prefix: str = ""
    key: str = ""
    others: tuple[str, ...] = ()
    stated: str | None = None
    class_names: tuple[str, ...] = ()
    statistics: tuple[Statistics, ...] = ()
    objects: tuple[str, ...] = ()


def read_weights(path: Path, key: str | None = None) -> Weights:
    """Return the tensors of a weights file.

    Torch's restricted reader alone reads pickles. While all names begin with `module.`, `model.` or `_orig_mod.`, that
    prefix is removed.

    Args:
        path: A weights file, or an index of shards.
        key: Position of the state dict in the file. By default it is at the top, or nested under the names that training
            scripts use (`state_dict`, `model`, ...).

    Raises:
        CheckpointError: The file holds no weights, is damaged, or would need to run code.
    """
    return weights_in(path, read_sharded(path) if is_index(path) else read_content(path), key)


def weights_in(path: Path, content: object, key: str | None = None) -> Weights:
    """Return the tensors in the content of a weights file, as `read_weights` does."""
    position, inner = _innermost(content) if key is None else _under(path, content, key)
    state = _tensors(inner)
    stand_ins = [*find_stand_ins(content)]
    if isinstance(inner, StandIn) or (not state and any(map(holds_tensors, stand_ins))):
        raise needs_code(path, (inner if isinstance(inner, StandIn) else stand_ins[0]).name)
    if not state:
        found = dict(sorted(_elsewhere(content), key=lambda item: -item[1]))
        others = [name for name, tensors in found.items() if 2 * tensors > max(found.values())]
        hint = f"give --weights-key {' or '.join(others)} for the tensors under it" if others else ""
        raise CheckpointError(f"{path} holds no weights ({_describe(content)})", hint or f"save a state dict, {_SAVE}")
    for name, value in state.items():
        if value.is_meta or value.layout != torch.strided:
            raise CheckpointError(
                f"the tensor {name} of {path} has no values or is sparse",
                f"save a state dict of dense tensors, {_SAVE}",
            )
    stated = content.get("arch") if isinstance(content, Mapping) else None
    short = _without_prefixes(state)
    return Weights(
        state=short,
        prefix=next(iter(state)).removesuffix(next(iter(short))),
        key=position,
        others=tuple(name for name in _sets(content) if name != position.partition(".")[0]),
        stated=stated if isinstance(stated, str) else None,
        class_names=class_names_in(content),
        statistics=tuple(nested_statistics(content)),
        objects=tuple(dict.fromkeys(stand_in.name for stand_in in stand_ins)),
    )


def _innermost(content: object) -> tuple[str, object]:
    """Return the position and the content of the deepest nesting under the usual names.

    The content is a stand-in if a module of a class of its own holds the weights.
    """
    keys: list[str] = []
    while isinstance(content, Mapping) and len(keys) < _DEPTH:
        name = next((name for name in _NESTINGS if _is_nesting(content.get(name))), None)
        if name is None:
            break
        keys.append(name)
        content = content[name]
    return ".".join(keys), content


def _is_nesting(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, StandIn) and holds_tensors(value))


def _under(path: Path, content: object, key: str) -> tuple[str, object]:
    """Return a key and the content nested under it, or the tensors whose names begin with the key.

    The names of wrappers and the prefixes that all names share may be omitted, as in messages.
    """
    inner, parts = content, key.split(".")
    while parts and isinstance(inner, Mapping) and isinstance(inner.get(parts[0]), Mapping | StandIn):
        inner = inner[parts.pop(0)]
    if not parts:
        return key, inner if isinstance(inner, StandIn) or _tensors(inner) else _innermost(inner)[1]
    state = _tensors(_innermost(inner)[1])
    prefix = f"{'.'.join(parts)}."
    for names in (state, _without_prefixes(state), shortened(state), shortened(_without_prefixes(state))):
        if found := inside(names, prefix):
            return key, found
    known = ", ".join(dict.fromkeys([*_sets(content), *(name.partition(".")[0] for name in _without_prefixes(state))]))
    raise CheckpointError(f"{path} has no weights under {key!r}", f"give --weights-key with one of {known}")


def _sets(content: object) -> Iterator[str]:
    """Yield the keys of the sets of weights at the top of a file."""
    if isinstance(content, Mapping):
        for key in _NESTINGS:
            if isinstance(content.get(key), Mapping) and _tensors(_innermost(content[key])[1]):
                yield key


def _elsewhere(content: object) -> Iterator[tuple[str, int]]:
    """Yield the position and the number of tensors of every nested mapping with tensors, each mapping once."""
    seen: set[int] = set()
    nested: list[tuple[str, object]] = [("", content)]
    while nested:
        prefix, mapping = nested.pop(0)
        if not isinstance(mapping, Mapping) or id(mapping) in seen:
            continue
        seen.add(id(mapping))
        if prefix and (tensors := _tensors(mapping)):
            yield prefix, len(tensors)
        names = [name for name in mapping if isinstance(name, str) and "." not in name]
        nested += [(f"{prefix}.{name}".lstrip("."), mapping[name]) for name in names]


def _tensors(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _describe(content: object) -> str:
    """Describe the top of a file without tensors."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"no tensor under its keys: {abbreviate([str(key) for key in content])}" if content else "an empty dict"
