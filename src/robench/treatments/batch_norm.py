"""The BatchNorm layers of a network and their statistics, changed in place.

A layer keeps its class, which may do more (timm's contains the activation), and stays in eval mode. A hook before it sets
its statistics. A layer without statistics normalises with those of the batch, with biased variance.
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

__all__ = ["BatchNorms", "Moments", "batch_norms", "count_batch_norms", "mix"]


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance of each channel, (c,)."""

    mean: Tensor
    var: Tensor


Mode: TypeAlias = Literal["stored", "batch", "image", "pooling"]


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorm layers with statistics, by name, without the branches that only training uses."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    unused = {id(branch) for layer in layers.values() for branch in layer.modules() if branch is not layer}
    return {name: layer for name, layer in layers.items() if layer.running_mean is not None and id(layer) not in unused}


def count_batch_norms(module: nn.Module) -> int:
    """Return the number of layers of `batch_norms`.

    Raises:
        CheckpointError: If there are none; the message names the other normalisations.
    """
    count = len(batch_norms(module))
    if not count:
        kinds = Counter(kind for layer in module.modules() if "Norm" in (kind := type(layer).__name__))
        others = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "layers that normalise nothing"
        raise CheckpointError(
            f"the network has no BatchNorm layer with statistics, only {others}",
            "omit this treatment of BatchNorm layers",
        )
    return count


def mix(own: Moments, batch: Moments, prior: float, images: int) -> Moments:
    """Average the checkpoint's own statistics, with the weight of `prior` images, and those of `images` images.

    Source: Schneider et al. 2020, arXiv:2006.16971.
    """
    weight = 1.0 if math.isinf(prior) else prior / (prior + images)
    return Moments(
        weight * own.mean + (1 - weight) * batch.mean.to(own.mean),
        weight * own.var + (1 - weight) * batch.var.to(own.var),
    )


class _Layer:
    """One BatchNorm layer and its mode."""

    def __init__(self, layer: _BatchNorm) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.layer = layer
        self.own = Moments(layer.running_mean.clone(), layer.running_var.clone())
        self.mode: Mode = "stored"
        self.prior = 0.0
        self.sums: dict[int, tuple[Tensor, Tensor, int]] = {}
        self.key = 0
        self.is_own_class = type(layer).__module__.partition(".")[0] not in ("torch", "timm")
        self.hook = layer.register_forward_pre_hook(self._before)

    def store(self, moments: Moments | None) -> None:
        """Set the statistics of the layer; None selects those of the batch."""
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
            self.store(mix(self.own, _moments(x, (0, *range(2, x.ndim))), self.prior, len(x)))
        elif self.is_own_class:  # Its code may slice the statistics, as slimmable networks do.
            moments = _moments(x, (0, *range(2, x.ndim)))
            self.store(Moments(moments.mean.to(self.own.mean), moments.var.to(self.own.var)))
        else:
            self.store(None)
        return None

    def _by_image(self, x: Tensor) -> Tensor:
        """Normalise each image by itself, so that only the affine part is left to the layer."""
        shape = (-1, *[1] * (x.ndim - 2))
        if x[0, 0].numel() == 1:
            moments = Moments(self.own.mean.view(shape), self.own.var.view(shape))
        else:
            own = Moments(self.own.mean.view(shape), self.own.var.view(shape))
            moments = mix(own, _moments(x, tuple(range(2, x.ndim)), keepdim=True), self.prior, 1)
        normalised = (x - moments.mean) * (moments.var + self.layer.eps).rsqrt()
        return normalised.to(x.dtype)

    def _pool(self, x: Tensor, values: int) -> None:
        moments = _moments(x, (0, *range(2, x.ndim)))
        # Apple's GPUs have no float64. On other devices the host need not wait for a value.
        device = torch.device("cpu") if x.device.type == "mps" else x.device
        mean, var = moments.mean.to(device).double(), moments.var.to(device).double()
        first, second, count = self.sums.get(self.key, (torch.zeros_like(mean), torch.zeros_like(var), 0))
        self.sums[self.key] = first + values * mean, second + values * (var + mean**2), count + values

    def pooled(self, key: int) -> Moments:
        """Return the moments of all values under a key; the checkpoint's own for a single value."""
        if key not in self.sums:  # Another setting of the network runs this layer.
            return self.own
        first, second, count = self.sums[key]
        if count < 2:
            return self.own
        mean = first / count
        var = (second / count - mean**2).clamp_min(0)
        return Moments(mean.to(self.own.mean), var.to(self.own.var))


def _moments(x: Tensor, axes: tuple[int, ...], keepdim: bool = False) -> Moments:
    """Return the moments of (b, c, ...) over some axes, at least in single precision."""
    wide = x if x.dtype == torch.float64 else x.float()
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=keepdim)
    return Moments(mean, var)


class BatchNorms:
    """All BatchNorm layers of a network, in one mode at a time.

    Args:
        module: The network, which this object controls from now on. Its present statistics are the checkpoint's own.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = {name: _Layer(layer) for name, layer in batch_norms(module).items()}

    def fix(self, moments: Sequence[Moments]) -> None:
        """Normalise with fixed statistics, one pair for each layer."""
        for layer, fixed in zip(self._layers.values(), moments, strict=True):
            layer.mode = "stored"
            layer.store(fixed)

    def by_batch(self, prior: float = 0.0) -> None:
        """Normalise every batch with its own statistics, mixed with the checkpoint's with the weight of `prior` images."""
        self._switch("batch", prior)

    def by_image(self, prior: float = 0.0) -> None:
        """Normalise every image with its own statistics, mixed with the checkpoint's with the weight of `prior` images."""
        self._switch("image", prior)
        for layer in self._layers.values():
            layer.store(_unit(layer))

    def pool(self, batches: Iterable[tuple[int, Callable[[], object]]]) -> dict[int, list[Moments]]:
        """Run batches, each normalised with its own statistics, and return the moments of each layer over all batches of a key.

        The sums are in float64. Batch b has n_b values a channel. Over b, mu = sum n_b mu_b / sum n_b, and
        var = sum n_b (var_b + mu_b^2) / sum n_b - mu^2.

        Args:
            batches: Key and function that runs the network on a batch.
        """
        self._switch("pooling", 0.0)
        keys: dict[int, None] = {}
        for key, run in batches:
            for layer in self._layers.values():
                layer.key = key
            run()
            keys[key] = None
        return {key: [layer.pooled(key) for layer in self._layers.values()] for key in keys}

    def mix(self, moments: Sequence[Moments], prior: float, images: int) -> list[Moments]:
        """Return `mix` for every layer."""
        layers = zip(self._layers.values(), moments, strict=True)
        return [mix(layer.own, batch, prior, images) for layer, batch in layers]

    def release(self) -> None:
        """Keep the present statistics as the layers' own, and remove the hooks."""
        for layer in self._layers.values():
            layer.hook.remove()

    def _switch(self, mode: Mode, prior: float) -> None:
        for layer in self._layers.values():
            layer.mode, layer.prior = mode, prior
            layer.sums = {}


def _unit(layer: _Layer) -> Moments:
    """Return statistics that leave values unchanged; the layer adds eps to the variance."""
    return Moments(torch.zeros_like(layer.own.mean), torch.ones_like(layer.own.var) - layer.layer.eps)
