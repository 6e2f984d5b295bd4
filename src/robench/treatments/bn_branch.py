"""The choice among the BatchNorm branches of a checkpoint that was trained with several."""

from __future__ import annotations

import re

import torch
from torch import nn

from robench.errors import CheckpointError
from robench.models import Classifier, aux_bn_branches
from robench.treatments.base import Method, Parameter, PreparedModel, Values
from robench.treatments.batch_norm import batch_norms

__all__ = ["BN_BRANCH"]

_MAIN = "main"


def _read(text: str) -> str:
    found = re.fullmatch(r"aux(?:\[?(\d{1,3})\]?)?", text)
    if text != _MAIN and found is None:
        raise ValueError(text)
    return _MAIN if found is None else f"aux{int(found[1] or 0)}"


def _layers(module: nn.Module, values: Values) -> int:
    counts = [count for one in batch_norms(module).values() if (count := len(aux_bn_branches(one)))]
    if not counts:
        raise CheckpointError(
            "the network has no auxiliary BatchNorm branches (tensors aux_bn.0.* of timm, aux_bn.* of AdvProp): leave bn-branch out"
        )
    chosen = str(values["branch"])
    if chosen != _MAIN and int(chosen.removeprefix("aux")) >= min(counts):
        known = ", ".join([_MAIN, *(f"aux{number}" for number in range(min(counts)))])
        raise CheckpointError(f"the network has no branch {chosen}: --treatment bn-branch takes {known}")
    return len(counts)


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    chosen = str(values["branch"])
    for layer in batch_norms(classifier.module).values() if chosen != _MAIN else ():
        branches = aux_bn_branches(layer)
        if branches:
            # The layer's own forward may hold an activation: it takes the branch's tensors, not its place.
            branch = branches[int(chosen.removeprefix("aux"))].state_dict()
            with torch.no_grad():
                for name, value in branch.items():
                    getattr(layer, name).copy_(value)
    return classifier, None


BN_BRANCH = Method(
    name="bn-branch",
    summary="another branch of a checkpoint whose BatchNorm layers have several",
    data="none",
    per_image="yes",
    source="arXiv:2010.07810; Xie et al. 2019, arXiv:1911.09665 (AdvProp)",
    stage="branch",
    parameters=(Parameter("branch", _read, "main | aux0, aux1, …", (_MAIN, _MAIN), bare=True),),
    layers=_layers,
    start=_start,
)
