"""BatchNorm layers with auxiliary branches, which only training ran: timm's split BatchNorm and AdvProp.

Their tensors lie below the layer's own: `NAME.aux_bn.{i}.weight` (timm), or `NAME.aux_bn.weight`, where there is one.
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
    """Return the tensors of the main branch, which are those of the network as it is built."""
    return {key: value for key, value in state.items() if not _KEY.fullmatch(key)}


def add_aux_bn(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the layers of a network the branches that a state dict has of them; what the network computes stays the same.

    Under a layer that is no BatchNorm, or has branches already, nothing is added: the comparison of the keys tells.
    """
    numbers: dict[str, set[int | None]] = {}
    for key in state:
        if found := _KEY.fullmatch(key):
            numbers.setdefault(found[1], set()).add(None if found[2] is None else int(found[2]))
    layers = {name: one for name, one in module.named_modules() if isinstance(one, _BatchNorm)}
    for name, branches in numbers.items():
        layer = layers.get(name)
        if layer is not None and not hasattr(layer, _NAME):
            listed = [_branch(layer) for _ in range(len(branches - {None}))]
            layer.add_module(_NAME, nn.ModuleList(listed) if listed else _branch(layer))


def _branch(layer: _BatchNorm) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)


def aux_bn_branches(layer: nn.Module) -> list[_BatchNorm]:
    """Return the auxiliary branches of a layer, none where it has none."""
    found = getattr(layer, _NAME, None) if isinstance(layer, _BatchNorm) else None
    listed = list(found) if isinstance(found, nn.ModuleList) else [found]
    return [one for one in listed if isinstance(one, _BatchNorm)]


def describe_aux_bn(module: nn.Module) -> str | None:
    """Say that a network has auxiliary branches, and that they are not used; None where it has none."""
    counts = [count for one in module.modules() if (count := len(aux_bn_branches(one)))]
    if not counts:
        return None
    named = ", ".join(f"aux{number}" for number in range(max(counts)))
    return (
        f"{len(counts)} BatchNorm layers have auxiliary branches ({named}) beside the main one, which is used: "
        "--treatment bn-branch:aux0 takes another"
    )
