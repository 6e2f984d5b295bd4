"""Select one of the BatchNorm branches of a checkpoint that was trained with several."""

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
    if text == _MAIN:
        return _MAIN
    match = re.fullmatch(r"aux(?:\[?(\d{1,3})\]?)?", text)
    if match is None:
        raise ValueError(text)
    return f"aux{int(match[1] or 0)}"


def _layers(module: nn.Module, values: Values) -> int:
    counts = [count for layer in batch_norms(module).values() if (count := len(aux_bn_branches(layer)))]
    if not counts:
        raise CheckpointError(
            "the network has no auxiliary BatchNorm branches (tensors aux_bn.0.* of timm, aux_bn.* of AdvProp)",
            "omit bn-branch",
        )
    branches = [_MAIN, *(f"aux{number}" for number in range(min(counts)))]
    if values["branch"] not in branches:
        raise CheckpointError(
            f"the network has no branch {values['branch']}",
            f"use --treatment bn-branch with one of {', '.join(branches)}",
        )
    return len(counts)


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    branch = str(values["branch"])
    for layer in batch_norms(classifier.module).values() if branch != _MAIN else ():
        branches = aux_bn_branches(layer)
        if branches:
            # The branch cannot replace the layer, whose own forward may contain an activation.
            tensors = branches[int(branch.removeprefix("aux"))].state_dict()
            with torch.no_grad():
                for name, value in tensors.items():
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
