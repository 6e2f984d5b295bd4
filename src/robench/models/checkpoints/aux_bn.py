"""Auxiliary branches of BatchNorm layers, which only training runs: timm's split BatchNorm and AdvProp.

Their tensors are named `NAME.aux_bn.{i}.weight` (timm), or `NAME.aux_bn.weight` for a single branch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["add_aux_bn", "aux_bn_branches", "describe_aux_bn", "without_aux_bn"]

_KEY = re.compile(r"(.+)\.aux_bn\.(?:(\d{1,3})\.)?(?:weight|bias|running_mean|running_var|num_batches_tracked)")
_NAME = "aux_bn"


def without_aux_bn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the main branch, which a network has by itself."""
    return {key: value for key, value in state.items() if not _KEY.fullmatch(key)}


def add_aux_bn(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Add the auxiliary branches of a state dict to the layers of a network, whose output stays the same.

    Layers other than BatchNorm and layers with branches stay as they are; a later comparison of the keys finds those.
    """
    numbers: dict[str, set[int | None]] = {}
    for match in filter(None, map(_KEY.fullmatch, state)):
        numbers.setdefault(match[1], set()).add(None if match[2] is None else int(match[2]))
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    for name, branches in numbers.items():
        layer = layers.get(name)
        if layer is not None and not hasattr(layer, _NAME):
            listed = [_branch(layer) for _ in branches - {None}]
            layer.add_module(_NAME, nn.ModuleList(listed) if listed else _branch(layer))


def _branch(layer: _BatchNorm) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)


def aux_bn_branches(layer: nn.Module) -> list[_BatchNorm]:
    """Return the auxiliary branches of a layer; empty if it has none."""
    aux = getattr(layer, _NAME, None) if isinstance(layer, _BatchNorm) else None
    branches = list(aux) if isinstance(aux, nn.ModuleList) else [aux]
    return [branch for branch in branches if isinstance(branch, _BatchNorm)]


def describe_aux_bn(module: nn.Module) -> str | None:
    """Return a note that the auxiliary branches of a network are not used; None if it has none."""
    counts = [count for layer in module.modules() if (count := len(aux_bn_branches(layer)))]
    if not counts:
        return None
    names = ", ".join(f"aux{number}" for number in range(max(counts)))
    return (
        f"{len(counts)} BatchNorm layers have auxiliary branches ({names}), and robench uses the main one; "
        "--treatment bn-branch:aux0 uses another"
    )
