"""Heads as modules from features (b, d) to logits (b, classes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LinearHead", "NearestNeighbours", "WithHead"]


class WithHead(nn.Module):
    """A backbone with a head, which computes in float32 whatever the precision of the backbone."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, classes)."""
        features = self.backbone(images)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits


class LinearHead(nn.Module):
    """The logits x W^T + b, of features or of features divided by their norm.

    Args:
        weight: (classes, d).
        bias: (classes,), or None.
        normalises: Whether features are divided by their L2 norm first.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None, normalises: bool = False) -> None:
        super().__init__()
        self.normalises = normalises
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", None if bias is None else bias.float())

    def forward(self, features: Tensor) -> Tensor:
        """(b, d) float32 -> (b, classes)."""
        if self.normalises:
            features = functional.normalize(features, dim=1)
        return functional.linear(features, self.weight, self.bias)


class NearestNeighbours(nn.Module):
    """The weighted vote of the k nearest references by cosine similarity s, with weights exp(s / T).

    The logits are the logarithms of the shares of the votes, so that their softmax is the shares. A class without a vote has a share of
    1.2e-38. Source: Wu et al., arXiv:1805.01978, as in DINO.

    Args:
        features: (n, d) of the references.
        labels: (n,) classes of the references.
        classes: Number of classes.
        k: Number of neighbours, at most n.
        temperature: T.
    """

    features: Tensor
    labels: Tensor

    def __init__(self, features: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> None:
        super().__init__()
        self.classes, self.k, self.temperature = classes, k, temperature
        self.register_buffer("features", functional.normalize(features.float(), dim=1))
        self.register_buffer("labels", labels.long())

    def forward(self, features: Tensor) -> Tensor:
        """(b, d) float32 -> (b, classes)."""
        similarity = functional.normalize(features, dim=1) @ self.features.T
        nearest, rows = similarity.topk(self.k, dim=1)
        weights, labels = (nearest / self.temperature).softmax(dim=1), self.labels[rows]
        shares = torch.zeros(len(features), self.classes, device=features.device)
        for column in range(
            self.k
        ):  # One neighbour after the other, so that the order of the sum is fixed on a GPU too.
            place = slice(column, column + 1)
            shares.scatter_add_(1, labels[:, place], weights[:, place])
        return shares.clamp_min(torch.finfo(torch.float32).tiny).log()
