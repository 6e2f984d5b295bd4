"""Weights that a file stores as parts: pruning, weight normalization and spectral normalization of torch.nn.utils."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["are_parts", "merge_parts"]

_NEW = re.compile(r"(?P<layer>.*?)parametrizations\.(?P<name>[^.]+)\.(?P<part>original[01]?|0\._[uv])")
"""Names of the parametrizations of a layer, torch.nn.utils.parametrizations."""
_OLD = re.compile(r"(?P<base>.+)_(?P<part>orig|mask|g|v|u)")
"""Names of torch.nn.utils.prune, weight_norm and spectral_norm."""
_PARTS = {"original": "orig", "original0": "g", "original1": "v", "0._u": "u", "0._v": "v"}
"""Old names of the parts of parametrizations."""


def are_parts(name: str) -> bool:
    """Return whether a name is that of a part of a weight."""
    return _NEW.fullmatch(name) is not None or name.endswith(("_orig", "_mask", "_g"))


def merge_parts(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Compute the weights that a state dict stores as parts, as the layers of PyTorch compute them in evaluation.

    Parts of any other form stay as they are.

    Returns:
        The state dict with the weights, and the method by the name of each weight.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in state:
        if match := _NEW.fullmatch(name):
            groups.setdefault(match["layer"] + match["name"], {})[_PARTS[match["part"]]] = name
        elif match := _OLD.fullmatch(name):
            groups.setdefault(match["base"], {})[match["part"]] = name
    merged, methods = dict(state), {}
    for base, names in groups.items():
        # Pruning wrappers of other libraries keep the weight itself next to its mask.
        if names.keys() == {"mask"} and base in state and _is_binary(state[names["mask"]]):
            names = {"orig": base, **names}
        elif base in state:
            continue
        if (method := _METHODS.get(frozenset(names))) is None:
            continue
        name, compute = method
        try:
            weight = compute({part: state[key] for part, key in names.items()})
        except RuntimeError:  # The parts have no common shape.
            continue
        if weight is not None:
            for key in names.values():
                del merged[key]
            merged[base] = weight
            methods[base] = name
    return merged, methods


def _is_binary(mask: Tensor) -> bool:
    return bool(((mask == 0) | (mask == 1)).all())


def _pruned(parts: Mapping[str, Tensor]) -> Tensor | None:
    mask, weight = parts["mask"], parts["orig"]
    return mask.to(weight.dtype) * weight if mask.shape == weight.shape else None


def _weight_normalized(parts: Mapping[str, Tensor]) -> Tensor | None:
    """Return g * v / norm(v); g has the size 1 in every dimension that the norm is over, or is a scalar."""
    g, v = parts["g"], parts["v"]
    if not g.dim():
        return torch._weight_norm(v, g, -1)
    dims = [dim for dim in range(v.dim()) if g.dim() == v.dim() and g.shape[dim] == v.shape[dim]]
    dim = next((dim for dim in dims if g.numel() == v.shape[dim]), None)
    return None if dim is None else torch._weight_norm(v, g, dim)


def _spectrally_normalized(parts: Mapping[str, Tensor]) -> Tensor | None:
    """Return the weight divided by its largest singular value, which u and v estimate."""
    weight, u, v = parts["orig"], parts["u"], parts["v"]
    if weight.dim() < 2 or u.shape != weight.shape[:1] or v.numel() * len(u) != weight.numel():
        return None
    return weight / torch.dot(u, torch.mv(weight.flatten(1), v))


_METHODS: dict[frozenset[str], tuple[str, Callable[[Mapping[str, Tensor]], Tensor | None]]] = {
    frozenset(("orig", "mask")): ("pruning", _pruned),
    frozenset(("g", "v")): ("weight normalization", _weight_normalized),
    frozenset(("orig", "u", "v")): ("spectral normalization", _spectrally_normalized),
}
"""Name and computation of each method, by the parts that it stores."""
