"""Features of a backbone: the input of its last linear layer, or the output of a module that the user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, OptionError
from robench.models.outputs import output_tensor, shape_text

__all__ = ["LAYOUTS", "FeatureNetwork", "find_features", "is_trunk", "token_width", "without_head"]

LAYOUTS = {"cls+patches": (1, True), "cls4": (4, False), "cls4+patches": (4, True)}
"""Layouts of tokens by name: the class tokens of the last n blocks, and whether the mean of the last patches follows them."""
_LISTED = 3


class FeatureNetwork(nn.Module):
    """A backbone that returns features (b, d).

    Attributes:
        network: The backbone.
        source: Description of the features, such as `the input of fc`.
        remark: Remark for the user about this choice; may be empty.
    """

    def __init__(self, network: nn.Module, source: str, remark: str = "") -> None:
        super().__init__()
        self.network, self.source, self.remark = network, source, remark

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, d)."""
        return self.features(images).flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """Return the output of the backbone, which has no head; (b, d) or (b, d, 1, 1)."""
        return output_tensor(self.network(images))


class _PreLogits(FeatureNetwork):
    """The features that timm calls `pre_logits`."""

    def features(self, images: Tensor) -> Tensor:
        network: Any = self.network
        found: Tensor = network.forward_head(network.forward_features(images), pre_logits=True)
        return found


class _InputOf(FeatureNetwork):
    """The input of a layer in its last call."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__(network, f"the input of {layer}")
        self.layer = layer

    def features(self, images: Tensor) -> Tensor:
        inputs: list[Tensor] = []
        handle = self.network.get_submodule(self.layer).register_forward_pre_hook(
            lambda _, args, kwargs: inputs.append(*args, *kwargs.values()), with_kwargs=True
        )
        try:
            self.network(images)
        finally:
            handle.remove()
        return inputs[-1]


class _OutputOf(FeatureNetwork):
    """The output of a module in its last call; the mean over the places of a map of features."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__(network, f"the output of {layer}")
        self.layer = layer

    def features(self, images: Tensor) -> Tensor:
        outputs: list[Any] = []
        handle = self.network.get_submodule(self.layer).register_forward_hook(
            lambda _, __, output: outputs.append(output)
        )
        try:
            self.network(images)
        finally:
            handle.remove()
        if not outputs:
            raise CheckpointError(f"the network does not call {self.layer}", "name another module by --features")
        values = output_tensor(outputs[-1])
        return values.mean((2, 3)) if values.ndim == 4 else values


class _Tokens(FeatureNetwork):
    """Tokens of a vision transformer of timm after its final norm, in the layout of DINO and DINOv2."""

    def __init__(self, network: nn.Module, layout: str) -> None:
        super().__init__(network, layout)
        self.blocks, self.has_patches = LAYOUTS[layout]

    def features(self, images: Tensor) -> Tensor:
        network: Any = self.network
        blocks = network.forward_intermediates(
            images,
            indices=self.blocks,
            return_prefix_tokens=True,
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        parts = [prefix[:, 0] for _, prefix in blocks]
        return torch.cat([*parts, blocks[-1][0].mean(1)] if self.has_patches else parts, dim=1)


def is_trunk(network: nn.Module) -> bool:
    """Return whether a network of timm was built without a classification head."""
    return getattr(network, "num_classes", None) == 0 and hasattr(network, "forward_features")


def token_width(network: nn.Module) -> int | None:
    """Return the width of the tokens of a timm network with a class token; None for any other network."""
    width = getattr(network, "embed_dim", None)
    has_token = isinstance(getattr(network, "cls_token", None), Tensor)
    return width if has_token and isinstance(width, int) and hasattr(network, "forward_intermediates") else None


def without_head(network: nn.Module) -> None:
    """Remove the classification head of an untrained network: timm's own, or else the last linear layer."""
    reset: Any = getattr(network, "reset_classifier", None)
    if reset is not None:
        reset(0)
        return
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear) and name]
    if names:
        parent, _, name = names[-1].rpartition(".")
        setattr(network.get_submodule(parent), name, nn.Identity())


def find_features(network: nn.Module, label: str, images: Tensor, chosen: str | None) -> FeatureNetwork:
    """Return a network with its features as output.

    Args:
        network: The network, in eval mode.
        label: Name of the model, for errors.
        images: Two images that the network takes.
        chosen: Name of a module, or a key of `LAYOUTS`; None for the input of the last layer.

    Raises:
        OptionError: The network has no such module.
        CheckpointError: The features have another shape than (b, d).
    """
    features = _chosen(network, label, chosen) if chosen is not None else _usual(network, images)
    with torch.no_grad():
        values = features.features(images)
    if values.ndim < 2 or len(values) != len(images) or values[0].numel() != values.shape[1]:
        raise CheckpointError(
            f"{features.source} of {label} has the shape {shape_text(values)} for {len(images)} images",
            "name a module by --features whose output is (images, features) or (images, features, height, width)",
        )
    return features


def _usual(network: nn.Module, images: Tensor) -> FeatureNetwork:
    if getattr(network, "returns_features", False):
        return FeatureNetwork(network, "the output")
    head = getattr(network, "forward_head", None)
    if head is not None and hasattr(network, "forward_features") and "pre_logits" in signature(head).parameters:
        return _PreLogits(network, "pre_logits")
    with torch.no_grad(), _linear_calls(network) as calls:
        returned = network(images)
    values = returned.values() if isinstance(returned, dict) else returned
    outputs = [values] if isinstance(values, Tensor) else [one for one in values if isinstance(one, Tensor)]
    if calls and any(calls[-1][1] == one.shape for one in outputs):
        return _InputOf(network, calls[-1][0])
    # A network of convolutions may end in logits all the same.
    return FeatureNetwork(network, "the output", "no linear layer ends the network; --features names other ones")


@contextmanager
def _linear_calls(network: nn.Module) -> Iterator[list[tuple[str, torch.Size]]]:
    """Record the name and the shape of the output of each call of a linear layer."""
    calls: list[tuple[str, torch.Size]] = []

    def record(name: str) -> Any:
        return lambda _, __, output: calls.append((name, output.shape))

    handles = [
        layer.register_forward_hook(record(name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and name
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _chosen(network: nn.Module, label: str, name: str) -> FeatureNetwork:
    if name in LAYOUTS:
        if token_width(network) is None:
            raise OptionError(f"--features {name} needs a timm network with a class token", f"{label} is another")
        return _Tokens(network, name)
    names = [known for known, _ in network.named_modules() if known]
    if name not in names:
        near = get_close_matches(name, names, n=_LISTED)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names[-_LISTED:])}"
        raise OptionError(f"--features {name}: {label} has no such module", hint)
    return _OutputOf(network, name)
