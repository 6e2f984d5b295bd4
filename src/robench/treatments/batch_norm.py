"""The BatchNorm layers of a network, and what they normalise with: changed in place, because their classes may do more.

A layer stays what it is (timm's holds the activation too) and in eval mode; a hook before it puts the statistics in place. Where
they are the batch's alone it has none, and then torch takes the batch's, of biased variance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robench.errors import CheckpointError

__all__ = ["BatchNorms", "Moments", "batch_norms", "count_batch_norms", "mixed"]


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance of each channel, (c,)."""

    mean: Tensor
    var: Tensor


Mode: TypeAlias = Literal["stored", "batch", "image", "pooling"]


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorm layers that have statistics, by name; the branches that only training runs are not among them."""
    found = {name: one for name, one in module.named_modules() if isinstance(one, _BatchNorm)}
    unused = {id(one) for layer in found.values() for one in layer.modules() if one is not layer}
    return {name: one for name, one in found.items() if one.running_mean is not None and id(one) not in unused}


def count_batch_norms(module: nn.Module) -> int:
    """Return how many layers `batch_norms` finds; CheckpointError that names the other normalisations where it finds none."""
    found = len(batch_norms(module))
    if not found:
        kinds = Counter(kind for one in module.modules() if "Norm" in (kind := type(one).__name__))
        others = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        raise CheckpointError(
            f"the network has no BatchNorm layer with statistics, only {others or 'layers that normalise nothing'}: this treatment "
            "changes BatchNorm alone, leave it out"
        )
    return found


def mixed(own: Moments, now: Moments, prior: float, images: int) -> Moments:
    """Weigh the checkpoint's statistics as `prior` images, those of now as what they are of.

    Source: Schneider et al. 2020, arXiv:2006.16971.
    """
    weight = 1.0 if math.isinf(prior) else prior / (prior + images)
    return Moments(
        weight * own.mean + (1 - weight) * now.mean.to(own.mean),
        weight * own.var + (1 - weight) * now.var.to(own.var),
    )


class _Layer:
    """One BatchNorm layer and how it is run."""

    def __init__(self, layer: _BatchNorm) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.layer = layer
        self.own = Moments(layer.running_mean.clone(), layer.running_var.clone())
        self.mode: Mode = "stored"
        self.prior = 0.0
        self.sums: dict[int, tuple[Tensor, Tensor, int]] = {}
        self.key = 0
        self.hook = layer.register_forward_pre_hook(self._before)

    def store(self, moments: Moments | None) -> None:
        """Set the statistics of the layer; None takes the batch's."""
        self.layer.running_mean = None if moments is None else moments.mean
        self.layer.running_var = None if moments is None else moments.var

    def _before(self, layer: nn.Module, inputs: Any) -> Any:
        if self.mode == "stored":
            return None
        x: Tensor = inputs[0]
        if self.mode == "image":
            return (self._by_image(x), *inputs[1:])
        values = x.numel() // x.shape[1]
        if self.mode == "pooling":
            self._pool(x, values)
        if values == 1:
            self.store(self.own)
        elif self.prior:
            self.store(mixed(self.own, _moments(x, (0, *range(2, x.ndim))), self.prior, len(x)))
        else:
            self.store(None)
        return None

    def _by_image(self, x: Tensor) -> Tensor:
        """Normalise each image by itself; the layer then has nothing left to do but its affine part."""
        shape = (-1, *[1] * (x.ndim - 2))
        if x[0, 0].numel() == 1:
            moments = Moments(self.own.mean.view(shape), self.own.var.view(shape))
        else:
            own = Moments(self.own.mean.view(shape), self.own.var.view(shape))
            now = _moments(x, tuple(range(2, x.ndim)), keepdim=True)
            moments = mixed(own, now, self.prior, 1)
        normalised = (x - moments.mean) * (moments.var + self.layer.eps).rsqrt()
        return normalised.to(x.dtype)

    def _pool(self, x: Tensor, values: int) -> None:
        now = _moments(x, (0, *range(2, x.ndim)))
        # Apple's GPUs have no float64; on others the host need not wait for a value.
        there = torch.device("cpu") if x.device.type == "mps" else x.device
        mean, var = now.mean.to(there).double(), now.var.to(there).double()
        first, second, count = self.sums.get(self.key, (torch.zeros_like(mean), torch.zeros_like(var), 0))
        self.sums[self.key] = first + values * mean, second + values * (var + mean**2), count + values

    def pooled(self, key: int) -> Moments:
        """Return the moments of all that was pooled under a key; of one value, the checkpoint's own."""
        first, second, count = self.sums[key]
        if count < 2:
            return self.own
        mean = first / count
        var = (second / count - mean**2).clamp_min(0)
        return Moments(mean.to(self.own.mean), var.to(self.own.var))


def _moments(x: Tensor, axes: tuple[int, ...], keepdim: bool = False) -> Moments:
    """Of (b, c, ...) over some axes, in single precision at least."""
    wide = x if x.dtype == torch.float64 else x.float()
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=keepdim)
    return Moments(mean, var)


class BatchNorms:
    """All BatchNorm layers of a network, run in one way at a time.

    module: whose layers these are, from now on in the hands of this object; its statistics now are the checkpoint's `own`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = {name: _Layer(layer) for name, layer in batch_norms(module).items()}

    def fix(self, moments: Sequence[Moments]) -> None:
        """Normalise with given statistics, one pair a layer."""
        for layer, one in zip(self._layers.values(), moments, strict=True):
            layer.mode = "stored"
            layer.store(one)

    def by_batch(self, prior: float = 0.0) -> None:
        """Normalise every batch with its own statistics; prior: how many images the checkpoint's count for beside it."""
        self._switch("batch", prior)

    def by_image(self, prior: float = 0.0) -> None:
        """The same with every image by itself."""
        self._switch("image", prior)
        for layer in self._layers.values():
            layer.store(_unit(layer))

    def pool(self, batches: Iterable[tuple[int, Callable[[], object]]]) -> dict[int, list[Moments]]:
        """Run batches, each normalised with its own statistics, and return their moments over all batches of a key.

        In float64: mu = sum n_b mu_b / sum n_b; var = sum n_b (var_b + mu_b^2) / sum n_b - mu^2, n_b values a channel.
        """
        self._switch("pooling", 0.0)
        keys: dict[int, None] = {}
        for key, run in batches:
            for layer in self._layers.values():
                layer.key = key
            run()
            keys[key] = None
        return {key: [layer.pooled(key) for layer in self._layers.values()] for key in keys}

    def mix(self, now: Sequence[Moments], prior: float, images: int) -> list[Moments]:
        """`mixed` for every layer."""
        return [mixed(one.own, other, prior, images) for one, other in zip(self._layers.values(), now, strict=True)]

    def release(self) -> None:
        """Leave the layers with what they normalise with now, as their own statistics."""
        for layer in self._layers.values():
            layer.hook.remove()

    def _switch(self, mode: Mode, prior: float) -> None:
        for layer in self._layers.values():
            layer.mode, layer.prior = mode, prior
            layer.sums = {}


def _unit(layer: _Layer) -> Moments:
    """Statistics with which a layer changes nothing: it adds eps to the variance."""
    return Moments(torch.zeros_like(layer.own.mean), torch.ones_like(layer.own.var) - layer.layer.eps)
