"""Tent: one step of gradient descent for each test batch, on scale and shift of BatchNorm, towards lower entropy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import CheckpointError
from robench.models import Classifier
from robench.models.outputs import Head, as_logits
from robench.suites import Condition
from robench.treatments.base import IMAGES, Method, Parameter, PreparedModel, Sample, Values, count, finite, one_of
from robench.treatments.batch_norm import BatchNorms, batch_norms, count_batch_norms

__all__ = ["TENT"]

_MOMENTUM = 0.9


class _Step(nn.Module):
    """The network with a step of its affine parameters after each batch; its outputs are those before the step."""

    def __init__(self, network: nn.Module, head: Head, optimiser: str, rate: float) -> None:
        super().__init__()
        self.network, self.head, self.optimiser, self.rate = network, head, optimiser, rate
        self.adapted = [
            value
            for layer in batch_norms(network).values()
            for value in (layer.weight, layer.bias)
            if value is not None
        ]
        self.stored = [value.detach().clone() for value in self.adapted]
        self.reset()

    def reset(self) -> None:
        """Restore the checkpoint."""
        with torch.inference_mode(False), torch.no_grad():
            for value, stored in zip(self.adapted, self.stored, strict=True):
                value.copy_(stored)
        for value in self.adapted:
            value.requires_grad_(True)
        self.steps: torch.optim.Optimizer
        if self.optimiser == "adam":
            self.steps = torch.optim.Adam(self.adapted, self.rate)
        else:
            self.steps = torch.optim.SGD(self.adapted, self.rate, momentum=_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        # The caller runs networks in inference mode, whose tensors do not support gradients.
        with torch.inference_mode(False), torch.enable_grad():
            logits = as_logits(self.network(x.clone()), self.head, len(x))
            logarithms = functional.log_softmax(logits, dim=1)
            entropy = -(logarithms.exp() * logarithms).sum(dim=1).mean()
            self.steps.zero_grad()
            entropy.backward()
            self.steps.step()
        return logits.detach()


@dataclass(frozen=True)
class _Tent:
    layers: BatchNorms
    step: _Step
    images: int

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        self.layers.by_batch()
        self.step.reset()
        return self.images

    def before_batch(self, frame: int) -> None:
        """Keep the network of the previous batch."""


def _start(classifier: Classifier, values: Values, _: object) -> PreparedModel:
    layers = BatchNorms(classifier.module)
    step = _Step(classifier.module, classifier.head, str(values["optimiser"]), float(values["lr"]))
    return replace(classifier, module=step.eval(), head="logits"), _Tent(layers, step, int(values["n"]))


def _layers(module: nn.Module, values: Values) -> int:
    layers = count_batch_norms(module)
    if not any(layer.affine for layer in batch_norms(module).values()):
        raise CheckpointError("the BatchNorm layers have no scale and shift for tent to change", "omit tent")
    return layers


TENT = Method(
    name="tent",
    summary="a step towards lower entropy after each test batch, on scale and shift of BatchNorm; test-batch statistics",
    data="stream",
    per_image="no",
    source="Wang et al. 2021, arXiv:2006.10726",
    stage="statistics",
    frames="refused",
    parameters=(
        Parameter("n", count, IMAGES, (200, 64)),
        Parameter("lr", finite, "a learning rate", (1e-3, 2.5e-4)),
        Parameter("optimiser", one_of("adam", "sgd"), "adam | sgd", ("adam", "sgd")),
    ),
    images="n",
    layers=_layers,
    start=_start,
)
